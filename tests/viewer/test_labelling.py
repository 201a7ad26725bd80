"""What labels may change: locks, hidden faces, growing and shrinking, other names; and strokes of the brush."""

import json

import numpy as np
import pytest
import trimesh
from test_session import click

from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.apps.viewer.strokes import Sample, Stroke, Strokes
from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder
from mvdecor.shapes.label_files import write_labels


@pytest.fixture
def session(make_session, tmp_path):
    """A ball with two labels."""
    root = tmp_path / "ball"
    root.mkdir()
    trimesh.creation.icosphere(3).export(root / "ball.ply")
    return make_session("data=folder", f"data.root={root}", "labels=[low,high]")


def test_locked_labels_are_never_overwritten(session):
    click(session, "ball", [0.1, 0.5, 5], "brush", 1, radius=0.3)
    high = session.labels_of("ball") == 1
    session.locked.add(1)
    assert not click(session, "ball", [0.1, 0.5, 5], "brush", 0, radius=0.1)
    assert click(session, "ball", [0.1, 0.5, 5], "component", 0)
    np.testing.assert_array_equal(session.labels_of("ball"), np.where(high, 1, 0))
    session.undo("ball")
    assert not session.resize("ball", 1, -1), "nor by shrinking"
    session.locked.clear()
    assert click(session, "ball", [0.1, 0.5, 5], "component", 0)
    assert (session.labels_of("ball") == 0).all()


def test_hidden_faces_are_neither_met_nor_labelled(session):
    top = session.shape("ball").face_centers[:, 1].numpy() > 0
    session.show("ball", ~top)
    assert session.tools("ball").pick([0.1, 0.5, 5], [0, 0, -1]) is None
    click(session, "ball", [0.1, -0.5, 5], "component", 0)
    np.testing.assert_array_equal(session.labels_of("ball"), np.where(top, -1, 0))
    session.show("ball", np.ones_like(top))
    assert session.tools("ball").pick([0.1, 0.5, 5], [0, 0, -1]) is not None


def test_grow_and_shrink_what_was_labelled_last(session):
    tools = session.tools("ball")
    click(session, "ball", [0.1, 0.1, 5], "component", 0)
    click(session, "ball", [0.1, 0.5, 5], "brush", 1, radius=0.2)
    first = session.labels_of("ball") == 1
    assert session.resize("ball", 0, 2)
    grown = tools.grown(first, 2)
    np.testing.assert_array_equal(session.labels_of("ball"), np.where(grown, 1, 0))
    assert session.resize("ball", 0, -3)
    small = tools.shrunk(grown, 3)
    assert 0 < small.sum() < first.sum()
    np.testing.assert_array_equal(session.labels_of("ball"), np.where(small, 1, 0))  # 0 as before, not erased
    for expected in (grown, first):
        session.undo("ball")
        np.testing.assert_array_equal(session.labels_of("ball") == 1, expected)
    assert session.resize("ball", 1, -1), "after an undo, it is all of the chosen label"
    np.testing.assert_array_equal(
        session.labels_of("ball"), np.where(first, np.where(tools.shrunk(first, 1), 1, -1), 0)
    )
    with pytest.raises(InputError, match="label 7 is unknown"):
        session.resize("ball", 7, 1)


def test_growing_needs_faces(session):
    with pytest.raises(InputError, match="nothing was labelled last"):
        session.resize("ball", 1, 1)


def test_growing_leaves_labelled_and_locked_faces(session):
    click(session, "ball", [0.1, 0.5, 5], "brush", 1, radius=0.2)
    core = session.labels_of("ball") == 1
    session.label("ball", session.tools("ball").grown(core, 1) & ~core, 0)
    click(session, "ball", [0.1, 0.5, 5], "brush", -1, radius=0.05)
    session.undo("ball")
    assert not session.resize("ball", 1, 1, unlabelled=True)
    session.locked.add(0)
    assert not session.resize("ball", 1, 1)


def test_renamed_labels_stay_valid(session, tmp_path):
    root = tmp_path / "ball"
    for name in ("json", "seg"):
        trimesh.creation.box().export(root / f"{name}.ply")
    write_labels(root / "json_labels.json", np.arange(12) % 2, ("low", "high"))
    write_labels(root / "seg.seg", np.arange(12) % 2, ("low", "high"))
    click(session, "ball", [0.1, 0.5, 5], "component", 1)
    before = session.labels_of("ball")
    session.rename(1, " top ")
    assert session.label_names == ("low", "top") == LabelFolder(root).label_names
    assert json.loads((root / "labels.json").read_text()) == {"labels": ["low", "top"]}
    np.testing.assert_array_equal(MeshFolder(root).load("ball").face_labels, before)
    for name in ("json", "seg"):
        np.testing.assert_array_equal(MeshFolder(root).load(name).face_labels, np.arange(12) % 2)
    click(session, "ball", [0.1, 0.5, 5], "component", 0)
    assert MeshFolder(root).load("ball").label_names == ("low", "top")


@pytest.mark.parametrize(("label", "name"), [(1, ""), (1, " "), (1, "low"), (1, "(erase)"), (-1, "x"), (2, "x")])
def test_names_that_are_refused(session, tmp_path, label, name):
    click(session, "ball", [0.1, 0.5, 5], "component", 1)
    with pytest.raises(InputError):
        session.rename(label, name)
    assert LabelFolder(tmp_path / "ball").label_names == session.label_names == ("low", "high")


def test_a_rename_that_fails_changes_nothing(session, tmp_path, monkeypatch):
    root = tmp_path / "ball"
    trimesh.creation.box().export(root / "box.ply")
    write_labels(root / "box_labels.json", np.arange(12) % 2, ("low", "high"))
    files = {file.name: file.read_bytes() for file in root.glob("*_labels.json")}

    def fail(path, labels, names):
        if names == ("low", "top"):
            raise InputError(f"cannot write {path}")

    monkeypatch.setattr("mvdecor.apps.viewer.labels.write_labels", fail)
    with pytest.raises(InputError, match="cannot write"):
        session.rename(1, "top")
    assert json.loads((root / "labels.json").read_text()) == {"labels": ["low", "high"]}
    assert {file.name: file.read_bytes() for file in root.glob("*_labels.json")} == files
    assert session.label_names == ("low", "high")


class Canvas:
    """Ten faces in a row, one unit each, along x."""

    spacing = 0.5

    def __init__(self):
        self.finished, self.previews, self.places = [], 0, []

    def do(self, action):
        action()

    def begin(self, mesh):
        return Stroke(mesh, "shape", np.zeros(10, dtype=bool))

    def touch(self, stroke, eye, places):
        self.places += places[:, 0].tolist()
        return np.isin(np.arange(10), np.floor(places[:, 0]).astype(int))

    def preview(self, strokes):
        self.previews += 1

    def finish(self, stroke):
        self.finished.append(np.flatnonzero(stroke.faces).tolist())


def sample(browser, phase, x):
    return Sample(browser, phase, "main", np.zeros(3), np.array([x, 0.0, 0.0]))


def test_positions_that_wait_are_painted_at_once_and_without_gaps():
    canvas = Canvas()
    strokes = Strokes(canvas)
    for event in (sample(1, "start", 1.2), sample(1, "update", 2.2), sample(2, "start", 9.5), sample(1, "update", 6.1)):
        strokes.add(event)
    strokes.paint_waiting()
    assert canvas.previews == 1 and canvas.finished == []
    assert max(np.diff(sorted(x for x in canvas.places if x < 7))) <= canvas.spacing + 1e-9
    strokes.add(sample(1, "end", 6.1))
    strokes.add(sample(2, "update", 8.5))
    strokes.paint_waiting()
    assert canvas.finished == [[1, 2, 3, 4, 5, 6]], "the strokes of two browsers stay apart"
    strokes.add(sample(2, "end", 8.5))
    strokes.add(sample(3, "update", 4))  # of a drag whose start was never seen
    strokes.paint_waiting()
    assert canvas.finished[1:] == [[8, 9]]
    strokes.close()
