"""ShapeNetPart (Yi et al., SIGGRAPH Asia 2016): labelled points, carried to the meshes of ShapeNetCore.

Read as `shapenetcore_partanno_segmentation_benchmark_v0_normal` is downloaded. Its clouds were sampled on ShapeNet's meshes,
but each was shifted and scaled, and ShapeNetCore v2 is turned against them by 90 degrees about the vertical axis.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from trimesh.triangles import closest_point

from mvdecor.errors import InputError
from mvdecor.files import read_json, text_of
from mvdecor.shapes.annotations import SplitFile, check_disjoint, check_id, check_split, id_list
from mvdecor.shapes.mesh_files import read_mesh
from mvdecor.shapes.point_labels import carry_to_faces, surface_points
from mvdecor.shapes.shape import Shape

PARTS = {
    "Airplane": (0, ("body", "wing", "tail", "engine")),
    "Bag": (4, ("handle", "body")),
    "Cap": (6, ("crown", "peak")),
    "Car": (8, ("roof", "hood", "wheel", "body")),
    "Chair": (12, ("back", "seat", "leg", "arm")),
    "Earphone": (16, ("earcup", "headband", "wire")),
    "Guitar": (19, ("head", "neck", "body")),
    "Knife": (22, ("blade", "handle")),
    "Lamp": (24, ("base", "shade", "canopy", "pole")),
    "Laptop": (28, ("keyboard", "screen")),
    "Motorbike": (30, ("tank", "seat", "wheel", "handlebar", "light", "frame")),
    "Mug": (36, ("handle", "body")),
    "Pistol": (38, ("barrel", "handle", "trigger")),
    "Rocket": (41, ("body", "fin", "nose")),
    "Skateboard": (44, ("wheel", "deck", "bearing")),
    "Table": (47, ("top", "leg", "drawer")),
}
"""Of each category the lowest of its labels in the files, and a name for each; the download has no names."""
NEAR = 0.02
"""How far from the mesh an aligned point may be, in diagonals of the mesh's bounding box."""
ON_SURFACE = 0.95
"""Least share of the points that must be `NEAR` the mesh; otherwise the cloud was sampled on another one."""
REACH = 0.1
"""Faces farther than this from every point stay undetermined, in diagonals: what lies inside was not sampled."""
LAYOUTS = (("models/model_normalized.obj", 1), ("model.obj", 0))
"""Where ShapeNetCore v2 and v1 keep a mesh, and by how many quarter turns its frame differs from that of the points."""
DOWNLOAD = "download shapenetcore_partanno_segmentation_benchmark_v0_normal again (data.root is that folder)"
LEAVE_OUT = "or leave such shapes out with data.on_error=skip"


class ShapeNetPart:
    """Shapes of one category (or all) with the labels of ShapeNetPart on their faces.

    Points are turned, scaled and shifted into the mesh's frame (`align_to_mesh`), and each face takes the label of most
    of the points nearest to it (`carry_to_faces`). Textures are not read.

    Args:
        root: folder of `synsetoffset2category.txt`, `train_test_split/` and `SYNSET/ID.txt`.
        category: e.g. "Chair", or "all": shapes of every category without labels, for pretraining.
        meshes: folder of ShapeNetCore, `SYNSET/ID/models/model_normalized.obj` (v2) or `SYNSET/ID/model.obj` (v1).
        splits: "official", or a JSON file {"train": [IDs], "test": [IDs]} (absolute, or relative to `root`).

    Attributes:
        label_names: of `PARTS`; () for "all". Label c is label `PARTS[category][0]` + c of the files.

    Raises:
        InputError: a missing folder or file, a malformed one, or an unknown category.
    """

    def __init__(self, root: str | Path, category: str, meshes: str | Path, splits: str | Path = "official") -> None:
        self.root, self.category, self.meshes = Path(root), category, Path(meshes)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; {DOWNLOAD}")
        if not self.meshes.is_dir():
            raise InputError(
                f"{self.meshes}: no such folder; set data.meshes to the folder of ShapeNetCore v2 or v1 (shapenet.org)"
            )
        synsets = _read_synsets(self.root / "synsetoffset2category.txt")
        if category not in ("all", *synsets):
            raise InputError(f"unknown category {category!r} in {self.root}: choose all or one of {', '.join(synsets)}")
        self._synsets = list(synsets.values()) if category == "all" else [synsets[category]]
        self._names = {synset: name for name, synset in synsets.items()}
        self._first_label, self.label_names = (0, ()) if category == "all" else PARTS[category]
        if str(splits) == "official":
            self._lists = _read_official_lists(self.root / "train_test_split", self._synsets)
        else:
            self._lists = SplitFile(self.root / splits, required=True).lists

    def ids(self, split: str) -> list[str]:
        """ShapeNet's model ids of a split, in the order of its list; "all": every file of points, by name; "unlabelled":
        those in no validation or test list. Meshes may be missing."""
        check_split(split)
        if split in ("all", "unlabelled"):
            left_out = {id for name in ("val", "test") if split == "unlabelled" for id in self._lists.get(name, [])}
            folders = [self.root / synset for synset in self._synsets]
            names = [path.stem for folder in folders for path in sorted(folder.glob("*.txt"))]
            return [id for id in dict.fromkeys(names) if id not in left_out and not id.startswith(".")]
        if split not in self._lists:
            raise InputError(f"{self.root}: the lists of data.splits have no {split!r}; add it to the file")
        return list(self._lists[split])

    def load(self, id: str) -> Shape:
        """One shape, normalised to the unit sphere, faces in the file's order, labelled unless the category is "all".

        Raises:
            InputError: missing or unreadable points or mesh, labels of another category, or points that do not lie on
                the mesh.
        """
        check_id(id, self.root)
        file = self._points_file(id)
        mesh, quarter_turns = self._mesh_file(file)
        shape = replace(
            read_mesh(mesh, textures=False),
            id=id,
            label_names=self.label_names,
            category=self._names[file.parent.name],
        )
        if self.category == "all":
            return shape.normalized()
        points, labels = self._read_points(file)
        points = align_to_mesh(points, shape, quarter_turns, f"{file} and {mesh}")
        face_labels = carry_to_faces(shape, points, labels, len(self.label_names), REACH)
        return replace(shape, face_labels=face_labels).normalized()

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The files that a shape is read from; without `labels` those of the mesh alone."""
        try:
            points = self._points_file(id)
            mesh = self._mesh_file(points)[0]
        except InputError:
            return []
        return [mesh, points] if labels and self.category != "all" else [mesh]

    def _points_file(self, id: str) -> Path:
        files = [self.root / synset / f"{id}.txt" for synset in self._synsets]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise InputError(f"{files[0]}: no such file, points of shape {id}; {DOWNLOAD}, {LEAVE_OUT}")
        return file

    def _mesh_file(self, points_file: Path) -> tuple[Path, int]:
        """The mesh of a file of points, and by how many quarter turns its frame should differ."""
        folder = self.meshes / points_file.parent.name / points_file.stem
        for name, quarter_turns in LAYOUTS:
            if (folder / name).is_file():
                return folder / name, quarter_turns
        raise InputError(
            f"{folder}: holds neither {' nor '.join(name for name, _ in LAYOUTS)}, the mesh of shape {points_file.stem}; "
            f"set data.meshes to the folder of ShapeNetCore v2 or v1, {LEAVE_OUT}"
        )

    def _read_points(self, file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Positions [P, 3] and labels [P], counted from 0 within the category."""
        try:
            rows = [line.split() for line in text_of(file.read_bytes()).splitlines() if line.strip()]
            values = np.array(rows, dtype=float)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: each line should be 'x y z nx ny nz label' ({error}); {DOWNLOAD}") from error
        if values.ndim != 2 or values.shape[1] != 7 or not np.isfinite(values).all():
            raise InputError(f"{file}: each line should be 'x y z nx ny nz label', finite numbers; {DOWNLOAD}")
        labels = values[:, 6] - self._first_label
        wrong = ~np.isin(labels, np.arange(len(self.label_names)))
        if wrong.any():
            last = self._first_label + len(self.label_names) - 1
            raise InputError(
                f"{file}: {values[wrong, 6][0]:g} is no label of {self.category}, whose labels are "
                f"{self._first_label} to {last}; {DOWNLOAD}"
            )
        return values[:, :3], labels.astype(np.int64)


def align_to_mesh(points: NDArray[np.float64], shape: Shape, first: int, where: str) -> NDArray[np.float64]:
    """Points in the frame of the mesh that they were sampled on.

    The centre and the diagonal of the points' bounding box become those of the mesh's. All four turns about the y axis by
    multiples of 90 degrees are tried, and the one that brings most points `NEAR` the mesh is taken; of equal ones the first.

    Args:
        points: [P, 3], shifted, scaled and turned by quarters.
        shape: the mesh, y up.
        first: number of quarter turns to try first; one takes (x, y, z) to (z, y, -x).
        where: names of both, for the message.

    Returns:
        float64 [P, 3].

    Raises:
        InputError: fewer than `ON_SURFACE` of the points come near the mesh, or there is no extent.
    """
    corners = _corners(shape)
    diagonal, extent = (float(np.linalg.norm(np.ptp(x, axis=0))) for x in (corners, points))
    surface, faces = surface_points(shape)
    with_area = (shape.face_areas > 0).numpy()[faces]
    if not extent > 0 or not with_area.any():
        raise InputError(f"{where}: all points are in one place, or no face has an area; {LEAVE_OUT[3:]}")
    surface, faces = surface[with_area], faces[with_area]
    tree, triangles = cKDTree(surface), corners.reshape(-1, 3, 3)
    centered = (points - _center(points)) * (diagonal / extent)
    best, best_share = points, -1.0
    for number in range(first, first + 4):
        turned = centered
        for _ in range(number % 4):
            turned = np.stack([turned[:, 2], turned[:, 1], -turned[:, 0]], axis=1)
        turned = turned + _center(corners)
        nearest = closest_point(triangles[faces[tree.query(turned)[1]]], turned)
        share = float((np.linalg.norm(turned - nearest, axis=1) <= NEAR * diagonal).mean())
        if share > best_share:
            best, best_share = turned, share
    if best_share < ON_SURFACE:
        raise InputError(
            f"{where}: with their bounding boxes aligned only {100 * best_share:.0f} % of the points lie within "
            f"{100 * NEAR:g} % of the diagonal from the mesh ({100 * ON_SURFACE:g} % must), so they were not sampled on it; "
            f"use the mesh of the other version of ShapeNetCore, {LEAVE_OUT}"
        )
    return best


def _corners(shape: Shape) -> NDArray[np.float64]:
    """float64 [3 F, 3], without vertices that no face uses."""
    return shape.vertices[shape.faces.reshape(-1)].double().numpy()


def _center(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _read_synsets(file: Path) -> dict[str, str]:
    """{category: number of its synset}, from lines of both."""
    try:
        lines = [line.split() for line in text_of(file.read_bytes()).splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {DOWNLOAD}") from error
    if not lines or not all(len(line) == 2 and line[0] in PARTS and line[1].isdecimal() for line in lines):
        raise InputError(f"{file}: each line should be a category and the number of its synset; {DOWNLOAD}")
    return {category: synset for category, synset in lines}


def _read_official_lists(folder: Path, synsets: list[str]) -> dict[str, list[str]]:
    """Ids of train, val and test, of some synsets."""
    entries = {}
    for split in ("train", "val", "test"):
        file = folder / f"shuffled_{split}_file_list.json"
        rows = id_list(read_json(file, DOWNLOAD), str(file))
        if not all(row.count("/") == 2 for row in rows):
            raise InputError(f"{file}: should be a list of 'shape_data/SYNSET/ID'; {DOWNLOAD}")
        entries[split] = rows
    check_disjoint(entries, str(folder))
    parts = {split: [row.split("/") for row in rows] for split, rows in entries.items()}
    return {
        split: list(dict.fromkeys(id for _, synset, id in rows if synset in synsets)) for split, rows in parts.items()
    }
