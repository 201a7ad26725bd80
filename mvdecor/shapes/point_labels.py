"""PartNet's official point labels (`ROOT/sem_seg_h5/`) and their transfer to the faces of a mesh.

The files of the semantic segmentation challenge hold 10 000 labelled points a shape. The paper's released code takes its
face labels from them (`data.labels=points`); the part trees give the same labels exactly (`data.labels=tree`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.alignment import Alignment, align_points
from mvdecor.shapes.shape import Shape

POINTS = 10_000
DOWNLOAD = (
    "download sem_seg_h5.zip (PartNet archive of shapenet.org) so that ROOT/sem_seg_h5 exists, or set data.labels=tree"
)
MAX_RESIDUAL = 0.03
"""Largest residual of an alignment, in units of the normalised shape (unit sphere)."""


class PointLabels:
    """The labelled points of one category at one level: `ROOT/sem_seg_h5/<Category>-<level>/{train,val,test}-NN.h5`.

    Each file holds `data` float32 [n, 10000, 3] and `label_seg` uint8 [n, 10000]; 0 is undetermined and label i the
    i-th line of the level's list. The rows of a split's files, one file after the other, are the shapes of its official
    list in the list's order: the files name no ids.

    Args:
        root: folder that holds `sem_seg_h5/`.
        category: e.g. "Bottle".
        level: 1, 2 or 3.
        lists: the official lists of the category, {"train": [anno_id, ...], "val": [...], "test": [...]}.
        num_labels: C, length of the level's list of labels.

    Raises:
        InputError: for a level without point files or a missing folder.
    """

    def __init__(
        self, root: Path, category: str, level: int | str, lists: Mapping[str, Sequence[str]], num_labels: int
    ) -> None:
        if str(level) == "leaf":
            raise InputError("data.level=leaf has no point labels, only 1, 2 and 3 have: set data.labels=tree")
        self.folder = root / "sem_seg_h5" / f"{category}-{level}"
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; {DOWNLOAD}")
        self.category, self.num_labels, self._lists = category, num_labels, lists
        self._files: dict[str, list[tuple[Path, int]]] = {}

    def read(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Points and labels of a shape.

        Returns:
            float32 [10000, 3], y up, normalised by the makers of the files; int64 [10000] in [-1, C).

        Raises:
            InputError: a shape in no official list, missing or damaged files, as many rows as do not fit the list,
                labels beyond the level's list.
        """
        split = next((name for name, ids in self._lists.items() if id in ids), None)
        if split is None:
            raise InputError(
                f"shape {id} is in no official list of {self.category}, and only listed shapes have point labels: "
                "set data.labels=tree, or leave it out with data.on_error=skip"
            )
        file, row = self._row(split, list(self._lists[split]).index(id))
        with _open(file) as content:
            points, labels = content["data"][row], content["label_seg"][row].astype(np.int64)
        if not np.isfinite(points).all() or not np.ptp(points) > 0:
            raise InputError(f"{file}: row {row} (shape {id}) holds no usable points; {DOWNLOAD}")
        if labels.max() > self.num_labels:
            raise InputError(
                f"{file}: row {row} (shape {id}) has label {labels.max()}, but {self.category} has {self.num_labels} "
                "labels at this level: the files and stats/after_merging_label_ids are not of the same release"
            )
        return points, labels - 1

    def _row(self, split: str, index: int) -> tuple[Path, int]:
        """The file that holds entry `index` of a split's list, and the row in it."""
        if split not in self._files:
            self._files[split] = self._count(split)
        for file, rows in self._files[split]:
            if index < rows:
                return file, index
            index -= rows
        raise AssertionError("the rows were counted")

    def _count(self, split: str) -> list[tuple[Path, int]]:
        """The files of a split in order with their numbers of rows, which together are those of the list."""
        found = self.folder.glob(f"{split}-*.h5")
        files = sorted((f for f in found if f.stem.rpartition("-")[2].isdecimal()), key=lambda f: (len(f.stem), f.stem))
        if not files:
            raise InputError(f"{self.folder / f'{split}-00.h5'}: no such file; {DOWNLOAD}")
        counts = []
        for file in files:
            with _open(file) as content:
                counts.append(len(content["data"]))
        if sum(counts) != len(self._lists[split]):
            raise InputError(
                f"{self.folder}: {', '.join(f.name for f in files)} hold {sum(counts)} shapes, but the official list "
                f"{self.category}.{split}.json names {len(self._lists[split])}, so which row is which shape is not "
                f"known: is a file missing, or the list of another release? {DOWNLOAD}"
            )
        return list(zip(files, counts, strict=True))


def transfer_labels(shape: Shape, points: np.ndarray, labels: np.ndarray, files: Tensor) -> tuple[Tensor, Alignment]:
    """Carry the labels of points over to the faces of a mesh, in the way of the paper's released code.

    The points are aligned to the mesh (they may be scaled, shifted and their axes permuted), each face takes the label
    of the point nearest its centre, then all faces of a part file the one that most of its faces have (undetermined
    counts like a label; of equals the lowest).

    Args:
        shape: normalised to the unit sphere.
        points: [N, 3], samples of the same shape in a frame of their own.
        labels: int64 [N], -1 up.
        files: int64 [F], for each face the number of its part file.

    Returns:
        int64 [F] labels, and the alignment of the points.

    Raises:
        InputError: if the mesh has no area, or the points fit it worse than `MAX_RESIDUAL`: they are of another shape.
    """
    if not float(shape.face_areas.double().sum()) > 0:
        raise InputError(f"shape {shape.id}: all its faces have zero area, so no points lie on it; leave it out")
    alignment = align_points(points, shape.vertices.numpy(), shape.faces.numpy())
    if alignment.residual > MAX_RESIDUAL:
        raise InputError(
            f"shape {shape.id}: its labelled points lie {alignment.residual:.3f} from its mesh on average (unit sphere; "
            f"allowed {MAX_RESIDUAL}): do the point files and the official lists belong to the same release? Use "
            "data.labels=tree, or leave the shape out with data.on_error=skip"
        )
    nearest = cKDTree(alignment.apply(points)).query(shape.face_centers.numpy())[1]
    face_labels = labels[nearest]
    count = np.zeros((int(files.max()) + 1, int(labels.max()) + 2), dtype=np.int64)
    np.add.at(count, (files.numpy(), face_labels + 1), 1)
    return torch.from_numpy(count.argmax(axis=1) - 1)[files], alignment


def area_agreement(first: Shape, second: Shape) -> float:
    """Share of the area, in percent, that two labellings of one mesh label alike (undetermined is like itself only).

    Raises:
        InputError: if one has no labels, or the meshes have different numbers of faces.
    """
    if first.face_labels is None or second.face_labels is None or first.num_faces != second.num_faces:
        raise InputError(f"shape {first.id}: two labellings of the same faces are needed to compare them")
    area = first.face_areas.double()
    return float(100 * area[first.face_labels == second.face_labels].sum() / area.sum())


def _open(file: Path) -> h5py.File:
    """A challenge file, its arrays checked."""
    try:
        content = h5py.File(file, "r")
    except OSError as error:
        raise InputError(f"{file}: not a readable HDF5 file ({error}); {DOWNLOAD}") from error
    found = {name: content[name] for name in ("data", "label_seg") if isinstance(content.get(name), h5py.Dataset)}
    shapes = {name: tuple(array.shape) for name, array in found.items()}
    rows = shapes.get("data", (0,))[:1]
    kinds = "".join(array.dtype.kind for array in found.values())
    if shapes != {"data": (*rows, POINTS, 3), "label_seg": (*rows, POINTS)} or kinds not in ("fu", "fi"):
        content.close()
        held = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in found.items()) or "neither"
        raise InputError(
            f"{file}: should hold 'data' float32 [n, {POINTS}, 3] and 'label_seg' uint8 [n, {POINTS}] of the same n; it "
            f"holds {held}; {DOWNLOAD}"
        )
    return content
