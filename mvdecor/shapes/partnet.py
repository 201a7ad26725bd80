"""PartNet v0 (Mo et al., CVPR 2019), read as it is downloaded: `ROOT/data_v0/<anno_id>/` and `ROOT/stats/`.

Labels come part file by part file from `result_after_merging.json`, which is exact.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.annotations import check_disjoint, check_id, check_split, id_list
from mvdecor.shapes.obj import ObjMesh, read_obj
from mvdecor.shapes.part_paths import PathList, PathMatch, lost_paths_warning, match_paths
from mvdecor.shapes.part_trees import DOWNLOAD_SHAPE, concatenate, read_category, read_parts, shape_folders
from mvdecor.shapes.shape import Shape, positions

DOWNLOAD = "download PartNet v0 (PartNet archive of shapenet.org) so that ROOT/data_v0 and ROOT/stats exist"


class PartNet:
    """PartNet shapes of one category (or all) with part labels at one level.

    A face takes the label of the deepest path among its leaf and the leaf's ancestors that the level's list names;
    it is -1 (undetermined) if none is named, or if no leaf holds its part file. A tree may leave out one inner level of a
    listed path, if only one listed path fits (`part_paths`): desks of the category Table do. If paths that the
    category's list does not name leave more than 5 % of a shape undetermined, loading it warns; `matches` tells all.

    Args:
        root: folder that holds `data_v0/` and `stats/`.
        category: e.g. "Bottle", or "all": shapes of every category without labels, for pretraining.
        level: 1, 2, 3 (the official lists) or "leaf" (the lines of kind `leaf` of the category's whole list).
        splits: "official", or a JSON file {category: {"train": [anno_id, ...], "test": [...]}} (absolute, or relative
            to `root`).
        labels: always "tree": exact, from each shape's part tree. Configurations of earlier runs name it.

    Attributes:
        label_names: path of each label, e.g. "bottle/normal_bottle/neck"; () for "all". Label c is line c of the list.
        label_ids: the official ids at the start of those lines. The official challenge files use c + 1, and 0 for
            undetermined.

    Raises:
        InputError: a missing folder or file, an unknown category, level, split or kind of labels.
    """

    def __init__(
        self,
        root: str | Path,
        category: str,
        level: int | str = 3,
        splits: str | Path = "official",
        labels: str = "tree",
    ) -> None:
        if labels != "tree":
            raise InputError(f"data.labels={labels}: labels are read from the part trees alone; leave the setting out")
        self.root = Path(root)
        self.category = category
        for folder in (self.root, self.root / "data_v0", self.root / "stats"):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder; {DOWNLOAD} (data.root is ROOT)")
        level_list = [] if category == "all" else _read_level(self.root / "stats", category, level)
        self.label_ids: tuple[int, ...] = tuple(number for number, _ in level_list)
        self.label_names: tuple[str, ...] = tuple(path for _, path in level_list)
        category_rows = [] if category == "all" else _read_list(self.root / "stats", category)
        self._paths = PathList([path for _, path, _ in category_rows], self.label_names)
        self._splits, self._splits_name = _read_splits(self.root, splits)

    def ids(self, split: str) -> list[str]:
        """Anno ids of a split, in the order of its list; the shapes themselves may not all have been downloaded.

        "unlabelled" is every folder of `data_v0`, in numerical order and of whatever category, that is in no
        validation or test list of any category. "all" is every folder of the category, listed or not. With category
        "all" the other splits join the lists of all categories.
        """
        check_split(split)
        if split == "all":
            return [id for id in self._folders() if self.category in ("all", read_category(self.root / "data_v0" / id))]
        if split == "unlabelled":
            return self._unlabelled()
        categories = list(self._splits) if self.category == "all" else [self.category]
        lists = [self._splits[name][split] for name in categories if split in self._splits.get(name, {})]
        if not lists:
            category_lists = self._splits.get(self.category)
            if category_lists:
                names = f"lists {', '.join(category_lists)}"
            else:
                names = f"categories {', '.join(self._splits) or 'none'}"
            raise InputError(
                f"{self._splits_name}: no list {split!r} for category {self.category} (it has the {names}); "
                "add it, or set data.splits to another file"
            )
        return [id for ids in lists for id in ids]

    def load(self, id: str) -> Shape:
        """One shape, normalised to the unit sphere, with labels unless the category is "all".

        Faces: part files in the order in which the tree first names them, faces in each file's order.

        Raises:
            InputError: the shape's folder or one of the files that its tree names is missing or unreadable.
        """
        shape, files, paths = self._load_tree(id)
        return self._labelled(shape, files, paths)

    def matches(self, id: str) -> list[PathMatch]:
        """What became of each path of a shape's tree, largest share of the faces first; see `load_matched`."""
        return self.load_matched(id)[1]

    def load_matched(self, id: str) -> tuple[Shape, list[PathMatch]]:
        """The shape as `load` gives it, and what became of each path of its tree, largest share of the faces first.

        Raises:
            InputError: as `load`; or the category is "all", which has no label list.
        """
        if self.category == "all":
            raise InputError("data.category=all has no label list to match paths with: choose a category")
        shape, files, paths = self._load_tree(id)
        matches = match_paths(shape, files, paths, [self._paths.find(path) for path in paths])
        return self._labelled(shape, files, paths), sorted(matches, key=lambda match: match.faces, reverse=True)

    def _labelled(self, shape: Shape, files: Tensor, paths: list[str | None]) -> Shape:
        """The shape with the labels of its tree; warns where too much is lost."""
        if self.category == "all":
            return shape
        listed_paths = [self._paths.find(path) for path in paths]
        if any(listed_path.lost for listed_path in listed_paths):
            warning = lost_paths_warning(match_paths(shape, files, paths, listed_paths))
            if warning is not None:
                warnings.warn(f"PartNet shape {shape.id}: {warning}", stacklevel=2)
        return replace(shape, face_labels=torch.tensor([listed_path.label for listed_path in listed_paths])[files])

    def _load_tree(self, id: str) -> tuple[Shape, Tensor, list[str | None]]:
        """The normalised shape without labels; int64 [F], the number of each face's part file; path of each part file."""
        check_id(id, self.root)
        folder = self.root / "data_v0" / id
        if not folder.is_dir():
            raise InputError(f"{folder}: PartNet shape {id} is not there; {DOWNLOAD_SHAPE}")
        parts = read_parts(folder / "result_after_merging.json")
        meshes = [_read_part(folder, name, path) for name, path in parts]
        counts = [len(mesh.faces) for mesh in meshes]
        if sum(counts) == 0:
            raise InputError(f"{folder / 'objs'}: none of its {len(parts)} part files has a face; {DOWNLOAD_SHAPE}")
        vertices, faces = concatenate(meshes)
        shape = Shape(
            id=id,
            vertices=positions(vertices),
            faces=torch.from_numpy(faces),
            label_names=self.label_names,
            category=read_category(folder),
        )
        files = torch.from_numpy(np.repeat(np.arange(len(parts)), counts))
        return shape.normalized(), files, [path for _, path in parts]

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a shape is read from. Its tree names parts and part files, so that it counts either way."""
        folder = self.root / "data_v0" / id
        tree = [folder / "result_after_merging.json", folder / "meta.json"]
        if labels and self.category != "all":  # all paths of the list tell what a tree left out
            tree.append(self.root / "stats" / "after_merging_label_ids" / f"{self.category}.txt")
        return [*tree, *sorted((folder / "objs").glob("*.obj"))]

    def _unlabelled(self) -> list[str]:
        held_out = {id for parts in self._splits.values() for name in ("val", "test") for id in parts.get(name, [])}
        return [id for id in self._folders() if id not in held_out]

    def _folders(self) -> list[str]:
        return shape_folders(self.root / "data_v0")


def train_lists(root: str | Path, level: int | str, splits: str | Path = "official") -> dict[str, list[str]]:
    """Training ids of every category that has both a training list and the level; needs only `ROOT/stats`.

    Arguments as of `PartNet`.

    Raises:
        InputError: a missing folder or file, an unknown level, or no such category.
    """
    lists, name = _read_splits(Path(root), splits)
    labels = Path(root) / "stats" / "after_merging_label_ids"
    suffix = "" if level == "leaf" else f"-level-{level}"
    train_ids = {
        category: parts["train"]
        for category, parts in sorted(lists.items())
        if "train" in parts and (labels / f"{category}{suffix}.txt").is_file()
    }
    if not train_ids:
        raise InputError(f"{name}: no category in it has a training list and labels of level {level} in {labels}")
    return train_ids


def _read_level(stats: Path, category: str, level: int | str) -> list[tuple[int, str]]:
    """(official id, path) of each label of a category's level."""
    if str(level) not in ("1", "2", "3", "leaf"):
        raise InputError(f"unknown PartNet level {level!r}; choose 1, 2, 3 or leaf")
    lines = _read_list(stats, category, "" if level == "leaf" else f"-level-{level}")
    return [(number, path) for number, path, kind in lines if level != "leaf" or kind == "leaf"]


def _read_list(stats: Path, category: str, level: str = "") -> list[tuple[int, str, str]]:
    """(official id, path, kind) of each line of a category's whole list, or of the list of "-level-N"."""
    folder = stats / "after_merging_label_ids"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {DOWNLOAD}")
    if not (folder / f"{category}.txt").is_file():
        categories = sorted(path.stem for path in folder.glob("*.txt") if "-" not in path.stem)
        raise InputError(f"{folder}: no part labels for category {category!r}; choose one of {', '.join(categories)}")
    file = folder / f"{category}{level}.txt"
    if not file.is_file():
        levels = [number for number in "123" if (folder / f"{category}-level-{number}.txt").is_file()] + ["leaf"]
        raise InputError(
            f"{file}: PartNet defines no level {level.rpartition('-')[2]} for {category}; set data.level to one of "
            f"{', '.join(levels)}"
        )
    try:
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError as error:
        raise InputError(f"{file}: not a text file ({error}); download PartNet's stats again") from error
    if not lines or not all(len(line) == 3 and line[0].isdecimal() for line in lines):
        raise InputError(f"{file}: each line should be '<id> <path> <kind>'; download PartNet's stats again")
    if len({path for _, path, _ in lines}) != len(lines):
        raise InputError(f"{file}: names a path twice; download PartNet's stats again")
    return [(int(number), path, kind) for number, path, kind in lines]


def _read_splits(root: Path, splits: str | Path) -> tuple[dict[str, dict[str, list[str]]], str]:
    """{category: {split: anno ids}} and the name of where it comes from."""
    if str(splits) == "official":
        folder = root / "stats" / "train_val_test_split"
        return _read_official_splits(folder), str(folder)
    path = root / splits
    content = read_json(path, 'it should be {category: {"train": [...], "test": [...]}}, or use data.splits=official')
    if not isinstance(content, dict) or not all(isinstance(parts, dict) for parts in content.values()):
        raise InputError(f'{path}: should be an object {{category: {{"train": [...], "test": [...]}}}}')
    result = {
        category: {name: id_list(parts[name], f"{path}, {category}, {name}") for name in parts}
        for category, parts in content.items()
    }
    for category, parts in result.items():
        unknown = sorted(set(parts) - {"train", "val", "test"})
        if unknown:
            raise InputError(f"{path}, {category}: unknown split {unknown[0]!r}; use train, val and test")
        check_disjoint(parts, f"{path}, {category}")
    return result, str(path)


def _read_official_splits(folder: Path) -> dict[str, dict[str, list[str]]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {DOWNLOAD}, or set data.splits to a file of your own")
    result: dict[str, dict[str, list[str]]] = {}
    for path in sorted(folder.glob("*.json")):
        category, _, split = path.stem.rpartition(".")
        if not category or split not in ("train", "val", "test"):
            continue
        rows = read_json(path, "download PartNet's stats again")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and "anno_id" in row for row in rows):
            raise InputError(f'{path}: should be a list of {{"anno_id": ...}}; download PartNet\'s stats again')
        result.setdefault(category, {})[split] = id_list([row["anno_id"] for row in rows], str(path))
    return result


def _read_part(folder: Path, name: str, path: str | None) -> ObjMesh:
    file = folder / "objs" / f"{name}.obj"
    if not file.is_file():
        part = path or "(of no leaf)"
        raise InputError(f"PartNet shape {folder.name}: part {part} names {file}, which is missing; {DOWNLOAD_SHAPE}")
    return read_obj(file)
