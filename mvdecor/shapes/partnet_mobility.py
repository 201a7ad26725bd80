"""PartNet-Mobility (Xiang et al., SAPIEN, CVPR 2020), read as it is downloaded.

`ROOT/<model id>/` holds textured part files and a part tree. Joints (`mobility.urdf`, `semantics.txt`) are not read.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.annotations import SplitFile, check_id, check_split
from mvdecor.shapes.named_files import files_of_mesh
from mvdecor.shapes.obj import read_obj
from mvdecor.shapes.part_trees import DOWNLOAD_SHAPE, concatenate, read_category, read_parts, shape_folders
from mvdecor.shapes.shape import UNDETERMINED, Shape, Texture, positions
from mvdecor.shapes.texture import DEFAULT_COLOUR, check_texture_size, obj_texture, plain_image

DOWNLOAD = "download PartNet-Mobility from sapien.ucsd.edu so that it holds one folder per model id"


class PartNetMobility:
    """Textured models with labels from their part trees, for part names and lists of your own.

    A part name is the name of a node of the tree ("leg"), or the end of a node's path ("chair_base/leg"), up to the whole path.
    A face takes the label of its leaf or of the nearest ancestor that a part name fits, the longest of several; it is -1
    (undetermined) if none fits, or if no leaf holds its part file.

    Args:
        root: the folder of models, one folder each: `result.json`, `meta.json`, `textured_objs/` and `images/`.
        splits: JSON file as of `RenderPeople`: {"labels": [part names], "train": [model ids], "test": [model ids]}.
        texture_size: images with a longer side are reduced to it; None: as they are.

    Attributes:
        label_names: "labels" of the split file.

    Raises:
        InputError: missing folder, or a malformed split file.
    """

    def __init__(self, root: str | Path, splits: str | Path = "split.json", texture_size: int | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; {DOWNLOAD} (data.root)")
        check_texture_size(texture_size)
        self.texture_size = texture_size
        self._splits = SplitFile(self.root / splits, required=str(splits) != "split.json")
        self.label_names: tuple[str, ...] = self._splits.label_names

    def ids(self, split: str) -> list[str]:
        """Model ids of a split, in the order of its list; "unlabelled": every folder not in val or test, "all": every
        folder, both in numerical order."""
        check_split(split)
        if split not in ("unlabelled", "all"):
            return self._splits.ids(split)
        left_out = self._splits.held_out if split == "unlabelled" else set()
        return [name for name in shape_folders(self.root) if name not in left_out]

    def load(self, id: str) -> Shape:
        """One model, normalised to the unit sphere, textured, and labelled if the split file has part names.

        Raises:
            InputError: a missing or unreadable tree, mesh, material or image.
        """
        check_id(id, self.root)
        shape, files, paths = read_model(self.root / id, self.texture_size)
        if self.label_names:
            labels = torch.tensor([label_of_path(path, self.label_names) for path in paths])[files]
            shape = replace(shape, face_labels=labels, label_names=self.label_names)
        return shape.normalized()

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a model is read from. Its tree names parts and part files, so that it counts either way."""
        return model_files(self.root / id)


def label_of_path(path: str | None, part_names: tuple[str, ...]) -> int:
    """The label of a leaf's path: of the deepest node that a part name fits, the longest name of several; -1 if none does."""
    while path:
        fitting = [label for label, name in enumerate(part_names) if f"/{path}".endswith(f"/{name}")]
        if fitting:
            return max(fitting, key=lambda label: len(part_names[label]))
        path = path.rpartition("/")[0]
    return UNDETERMINED


def read_model(folder: Path, texture_size: int | None) -> tuple[Shape, Tensor, list[str | None]]:
    """All parts of a model as one shape, in the frame of its OBJ files (y up, all joints at rest), without labels.

    Faces: part files in the order in which the tree first names them, then those of `textured_objs` that it does not name,
    by name; the faces of each in the file's order. Each part file has materials of its own; an image that several files
    use is stored once. Parts without any material have the colour `DEFAULT_COLOUR`.

    Args:
        folder: of the model.
        texture_size: images with a longer side are reduced to it; None: as they are.

    Returns:
        The shape; int64 [F], the number of each face's part file; the tree's path of each part file (see `read_parts`).

    Raises:
        InputError: a missing or unreadable tree, mesh, material or image, or no faces.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: PartNet-Mobility model {folder.name} is not there; {DOWNLOAD_SHAPE}")
    parts = dict(read_parts(folder / "result.json"))
    for file in _part_files(folder):
        parts.setdefault(file.stem, None)
    meshes, textures = [], []
    for name in parts:
        file = folder / "textured_objs" / f"{name}.obj"
        if not file.is_file():
            raise InputError(f"{folder / 'result.json'}: names {file}, which is missing; {DOWNLOAD_SHAPE}")
        meshes.append(read_obj(file))
        textures.append(obj_texture(meshes[-1], file, texture_size))
    counts = [len(mesh.faces) for mesh in meshes]
    if sum(counts) == 0:
        raise InputError(f"{folder / 'textured_objs'}: none of its {len(parts)} files has a face; {DOWNLOAD_SHAPE}")
    vertices, faces = concatenate(meshes)
    shape = Shape(
        id=folder.name,
        vertices=positions(vertices),
        faces=torch.from_numpy(faces),
        texture=_joined(textures, counts),
        category=read_category(folder),
    )
    return shape, torch.from_numpy(np.repeat(np.arange(len(parts)), counts)), list(parts.values())


def model_files(folder: Path) -> list[Path]:
    """The files that a model is read from."""
    meshes = [file for path in _part_files(folder) for file in files_of_mesh(path)]
    return [folder / "result.json", folder / "meta.json", *dict.fromkeys(meshes)]


def _part_files(folder: Path) -> list[Path]:
    return sorted((folder / "textured_objs").glob("*.obj"))


def _joined(textures: list[Texture | None], counts: list[int]) -> Texture | None:
    """One texture of several meshes with so many faces each; None if none of them has one."""
    if all(texture is None for texture in textures):
        return None
    numbers: dict[bytes, int] = {}
    images: list[Tensor] = []
    uvs, image_ids = [], []
    for texture, count in zip(textures, counts, strict=True):
        if count == 0:
            continue
        if texture is None:
            plain = torch.zeros(count, dtype=torch.int64)
            texture = Texture(torch.zeros(count, 3, 2), (plain_image(DEFAULT_COLOUR),), plain)
        of_texture = []
        for image in texture.images:
            key = hashlib.sha256(f"{list(image.shape)}".encode() + image.numpy().tobytes()).digest()
            if key not in numbers:
                numbers[key] = len(images)
                images.append(image)
            of_texture.append(numbers[key])
        uvs.append(texture.uv)
        image_ids.append(torch.tensor(of_texture)[texture.image_ids])
    return Texture(torch.cat(uvs), tuple(images), torch.cat(image_ids))
