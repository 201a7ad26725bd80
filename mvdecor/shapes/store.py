"""Shapes on disk in the form in which they are used: each is read from its own files once, and mapped into memory afterwards.

A file is in the safetensors format: the tensors of a `Shape` in the smallest types that hold them, and its `Summary` as text.
Its name is a hash of all that it was made from: the id and the content of the files of the shape, the settings of the reader,
and the code of the readers. So a file is never out of date. Files may be removed at any time: they are made again.
"""

from __future__ import annotations

import contextlib
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
from mvdecor.progress import say_once
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
        code = code_of(type(shape_set))
        self._folder = None if folder is None or self.files is None or code is None else Path(folder).expanduser()
        settings = [VERSION, code, getattr(shape_set, "version", None), self.label_names, reader]
        self._settings = json.dumps(settings, sort_keys=True, default=str)
        self.paths: dict[str, Path] = {}

    def ids(self, split: str) -> list[str]:
        """As the data set's."""
        return self.shape_set.ids(split)

    def load(self, id: str) -> Shape:
        """The shape, its tensors mapped from its file. Raises InputError as the data set does."""
        path = self._prepare(id)
        if path is not None:
            with contextlib.suppress(DamagedFile):
                return read_shape(path, id, self.label_names)
        return self._read_again(id)

    def summary(self, id: str) -> Summary:
        """What is known of the shape without its tensors. Raises InputError as `load` does."""
        path = self._prepare(id)
        if path is not None:
            with contextlib.suppress(DamagedFile):
                return read_summary(path)
        return Summary.of(self._read_again(id))

    def _prepare(self, id: str) -> Path | None:
        """The file of a shape, made if need be; None where the data set is to be asked.

        Whoever holds this object sees a shape as it was when it was first asked for.
        """
        path = self.paths.get(id)
        if path is not None and path.exists():
            return path
        now = self._path(id)
        if path is not None and now != path:
            raise InputError(
                f"shape {id}: its files changed since this run began to use them: run the same command again"
            )
        if now is not None and now.exists():
            self.paths[id] = now
        elif now is not None:
            self._keep(id, now, self.shape_set.load(id))
        return self.paths.get(id)

    def _path(self, id: str) -> Path | None:
        """The file of a shape with its files as they are now."""
        files = [] if self._folder is None or self.files is None else self.files(id, True)
        if self._folder is None or not files:
            return None
        digest = hashlib.sha256(f"{self._settings}\0{id}".encode(errors="replace"))
        for file in files:
            digest.update(f"\0{file.name}\0".encode(errors="replace") + content_hash(file))
        return self._folder / f"{digest.hexdigest()}.shape"

    def _keep(self, id: str, path: Path, shape: Shape) -> None:
        """Write a shape that was read after `path` was found, unless its files changed meanwhile or there is no room."""
        if self._path(id) != path:
            return
        try:
            write_shape(path, shape)
        except InputError as error:
            say_once(f"note: {error}. Shapes are read from their own files whenever they are used (cache=)")
            return
        self.paths[id] = path

    def _read_again(self, id: str) -> Shape:
        """The shape from its own files, where none is kept or the one that is kept is damaged."""
        path = self._path(id)
        shape = self.shape_set.load(id)
        if path is not None:
            self._keep(id, path, shape)
        return shape


class DamagedFile(InputError):
    """A file of a shape that is not as it was written."""


def write_shape(path: Path, shape: Shape) -> None:
    """Write a shape whole or not at all. Raises InputError if the file cannot be written."""
    tensors = {"vertices": shape.vertices, "faces": shape.faces}
    optional = {"face_labels": shape.face_labels, "polygons": shape.polygons}
    if shape.texture is not None:
        tensors |= {"uv": shape.texture.uv, "image_ids": shape.texture.image_ids}
        tensors |= {f"image {number}": image for number, image in enumerate(shape.texture.images)}
        optional["samplers"] = shape.texture.samplers
    tensors |= {name: tensor for name, tensor in optional.items() if tensor is not None}
    small = {
        name: tensor.to(SMALL_TYPES.get(name, tensor.dtype), copy=True).contiguous() for name, tensor in tensors.items()
    }
    write_atomically(path, save(small, {"summary": json.dumps(asdict(Summary.of(shape)))}))


def read_shape(path: Path, id: str, label_names: tuple[str, ...]) -> Shape:
    """The shape of a file. Pages of vertices and texture are read when they are touched.

    Raises:
        DamagedFile: the file is damaged.
    """
    tensors, summary = _read(path)
    tensors |= {name: tensors[name].long() for name in SMALL_TYPES if name in tensors}
    try:
        texture = None
        if "uv" in tensors:
            images = [
                tensors[f"image {number}"] for number in range(sum(name.startswith("image ") for name in tensors))
            ]
            texture = Texture(tensors["uv"], tuple(images), tensors["image_ids"], tensors.get("samplers"))
        mesh = tensors["vertices"], tensors["faces"], tensors.get("face_labels")
        return Shape(id, *mesh, label_names, texture, summary.category, tensors.get("polygons"))
    except (KeyError, InputError) as error:
        raise DamagedFile(f"{path}: damaged ({error}): remove the file; it is then made again") from error


def read_summary(path: Path) -> Summary:
    """The summary of a file, without its tensors. Raises DamagedFile if it is."""
    return _read(path, tensors=False)[1]


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], Summary]:
    try:
        with safe_open(path, framework="pt") as file:
            content = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
            fields = json.loads(file.metadata()["summary"])
        labels = fields.pop("labels")
        return content, Summary(labels=None if labels is None else tuple(labels), **fields)
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise DamagedFile(f"{path}: damaged ({error}): remove the file; it is then made again") from error


@cache
def code_of(reader: type) -> str | None:
    """Hash of the code of the readers: of this package, and of the modules that a class and its bases come from. None where
    that cannot be told, as in a notebook. Other modules that a reader calls do not count: it has a `version` for these."""
    digest = hashlib.sha256(f"{reader.__module__}.{reader.__qualname__}".encode())
    try:
        sources = [
            inspect.getsourcefile(base) for base in reader.__mro__ if base.__module__ not in ("builtins", "typing")
        ]
        for file in [*sorted(Path(__file__).parent.glob("*.py")), *(Path(source) for source in sources if source)]:
            digest.update(file.read_bytes())
    except (OSError, TypeError):
        return None
    return digest.hexdigest()
