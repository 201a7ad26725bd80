"""A folder of the user's own meshes, with or without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mvdecor.errors import InputError
from mvdecor.shapes.annotations import SplitFile, check_id, check_split
from mvdecor.shapes.label_files import find_labels, label_files_of, read_face_labels
from mvdecor.shapes.mesh_files import SUFFIXES, read_mesh
from mvdecor.shapes.named_files import files_of_mesh
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.texture import check_texture_size
from mvdecor.shapes.up import check_up, upright

__all__ = ["MeshFolder", "read_mesh"]


class MeshFolder:
    """Mesh files that lie directly in a folder; the id of a shape is its file's name without the suffix.

    Labels of `NAME.glb` are integers in `NAME_labels.npy` beside it (-1 or 255: undetermined), or in `NAME_labels.txt`,
    `NAME.seg` or `NAME_labels.json` (`label_files.read_labels`); one per triangle or one per polygon of the file.

    Args:
        root: the folder.
        labels: JSON file {"labels": [part names]}, relative to `root` or absolute; None: `labels.json` if it is there,
            or else "labels" of the split file.
        splits: JSON file {"train": [ids], "test": [ids]}, "val" allowed; None: `split.json` if it is there. Without one
            only "unlabelled" can be asked for.
        texture_size: images with a longer side are reduced to it; None: as they are.
        up: the axis of the files that points up, see `upright`.

    Attributes:
        label_names: the part names; () without labels.

    Raises:
        InputError: a missing folder or file, no mesh in it, or two meshes of one name.
    """

    def __init__(
        self,
        root: str | Path,
        labels: str | Path | None = None,
        splits: str | Path | None = None,
        texture_size: int | None = None,
        up: str = "y",
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; set data.root to the folder that holds the meshes")
        check_texture_size(texture_size)
        check_up(up, "data.up")
        self.texture_size, self.up = texture_size, up
        self._files = _find_meshes(self.root)
        self._splits = SplitFile(self.root / (splits or "split.json"), required=splits is not None)
        names = SplitFile(self.root / (labels or "labels.json"), required=labels is not None)
        self._labels_file = names.path
        self.label_names: tuple[str, ...] = names.label_names or self._splits.label_names

    def ids(self, split: str) -> list[str]:
        """Ids of a split, in the order of its list; "unlabelled": every mesh not in val or test, by name; "all": those too."""
        check_split(split)
        if split not in ("unlabelled", "all"):
            return self._splits.ids(split)
        return [name for name in self._files if split == "all" or name not in self._splits.held_out]

    def load(self, id: str) -> Shape:
        """One mesh, normalised to the unit sphere, with its texture, and labelled if its labels file is there.

        Raises:
            InputError: missing or unreadable mesh or labels.
        """
        check_id(id, self.root)
        if id not in self._files:
            raise InputError(
                f"{self.root}: holds no mesh {id!r} ({', '.join(SUFFIXES)}); correct the id in the split file"
            )
        path = self._files[id]
        shape = replace(read_mesh(path, self.texture_size), label_names=self.label_names)
        labels = find_labels(self.root, id)
        if labels is not None:
            if not self.label_names:
                raise InputError(
                    f'{labels}: its labels have no names; write {self._labels_file} with {{"labels": [part names]}}'
                )
            face_labels = read_face_labels(labels, shape.num_faces, self.label_names, shape.polygons)
            shape = replace(shape, face_labels=face_labels)
        return upright(shape, self.up).normalized()

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a shape is read from; without `labels` those of the mesh alone."""
        if id not in self._files:
            return []
        return files_of_mesh(self._files[id]) + (label_files_of(self.root, id) if labels else [])


def _find_meshes(root: Path) -> dict[str, Path]:
    """Mesh files by stem, sorted by name."""
    files: dict[str, Path] = {}
    for path in sorted(root.iterdir(), key=lambda path: path.name):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.stem in files:
            raise InputError(
                f"{root}: both {files[path.stem].name} and {path.name} have the id {path.stem}; rename one"
            )
        files[path.stem] = path
    if not files:
        raise InputError(
            f"{root}: holds no mesh file ({', '.join(SUFFIXES)}) directly in it; set data.root to one that does"
        )
    return files
