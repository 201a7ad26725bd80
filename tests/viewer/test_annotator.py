"""The simulated annotator: clicks that can be counted by hand, and the command that tabulates them."""

import json

import numpy as np
import pytest
import trimesh

from mvdecor.apps.clicks import run_clicks
from mvdecor.apps.viewer.annotator import ACTIONS, Annotator, clicks_until, faces_until
from mvdecor.apps.viewer.tools import FaceTools
from mvdecor.errors import InputError
from mvdecor.shapes import Shape


@pytest.fixture(scope="module")
def boxes() -> tuple[Shape, np.ndarray]:
    """Three boxes of growing size, each of its own label."""
    parts = [trimesh.creation.box(extents=[size] * 3).apply_translation([3 * size, 0, 0]) for size in (1, 2, 4)]
    return Shape.from_trimesh(trimesh.util.concatenate(parts)).normalized(), np.repeat([0, 1, 2], 12)


def annotator(boxes, truth=None) -> Annotator:
    shape, known = boxes
    return Annotator(shape, FaceTools(shape), known if truth is None else truth)


def test_one_click_per_component_and_six_per_box_with_creases(boxes):
    assert clicks_until(annotator(boxes), ["component"], 1.0, 200) == (3, pytest.approx(1))
    assert clicks_until(annotator(boxes), ["crease"], 1.0, 200) == (18, pytest.approx(1))
    assert clicks_until(annotator(boxes), ["crease"], 1.0, 5) == (
        5,
        pytest.approx((4 * 16 + 4) / 126),
    )  # then the middle box
    shape, truth = boxes
    assert faces_until(shape, truth, 1.0) == 36
    assert faces_until(shape, truth, 12 * 8 / 126) == 12  # the largest box


def test_the_largest_error_comes_first_and_no_click_makes_it_worse(boxes):
    worker, before = annotator(boxes), 0.0
    labels = []
    while (step := worker.step(["component"])) is not None:
        worker.do(step)
        labels.append(step.label)
        assert worker.right > before
        before = worker.right
    assert labels == [2, 1, 0]


def test_a_tool_that_cannot_tell_parts_apart_stops(boxes):
    shape, _ = boxes
    upper = (shape.face_normals[:, 1].numpy() > 0.5).astype(int)  # the top of each box is another part
    clicks, right = clicks_until(annotator(boxes, upper), ["component"], 1.0, 200)
    assert clicks == 3 and right == pytest.approx(5 / 6)
    assert clicks_until(annotator(boxes, upper), ["crease", "brush", "material"], 1.0, 200)[1] == pytest.approx(1)


def test_unknown_faces_are_not_counted(boxes):
    _, truth = boxes
    assert clicks_until(annotator(boxes, np.where(truth == 2, -1, truth)), ["component"], 1.0, 200) == (
        2,
        pytest.approx(1),
    )
    with pytest.raises(InputError, match="nothing can be counted"):
        annotator(boxes, np.full(36, -1))
    with pytest.raises(InputError, match="no materials"):
        clicks_until(annotator(boxes), ["material"], 1.0, 200)


@pytest.mark.parametrize("tools", [["brush"], ["grow"], ["rectangle"], ["component", "brush", "object"]])
def test_what_is_counted_is_what_was_labelled(boxes, tools):
    """The share that is right, by a slow count over all faces."""
    shape, truth = boxes
    worker = annotator(boxes)
    clicks, right = clicks_until(worker, tools, 0.9, 60)
    areas = [float(trimesh.triangles.area(corners[None])[0]) for corners in shape.vertices[shape.faces].numpy()]
    counted = sum(a for a, label, known in zip(areas, worker.labels, truth, strict=True) if label == known)
    assert right == pytest.approx(counted / sum(areas), rel=1e-5) and clicks <= 61


def test_command(made_up_people, make_config, tmp_path, capsys):
    words = ["data=renderpeople", f"data.root={made_up_people}", "limit=1", "most=3", f"out={tmp_path / 'clicks'}"]
    rows = run_clicks(make_config(*words, "tools=[face,component,object]", name="clicks"))
    written = json.loads((tmp_path / "clicks" / "clicks.json").read_text())
    assert written["rows"] == rows and [row["tool"] for row in rows] == ["face", "component", "object"]
    (shape,) = written["shapes"].values()
    assert shape["component"]["clicks"] <= 3 and 0 < shape["component"]["right"] <= 1
    assert shape["object"] is None, "its file has one object"
    assert (tmp_path / "clicks" / "clicks.md").read_text().strip() in capsys.readouterr().out
    for wrong, message in (("tools=[lasso]", "'lasso' is unknown"), ("goal=2", "goal"), ("split=val", "val")):
        with pytest.raises(InputError, match=message):
            run_clicks(make_config(*words, wrong, name="clicks"))
    assert "similar" not in ACTIONS
