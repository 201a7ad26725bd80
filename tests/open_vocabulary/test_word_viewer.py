"""Words in the viewer, through viser's own objects and without a browser: other words, heat maps, what is similar, export."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.word_renderer import ANSWERS, words_of
from mvdecor.errors import InputError
from mvdecor.systems.open_vocabulary.stages import run_evaluate
from tests.colour_room import BALLS, NAMES

pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")


@pytest.fixture(scope="module")
def run(scene_config, distilled, tmp_path_factory):
    """The folder of an evaluation."""
    out = tmp_path_factory.mktemp("words") / "run"
    shutil.copytree(distilled[0], out)
    run_evaluate(scene_config(f"out={out}", f"checkpoint={out / 'model'}"))
    return out


@pytest.fixture
def viewer(run, make_config, tmp_path):
    with Viewer(make_config(f"run={run}", "port=0", f"out={tmp_path / 'out'}", name="view")) as viewer:
        yield viewer


def on_ball(points: np.ndarray, name: str) -> np.ndarray:
    """bool [P], points on the upper half of a ball."""
    x, y, radius = BALLS[name]
    return np.linalg.norm(points - [x, y, radius], axis=1) < 1.15 * radius


def test_other_words_are_found_at_once_and_have_heat_maps(viewer):
    panel, session = viewer.panel, viewer.session
    assert panel.words.words.value == ", ".join(NAMES)
    view = int(panel.view.value)
    truth = session.capture("balls").labels([view])[0].numpy()
    before = session.pictures("balls", view)
    panel.words.words.value = "gray, crimson, blue"
    for answer in ANSWERS:
        panel.words.answer.value = answer
        panel.words.find()
        assert session.words.query.words == ["gray", "crimson", "blue"] and "3 words in" in panel.words.note.content
        panel.words.heat.value = "crimson"
        panel.words._choose_heat()
        heat = session.words.scores(view)[1].numpy()
        red = truth == NAMES.index("red ball")
        assert heat[red].mean() > heat[~red].mean() + 0.2
        assert (session.pictures("balls", view)["heat"] != before["heat"]).any()
        points = session.cloud("balls")
        crimson = (points.colours["labels"] == points.colours["labels"][on_ball(points.points, "red ball")][0]).all(
            axis=1
        )
        assert (
            crimson[on_ball(points.points, "red ball")].mean()
            > 0.6
            > crimson[on_ball(points.points, "blue ball")].mean()
        )


def test_words_that_make_no_query_are_said_and_change_nothing(viewer):
    panel = viewer.panel
    panel.words.words.value = "red"
    panel._do(panel.words.find)
    assert "at least two words" in panel._message.content and viewer.session.words.query.words == list(NAMES)
    with pytest.raises(InputError, match="word 2 is empty"):
        viewer.session.words.ask(words_of("red,,blue"))


def test_a_click_shows_what_is_similar(viewer):
    words, panel = viewer.session.words, viewer.panel
    points = viewer.session.cloud("balls").points
    camera = viewer.session.capture("balls").cameras.centers[6].numpy().astype(np.float64)
    x, y, radius = BALLS["red ball"]
    direction = np.array([x, y, radius]) - camera
    cosines = words.similar(camera, direction)
    met = points[cosines.argmax()]
    assert float(cosines.max()) == pytest.approx(1, abs=1e-4) and on_ball(met[None], "red ball").all()
    assert cosines[on_ball(points, "red ball")].mean() > cosines[on_ball(points, "blue ball")].mean() + 0.1
    assert words.similar(camera, -direction) is None
    panel.words.show_similar(camera, -direction)
    assert "missed" in panel.words.note.content
    panel.words.show_similar(camera, direction)
    assert "similar" in panel.words.note.content


def test_what_is_found_is_exported(viewer, tmp_path):
    viewer.panel.words.export()
    folder = tmp_path / "out" / "words"
    capture = viewer.session.capture("balls")
    assert len(list((folder / "heat").glob("*/*.png"))) == len(NAMES) * len(capture)
    mask = np.array(Image.open(folder / "segmentations" / "4" / "red ball.png")) == 255
    expected = viewer.session.words.scores(4).argmax(dim=0) == NAMES.index("red ball")
    assert torch.equal(torch.from_numpy(mask), expected)
    header = (folder / "cloud.ply").read_bytes().partition(b"end_header")[0]
    assert b"comment label 3 = red ball" in header and "written" in viewer.panel.words.note.content
