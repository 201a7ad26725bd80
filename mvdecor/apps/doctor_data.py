"""The doctor's report of a data set: reads each shape once, lists unsupported features and suspicious values."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import undetermined_shares
from mvdecor.percent import percent, rounded
from mvdecor.progress import with_progress
from mvdecor.shapes import PartNet, Shape
from mvdecor.shapes.loading import ShapeSet
from mvdecor.shapes.part_paths import LEVEL_LEFT_OUT, PathMatch
from mvdecor.shapes.shape import UNDETERMINED
from mvdecor.shapes.store import labels_of
from mvdecor.systems.mvdecor.held_out import content_of

MANY_FACES = 1_000_000
UNDETERMINED_AREA = 0.05
NO_AREA = 0.05  # share of faces
SMALL_CORE = 0.25  # of the unit sphere's radius, that holds nearly all area
NEARLY_ALL = 0.99
SMALL_AREA = 0.01  # of a shape in the unit sphere, whose own surface is 12.6
USUAL = 0.8  # share of a set's shapes, from which on the others are unusual
ENOUGH = 5  # shapes, below which nothing is usual


@dataclass
class ShapeReport:
    """What was found of a shape.

    Attributes:
        id: its id.
        lists: names of the lists that it is in.
        faces: number of faces.
        twins: share of the faces that lie on another face, in [0, 1].
        textured: whether it has an image or colours.
        parts: number of different labels; None without labels.
        undetermined: shares of its "faces" and its "area", percent; None without labels.
        coverage: share of the area that the configured views see, in [0, 1]; None if it was not asked for.
        tallest: axis (0 to 2) of its longest side.
        reader_warnings: what its reader warned of: what the file says and was not applied, or was left out.
        suspicious: what may be a fault of the data.
    """

    id: str
    lists: list[str]
    faces: int
    twins: float
    textured: bool
    parts: int | None
    undetermined: dict[str, float] | None
    coverage: float | None
    tallest: int
    reader_warnings: list[str] = field(default_factory=list)
    suspicious: list[str] = field(default_factory=list)

    def row(self) -> dict:
        """A row of the printed table."""
        return {
            "shape": self.id,
            "lists": " ".join(self.lists) or None,
            "faces": self.faces,
            "parts": self.parts,
            "undetermined faces %": None if self.undetermined is None else self.undetermined["faces"],
            "undetermined area %": None if self.undetermined is None else self.undetermined["area"],
            "textured": "yes" if self.textured else "no",
            "twins %": 100 * self.twins,
            "area seen %": None if self.coverage is None else 100 * self.coverage,
            "remarks": len(self.reader_warnings) + len(self.suspicious),
        }


@dataclass
class DataReport:
    """What was found in a data set.

    Attributes:
        splits: number of ids of each split.
        problems: what keeps a shape or a list from being used, or makes figures worthless; a line each.
        notes: what one should know.
        labels: for each label the number of training and test shapes that show it, and its share of the faces in %.
        shapes: a report of each shape that could be read, in the order of the data set.
        paths: of PartNet, each path that the lists do not name as it is: {"path", "matched" (how), "with" (the listed path
            or None), "label" (its name or None), "shapes" (how many have it), "faces %" and "area %" of the shape that has
            most of it, "most in" (that shape)}.
        contents: by id, what tells a mesh from others.
        lists: ids of train, val and test.
    """

    splits: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: list[dict] = field(default_factory=list)
    shapes: list[ShapeReport] = field(default_factory=list)
    paths: list[dict] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)


def examine_data(shape_set: ShapeSet, coverage: Callable[[Shape], float] | None = None) -> DataReport:
    """Read every shape of a data set once: missing or damaged files, labels, duplicates, lists that overlap.

    Args:
        shape_set: any reader.
        coverage: gives the share of a shape's area that views see, in [0, 1]; None leaves that out.
    """
    report = DataReport()
    _examine_lists(shape_set, report)
    counts = _Counts(report.lists)
    all_ids = dict.fromkeys([*shape_set.ids("all"), *(id for ids in report.lists.values() for id in ids)])
    matches: dict[str, list[PathMatch]] = {}
    for id in with_progress(all_ids, "reading shapes", len(all_ids)):
        try:
            with warnings.catch_warnings(record=True) as reader_warnings:
                warnings.simplefilter("always")
                shape, matches[id] = _read(shape_set, id)
        except InputError as error:
            report.problems.append(f"{id}: {error}")
            continue
        shape_report = _examine_shape(id, shape, coverage)
        shape_report.lists = [name for name, ids in report.lists.items() if id in ids]
        shape_report.reader_warnings = list(dict.fromkeys(str(warning.message) for warning in reader_warnings))
        report.shapes.append(shape_report)
        report.contents[id] = content_of(shape)
        if shape.face_labels is None and shape_set.label_names and shape_report.lists:
            report.problems.append(f"{id}: in the {shape_report.lists[0]} list, and without labels")
        elif shape.face_labels is not None:
            counts.add(shape, shape_report.lists)
    report.paths = _path_rows(matches, shape_set.label_names)
    _compare_shapes(report)
    _report_duplicates(report)
    _report_labels(report, counts, shape_set.label_names)
    return report


def shared_meshes(trained: DataReport, tested: DataReport) -> list[str]:
    """Meshes of one data set's training list that are in another one's test list, a line each."""
    return _same_meshes(trained, tested)


def _examine_lists(shape_set: ShapeSet, report: DataReport) -> None:
    for split in ("train", "val", "test"):
        try:
            report.lists[split] = shape_set.ids(split)
        except InputError as error:
            report.lists[split] = []
            report.notes += [] if split == "val" else [str(error)]  # validation lists are not used
    report.splits = {name: len(ids) for name, ids in report.lists.items()} | {"all": len(shape_set.ids("all"))}
    for name, ids in report.lists.items():
        report.problems += [f"{id}: {n} times in the {name} list" for id, n in Counter(ids).items() if n > 1]
    for name, second in (("train", "val"), ("train", "test"), ("val", "test")):
        shared_ids = set(report.lists[second])
        report.problems += [
            f"{id}: in the {name} and in the {second} list" for id in report.lists[name] if id in shared_ids
        ]


def _read(shape_set: ShapeSet, id: str) -> tuple[Shape, list[PathMatch]]:
    """A shape, and of PartNet what became of the paths of its tree."""
    if isinstance(shape_set, PartNet) and shape_set.label_names:
        return shape_set.load_matched(id)
    return shape_set.load(id), []


def _examine_shape(id: str, shape: Shape, coverage: Callable[[Shape], float] | None) -> ShapeReport:
    undetermined = None if shape.face_labels is None else undetermined_shares(shape)
    used_vertices = shape.vertices[shape.faces.reshape(-1)]
    report = ShapeReport(
        id=id,
        lists=[],
        faces=shape.num_faces,
        twins=float((torch.bincount(shape.twin_groups)[shape.twin_groups] > 1).double().mean()),
        textured=shape.texture is not None,
        parts=None if shape.face_labels is None else len(labels_of(shape)),
        undetermined=undetermined,
        coverage=None if coverage is None else coverage(shape),
        tallest=int((used_vertices.amax(dim=0) - used_vertices.amin(dim=0)).argmax()),
    )
    report.suspicious = [*_suspicious_mesh(shape), *_suspicious_labels(shape, undetermined)]
    return report


def _suspicious_mesh(shape: Shape) -> list[str]:
    problems = []
    if shape.num_faces > MANY_FACES:
        problems.append(
            f"{shape.num_faces / 1e6:.1f} million faces: slow to read and to render; simplify it if details do not matter"
        )
    areas = shape.face_areas.double()
    flat = float((areas <= 0).double().mean())
    if flat > NO_AREA:
        problems.append(f"{percent(flat)} of its faces have no area: degenerate, or its coordinates lost their digits")
    if not float(areas.sum()) > 0:
        return problems
    if float(areas.sum()) < SMALL_AREA:
        problems.append("it has hardly any surface for its size: lines and points, or stray faces far away")
    radius = _core_radius(shape)
    if radius < SMALL_CORE:
        problems.append(
            f"99 % of its area is within {radius:.2f} of the radius that its farthest vertex sets: stray faces far away?"
        )
    return problems


def _core_radius(shape: Shape) -> float:
    """Radius around the shape's middle that holds `NEARLY_ALL` of its area, as a share of that which holds all."""
    areas = shape.face_areas.double()
    middle = (areas[:, None] / areas.sum() * shape.face_centers.double()).sum(dim=0)
    farthest = (shape.vertices.double() - middle).norm(dim=1)[shape.faces].amax(dim=1)  # corner of each face
    distance, order = farthest.sort()
    share = areas[order].cumsum(0) / areas.sum()
    last = int((share < NEARLY_ALL).sum())
    return float(distance[min(last, len(distance) - 1)] / distance[-1])


def _suspicious_labels(shape: Shape, undetermined: Mapping[str, float] | None) -> list[str]:
    if undetermined is None or shape.face_labels is None:
        return []
    problems = []
    parts = labels_of(shape)
    largest_share = max(undetermined.values()) / 100
    if parts and largest_share > UNDETERMINED_AREA:
        problems.append(
            f"{rounded(undetermined['faces'])} % of its faces, {rounded(undetermined['area'])} % of its area are undetermined"
        )
    if len(parts) == 1 and len(shape.label_names) > 1:
        problems.append(f"all its labelled faces are {shape.label_names[parts.pop()]}")
    first = shape.face_labels[shape.twin_groups]
    unlike = int(((shape.face_labels != first) & (shape.face_labels != UNDETERMINED) & (first != UNDETERMINED)).sum())
    if unlike:
        problems.append(f"{unlike} faces lie exactly on one of another part: views show one of the two")
    return problems


class _Counts:
    """How often each label occurs."""

    def __init__(self, lists: Mapping[str, list[str]]) -> None:
        self.shown: dict[str, Counter[int]] = {split: Counter() for split in lists}
        self.faces: Counter[int] = Counter()

    def add(self, shape: Shape, lists: list[str]) -> None:
        """Count a labelled shape."""
        assert shape.face_labels is not None
        values, counts = shape.face_labels.unique(return_counts=True)
        self.faces.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        for split in lists:
            self.shown[split].update(labels_of(shape))


def _compare_shapes(report: DataReport) -> None:
    """What is unusual of a shape among the others."""
    if len(report.shapes) < ENOUGH:
        return
    textured = sum(shape.textured for shape in report.shapes)
    axis, count = Counter(shape.tallest for shape in report.shapes).most_common(1)[0]
    for shape in report.shapes:
        if not shape.textured and textured >= USUAL * len(report.shapes):
            shape.suspicious.append(f"it has no texture, {textured} of {len(report.shapes)} shapes have one")
        if shape.tallest != axis and count >= USUAL * len(report.shapes):
            shape.suspicious.append(
                f"its longest side is along {'xyz'[shape.tallest]}, that of {count} of {len(report.shapes)} shapes along "
                f"{'xyz'[axis]}: is y up?"
            )
    if axis == 2 and count >= USUAL * len(report.shapes):
        report.notes.append(
            f"{count} of {len(report.shapes)} shapes are longest along z: if they stand on the ground, z is up, and cameras "
            "expect y up"
        )


def _report_duplicates(report: DataReport) -> None:
    report.problems += _same_meshes(report, report)
    ids_by_content = defaultdict(list)
    for id, content in report.contents.items():
        ids_by_content[content].append(id)
    report.notes += [f"the same mesh: {', '.join(ids)}" for ids in ids_by_content.values() if len(ids) > 1]


def _same_meshes(trained: DataReport, tested: DataReport) -> list[str]:
    """Pairs of a training and a test shape that are one mesh (but not of one id and list, which is said elsewhere)."""
    by_content = {trained.contents[id]: id for id in trained.lists["train"] if id in trained.contents}
    problems = []
    for id in tested.lists["test"]:
        twin = by_content.get(tested.contents.get(id, ""))
        if twin is not None and not (trained is tested and twin == id):
            problems.append(f"{id}: in the test list, and its mesh is that of {twin} in the train list")
    return problems


def _report_labels(report: DataReport, counts: _Counts, label_names: tuple[str, ...]) -> None:
    total = sum(counts.faces.values())
    report.notes += [f"{s.id}: all its faces are undetermined" for s in report.shapes if s.parts == 0]
    for label, name in enumerate(label_names):
        row = {
            "label": name,
            "train shapes": counts.shown["train"][label],
            "test shapes": counts.shown["test"][label],
            "% of faces": 100 * counts.faces[label] / max(1, total),
        }
        report.labels.append(row)
        if row["test shapes"] and not row["train shapes"]:
            report.notes.append(f"label {name}: in test shapes only, it cannot be learnt")
    absent = [row["label"] for row in report.labels if not row["test shapes"]]
    if absent and report.lists["test"]:
        report.notes.append(
            f"{len(label_names) - len(absent)} of {len(label_names)} parts occur in the test shapes; "
            f"evaluation.protocol=mvdecor counts the others 0: {', '.join(absent)}"
        )
    if counts.faces[UNDETERMINED]:
        shares = [shape.undetermined for shape in report.shapes if shape.undetermined is not None]
        area = sum(share["area"] for share in shares) / len(shares)
        report.notes.append(
            f"{rounded(100 * counts.faces[UNDETERMINED] / total)} % of the faces are undetermined, and on average "
            f"{rounded(area)} % of a shape's area"
        )


def _path_rows(matches: Mapping[str, list[PathMatch]], label_names: tuple[str, ...]) -> list[dict]:
    """Paths of trees that the lists do not name as they are, the largest first."""
    rows: dict[str | None, dict] = {}
    for id, shape_matches in matches.items():
        for match in shape_matches:
            listed_path = match.listed_path
            if not listed_path.lost and listed_path.outcome != LEVEL_LEFT_OUT:
                continue
            label = label_names[listed_path.label] if listed_path.label != UNDETERMINED else None
            columns: dict = {
                "path": match.path,
                "matched": listed_path.outcome,
                "with": listed_path.list_path,
                "label": label,
                "shapes": 0,
            }
            row = rows.setdefault(match.path, {**columns, "faces %": 0.0, "area %": 0.0, "most in": id})
            row["shapes"] += 1
            if 100 * match.faces > row["faces %"]:
                row |= {"faces %": 100 * match.faces, "area %": 100 * match.area, "most in": id}
    return sorted(rows.values(), key=lambda row: row["faces %"], reverse=True)
