"""Words in the viewer, through viser's own objects and without a browser: other words, heat maps, what is similar, export."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.word_renderer import ANSWERS, words_of
from mvdecor.errors import InputError
from mvdecor.fields.feature_views import load_features
from mvdecor.systems.open_vocabulary.stages import run_evaluate, run_finetune
from tests.calls import PATIENCE
from tests.colour_room import BALLS, NAMES
from tests.viewer.person import CHROMIUM, SOFTWARE, wait

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


OTHERS = ["gray", "crimson", "blue", "green"]


def test_distilling_for_other_words_runs_beside_the_page(viewer, scene_config, fitted_field, tmp_path):
    words = viewer.panel.words
    words.words.value = ", ".join(OTHERS)
    words.start_distillation()
    assert words.distil.disabled and words.stop.visible
    with pytest.raises(InputError, match="a distillation is running"):
        words.start_distillation()
    assert viewer.session.words.query.words == list(NAMES), "what was asked last is still there"
    assert wait(lambda: viewer.panel.tick() or not words.stop.visible, PATIENCE)
    assert viewer.session.words.query.words == OTHERS and "distilled for gray, crimson" in words._status.content
    (folder,) = (tmp_path / "out" / "distilled").iterdir()
    features, record = load_features(folder / "model")
    out = tmp_path / "by_hand"
    run_finetune(scene_config(f"out={out}", f"checkpoint={fitted_field}", f"words=[{','.join(OTHERS)}]"))
    expected, _ = load_features(out / "model")
    assert record["words"] == OTHERS
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(features.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_a_stopped_distillation_goes_on(viewer, tmp_path):
    words = viewer.panel.words
    words.start_distillation()
    words.close()
    assert "stopped" in words._status.content and not words.stop.visible and not words.distil.disabled
    words.start_distillation()
    assert wait(lambda: viewer.panel.tick() or not words.stop.visible, PATIENCE)
    assert len(list((tmp_path / "out" / "distilled").iterdir())) == 1
    assert "distilled for" in words._status.content


def test_what_a_distillation_complains_of_is_said(viewer, monkeypatch):
    words, panel = viewer.panel.words, viewer.panel
    words.words.value = "red, red"
    panel._do(words.start_distillation)
    assert "red" in panel._message.content and not words.stop.visible
    words.words.value = "red, blue"
    monkeypatch.setattr(words._renderer.scene.cfg, "checkpoint", "nowhere")
    words.start_distillation()
    assert wait(lambda: viewer.panel.tick() or not words.stop.visible, PATIENCE)
    assert "nowhere" in panel._message.content and viewer.session.words.query.words == list(NAMES)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
def test_words_are_typed_in_a_browser(viewer):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": 900, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(viewer.address)
        box = page.locator("xpath=//*[text()='words']/following::input[not(@type='hidden')][1]")
        for text, said in [("gray", "at least two words"), ("gray, crimson, blue", "3 words in")]:
            box.fill(text)
            assert wait(lambda text=text: viewer.panel.words.words.value == text, PATIENCE)
            page.get_by_role("button", name="Find").click()
            page.get_by_text(said).wait_for()
        assert viewer.session.words.query.words == ["gray", "crimson", "blue"]
        assert page.get_by_label("heat map of", exact=True).input_value() == "gray"
        browser.close()
