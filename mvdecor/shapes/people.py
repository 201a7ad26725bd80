"""Textured people as a scan vendor delivers them (RenderPeople), with face labels beside the mesh if there are any."""

from __future__ import annotations

from pathlib import Path

import torch

from mvdecor.errors import InputError
from mvdecor.shapes.annotations import SplitFile, check_id, check_split
from mvdecor.shapes.label_files import find_labels, label_files_of, read_face_labels
from mvdecor.shapes.named_files import files_of_mesh
from mvdecor.shapes.obj import ObjMesh, read_obj
from mvdecor.shapes.shape import Shape, positions
from mvdecor.shapes.texture import check_texture_size, obj_texture


class RenderPeople:
    """A folder of people, one folder each: `NAME/*.obj` + `.mtl` + images, and `<obj stem>_labels.npy` if labelled
    (or in another format of `label_files.ENDINGS`).

    A delivery as it comes (`rp_NAME_posed_001_OBJ/rp_NAME_posed_001.obj`, `tex/`) fits without changes.

    Args:
        root: the folder of folders.
        splits: JSON file, relative to `root` or absolute: {"labels": [part names], "train": [names], "test": [names]};
            "val" is allowed. It may be missing as long as nothing but "unlabelled" is asked for.
        texture_size: images with a longer side are reduced to it (8192 x 8192 pixels take 200 MB); None: as they are.

    Attributes:
        label_names: "labels" of the split file.

    Raises:
        InputError: missing folder, or a malformed split file.
    """

    def __init__(self, root: str | Path, splits: str | Path = "split.json", texture_size: int | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(
                f"{self.root}: no such folder; set data.root to the folder that holds one folder per person "
                "(NAME/NAME.obj, NAME.mtl, tex/; RenderPeople is bought from renderpeople.com)"
            )
        check_texture_size(texture_size)
        self.texture_size = texture_size
        self._splits = SplitFile(self.root / splits, required=str(splits) != "split.json")
        self.label_names: tuple[str, ...] = self._splits.label_names

    def ids(self, split: str) -> list[str]:
        """Folder names of a split, in the order of its list; "unlabelled": every folder not in val or test, "all": every
        folder, both by name."""
        check_split(split)
        if split not in ("unlabelled", "all"):
            return self._splits.ids(split)
        names = sorted(folder.name for folder in self.root.iterdir() if folder.is_dir())
        left_out = self._splits.held_out if split == "unlabelled" else set()
        return [name for name in names if not name.startswith((".", "__")) and name not in left_out]

    def load(self, id: str) -> Shape:
        """One person, normalised to the unit sphere, textured, and labelled if the labels file is there.

        Vertices are the `v` lines (not split where the texture has seams); faces are in the file's order.

        Raises:
            InputError: missing or unreadable mesh, material, image or labels.
        """
        check_id(id, self.root)
        path = _find_obj(self.root / id)
        mesh = read_obj(path)
        if len(mesh.faces) == 0:
            raise InputError(f"{path}: has no faces; export or download it again")
        labels = find_labels(path.parent, path.stem)
        shape = Shape(
            id=id,
            vertices=positions(mesh.vertices),
            faces=torch.from_numpy(mesh.faces),
            face_labels=None if labels is None else self._read_labels(labels, mesh),
            label_names=self.label_names,
            texture=obj_texture(mesh, path, self.texture_size),
            category="person",
        )
        return shape.normalized()

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a person is read from; without `labels` those of the mesh alone."""
        try:
            path = _find_obj(self.root / id)
        except InputError:
            return []
        return files_of_mesh(path) + (label_files_of(path.parent, path.stem) if labels else [])

    def _read_labels(self, path: Path, mesh: ObjMesh) -> torch.Tensor:
        if not self.label_names:
            raise InputError(f'{self._splits.path}: needs "labels", the part names of the values in {path}')
        polygons = torch.from_numpy(mesh.polygon_ids) if mesh.has_polygons else None
        return read_face_labels(path, len(mesh.faces), self.label_names, polygons)


def _find_obj(folder: Path) -> Path:
    """The OBJ of the folder's own name, or else the only one in it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; correct the id in the split file, or put the folder there")
    expected = folder / f"{folder.name}.obj"
    if expected.is_file():
        return expected
    candidates = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".obj" and path.is_file())
    if len(candidates) != 1:
        names = ", ".join(path.name for path in candidates)
        content = f"several .obj files ({names})" if candidates else "no .obj file"
        raise InputError(f"{folder}: holds {content}; there must be one, or one named {expected.name}")
    return candidates[0]
