"""PartNetE (Liu et al., PartSLIP, CVPR 2023): labelled points of PartNet-Mobility models, with the models' textured meshes.

PartNetE holds points, no meshes: the meshes are those of the same model ids in PartNet-Mobility.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.annotations import check_disjoint, check_id, check_split, id_list
from mvdecor.shapes.part_trees import shape_folders
from mvdecor.shapes.partnet_e_points import check_frame, read_point_labels, read_points
from mvdecor.shapes.partnet_mobility import DOWNLOAD as DOWNLOAD_MESHES
from mvdecor.shapes.partnet_mobility import model_files, read_model
from mvdecor.shapes.point_labels import carry_to_faces
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.texture import check_texture_size

DOWNLOAD = "download PartNetE (the data of PartSLIP) so that ROOT/few_shot, ROOT/test and ROOT/PartNetE_meta.json exist"
FOLDERS = {"train": "few_shot", "test": "test"}
OTHER = "other"
REACH = 0.02
"""Parts of a face that are farther than this from every point have no vote, in diagonals of the mesh's bounding box."""


class PartNetE:
    """PartNetE shapes of one category, or of all without labels.

    The points are in the frame of the meshes: that of the OBJ files, y up, all joints at rest; a shape whose bounding boxes
    disagree is refused (`check_frame`). Labels of points come to faces by `carry_to_faces`.

    Args:
        root: folder that holds `few_shot/CATEGORY/ID/`, `test/CATEGORY/ID/` and `PartNetE_meta.json`.
        category: e.g. "Kettle", or "all": shapes of every category without labels, for pretraining.
        meshes: the folder of PartNet-Mobility, absolute or relative to `root`.
        other: points of no part have the label "other", the last one; False: their faces are undetermined. Many
            categories name a single small part, which nothing could be told from without it.
        texture_size: images with a longer side are reduced to it; None: as they are.

    Attributes:
        label_names: the part names of the category in `PartNetE_meta.json`, and "other"; () for "all".

    Raises:
        InputError: a missing folder or file, an unknown category, or a model that is listed twice.
    """

    def __init__(
        self,
        root: str | Path,
        category: str,
        meshes: str | Path = "meshes",
        other: bool = True,
        texture_size: int | None = None,
    ) -> None:
        self.root = Path(root)
        self.category = category
        self.meshes = self.root / meshes
        for folder in (self.root, *(self.root / name for name in FOLDERS.values())):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder; {DOWNLOAD} (data.root is ROOT)")
        if not self.meshes.is_dir():
            raise InputError(f"{self.meshes}: no such folder; {DOWNLOAD_MESHES} (data.meshes)")
        check_texture_size(texture_size)
        self.texture_size = texture_size
        self._part_names = () if category == "all" else _read_part_names(self.root / "PartNetE_meta.json", category)
        self._other = other and category != "all"
        self.label_names: tuple[str, ...] = (*self._part_names, OTHER) if self._other else self._part_names
        if OTHER in self._part_names and self._other:
            raise InputError(f"category {category} has a part that is named {OTHER!r}: set data.other=false")
        self._points = {split: _point_folders(self.root / folder) for split, folder in FOLDERS.items()}
        check_disjoint({FOLDERS[split]: list(folders) for split, folders in self._points.items()}, str(self.root))

    def ids(self, split: str) -> list[str]:
        """Model ids of a split, in numerical order.

        "train" and "test": those in `few_shot/` and `test/` of the category; "all": both, train first. "unlabelled": every
        model of PartNet-Mobility, of whatever category, that is in no folder of `test/`. There is no "val".
        """
        check_split(split)
        if split == "unlabelled":
            return [id for id in shape_folders(self.meshes) if id not in self._points["test"]]
        if split == "all":
            return self.ids("train") + self.ids("test")
        if split == "val":
            raise InputError(f"{self.root}: PartNetE has no list 'val', only few_shot (train) and test")
        folders = self._points[split].items()
        ids = [id for id, folder in folders if self.category in ("all", folder.parent.name)]
        if not ids:
            folder = self.root / FOLDERS[split] / self.category
            raise InputError(f"{folder}: holds no models, or is not there; {DOWNLOAD}")
        return ids

    def load(self, id: str) -> Shape:
        """One model, normalised to the unit sphere and textured, faces in the order of `read_model`; with labels if
        PartNetE has points of it and the category is not "all".

        Raises:
            InputError: a missing or unreadable file, labels that do not fit the points, or points that do not fit the mesh.
        """
        check_id(id, self.root)
        shape, _, _ = read_model(self.meshes / id, self.texture_size)
        shape = replace(shape, label_names=self.label_names)
        folder = self._labelled_folder(id)
        if folder is not None:
            shape = replace(shape, face_labels=self._face_labels(shape, folder), category=self.category)
        return shape.normalized()

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a model is read from; without `labels` those of the mesh alone."""
        folder = self._labelled_folder(id) if labels else None
        points = [] if folder is None else [folder / "pc.ply", folder / "label.npy", self.root / "PartNetE_meta.json"]
        return model_files(self.meshes / id) + points

    def _labelled_folder(self, id: str) -> Path | None:
        """The folder of a model's labelled points, if they are of the category."""
        folder = self._points["train"].get(id) or self._points["test"].get(id)
        return folder if folder is not None and folder.parent.name == self.category else None

    def _face_labels(self, shape: Shape, folder: Path) -> Tensor:
        points = read_points(folder / "pc.ply")
        labels = read_point_labels(folder / "label.npy", len(points), self._part_names)
        check_frame(shape, points, folder / "pc.ply")
        if self._other:
            labels[labels < 0] = len(self._part_names)
        return carry_to_faces(shape, points, labels, len(self.label_names), REACH)


def _read_part_names(path: Path, category: str) -> tuple[str, ...]:
    part_names = read_json(path, DOWNLOAD)
    if not isinstance(part_names, dict):
        raise InputError(f"{path}: should be an object {{category: [part names]}}; {DOWNLOAD}")
    if category not in part_names:
        raise InputError(f"{path}: has no category {category!r}; choose one of {', '.join(part_names)}")
    return tuple(id_list(part_names[category], f"{path}, {category}"))


def _point_folders(folder: Path) -> dict[str, Path]:
    """Folder of each model below `few_shot` or `test`, by id, in numerical order within each category."""
    folders: dict[str, Path] = {}
    for category in shape_folders(folder):
        for id in shape_folders(folder / category):
            if id in folders:
                raise InputError(
                    f"{folder}: {id} is both in {folders[id].parent.name} and in {category}; keep it in one"
                )
            folders[id] = folder / category / id
    return folders
