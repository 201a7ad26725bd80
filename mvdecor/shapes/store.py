"""Shapes on disk in the form in which they are used: each is read from its own files once, and mapped into memory afterwards.

A file is in the safetensors format: the tensors of a `Shape` in the smallest types that hold them, and its `Summary` as text.
Its name is a hash of all that it was made from: the content of the files of the shape, the settings of the reader, and the
code of the readers. So a file is never out of date, and files may be removed at any time: they are made again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import content_hash, write_atomically
from mvdecor.shapes.shape import UNDETERMINED, Shape, Texture

if TYPE_CHECKING:
    from mvdecor.shapes.loading import ShapeSet

VERSION = 1
SMALL_TYPES = {"faces": torch.int32, "face_labels": torch.int32, "polygons": torch.int32, "image_ids": torch.int32}
"""Types on disk of tensors that a `Shape` holds as int64."""


@dataclass(frozen=True)
class Summary:
    """What is known of a shape without its tensors.

    Attributes:
        category: of the shape.
        mesh: hash of vertices and faces.
        labels: the labels that it shows, ascending, without undetermined; None if it is not labelled.
        textured: whether it has a texture.
    """

    category: str
    mesh: str
    labels: tuple[int, ...] | None
    textured: bool

    @classmethod
    def of(cls, shape: Shape) -> Summary:
        labels = None if shape.face_labels is None else tuple(sorted(labels_of(shape)))
        return cls(shape.category, replace(shape, texture=None).fingerprint(), labels, shape.texture is not None)


def labels_of(shape: Shape) -> set[int]:
    """The labels that a labelled shape shows, without undetermined."""
    assert shape.face_labels is not None
    return set(shape.face_labels.unique().tolist()) - {UNDETERMINED}


class ShapeStore:
    """A data set whose shapes are read from their own files once; a `ShapeSet` itself.

    Args:
        shape_set: the data set. One without a method `files` is asked for its shapes each time.
        folder: where the files lie; made when the first is written. None: the data set is asked each time.
        reader: settings that change what the data set reads from the same files, as plain values.

    Attributes:
        paths: the files of the shapes that were asked for so far, by id. Their own files are not looked at again.
    """

    def __init__(self, shape_set: ShapeSet, folder: str | Path | None, reader: Mapping[str, Any] | None = None) -> None:
        self.shape_set = shape_set
        self.label_names = shape_set.label_names
        self.files: Callable[[str, bool], list[Path]] | None = getattr(shape_set, "files", None)
        self._folder = None if folder is None else Path(folder).expanduser()
        settings = [VERSION, code_of(type(shape_set)), self.label_names, reader]
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        self.paths: dict[str, Path] = {}

    def ids(self, split: str) -> list[str]:
        """As the data set's."""
        return self.shape_set.ids(split)

    def load(self, id: str) -> Shape:
        """The shape, its tensors mapped from its file. Raises InputError as the data set does, or if the disk is full."""
        path = self._prepare(id)
        return self.shape_set.load(id) if path is None else read_shape(path, id, self.label_names)

    def summary(self, id: str) -> Summary:
        """What is known of the shape without its tensors. Raises InputError as `load` does."""
        path = self._prepare(id)
        return Summary.of(self.shape_set.load(id)) if path is None else read_summary(path)

    def _prepare(self, id: str) -> Path | None:
        """The file of a shape, made if need be; None where the data set is to be asked.

        The files of a shape are looked at once: who holds this object sees the shape as it was then.
        """
        if id in self.paths:
            return self.paths[id]
        files = [] if self._folder is None or self.files is None else self.files(id, True)
        if self._folder is None or not files:
            return None
        digest = hashlib.sha256(self._settings.encode())
        for file in files:
            digest.update(f"\0{file.name}\0".encode(errors="replace") + content_hash(file))
        path = self._folder / f"{digest.hexdigest()}.shape"
        if not path.exists():
            write_shape(path, self.shape_set.load(id))
        self.paths[id] = path
        return path


def write_shape(path: Path, shape: Shape) -> None:
    """Write a shape whole or not at all. Raises InputError if the file cannot be written."""
    tensors = {"vertices": shape.vertices, "faces": shape.faces}
    optional = {"face_labels": shape.face_labels, "polygons": shape.polygons}
    if shape.texture is not None:
        tensors |= {"uv": shape.texture.uv, "image_ids": shape.texture.image_ids}
        tensors |= {f"image {number}": image for number, image in enumerate(shape.texture.images)}
        optional["samplers"] = shape.texture.samplers
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    small = {name: tensor.to(SMALL_TYPES.get(name, tensor.dtype)).contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(small, {"summary": json.dumps(asdict(Summary.of(shape)))}))


def read_shape(path: Path, id: str, label_names: tuple[str, ...]) -> Shape:
    """The shape of a file. Pages of vertices and texture are read when they are touched.

    Raises:
        InputError: the file is damaged.
    """
    tensors, summary = _read(path)
    tensors |= {name: tensors[name].long() for name in SMALL_TYPES if name in tensors}
    texture = None
    if "uv" in tensors:
        images = [tensors[f"image {number}"] for number in range(sum(name.startswith("image ") for name in tensors))]
        texture = Texture(tensors["uv"], tuple(images), tensors["image_ids"], tensors.get("samplers"))
    labels, polygons = tensors.get("face_labels"), tensors.get("polygons")
    return Shape(id, tensors["vertices"], tensors["faces"], labels, label_names, texture, summary.category, polygons)


def read_summary(path: Path) -> Summary:
    """The summary of a file, without its tensors. Raises InputError if the file is damaged."""
    return _read(path, tensors=False)[1]


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], Summary]:
    try:
        with safe_open(path, framework="pt") as file:
            content = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
            fields = json.loads(file.metadata()["summary"])
        labels = fields.pop("labels")
        return content, Summary(labels=None if labels is None else tuple(labels), **fields)
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}): remove the file; it is then made again") from error


@cache
def code_of(reader: type) -> str:
    """Hash of the code of the readers: of this package, and of the module that a reader comes from."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    source = inspect.getsourcefile(reader)
    digest = hashlib.sha256(f"{reader.__module__}.{reader.__qualname__}".encode())
    for file in files if source is None else [*files, Path(source)]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
