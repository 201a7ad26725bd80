"""The viewer in a real browser, started by its script. Skipped where viser, Playwright or Chromium is not installed."""

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdecor.apps.viewer.panel import CAMERA, CENTER, FOV
from mvdecor.apps.viewer.tools import FaceTools
from mvdecor.engine.provenance import provenance
from mvdecor.networks import build_model, save_checkpoint
from mvdecor.shapes import MeshFolder
from tests.calls import PATIENCE, environment, script
from tests.viewer.person import CHROMIUM, SOFTWARE, wait

pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")

WIDTH, HEIGHT = 900, 640
SOON = 15
"""Seconds after which what a busy page may have taken no notice of is done again."""
IDS = [f"chair_{i:03d}" for i in range(3)]


@pytest.fixture
def viewer(unlabelled, made_up_people, make_config, tiny, tmp_path) -> Iterator[tuple[Path, str]]:
    """A viewer of three unlabelled shapes with a pretrained model: the folder of the meshes, and the address."""
    folder = unlabelled(made_up_people, IDS)
    cfg = make_config(*tiny, "views.channels=[rgb]")
    model = build_model(cfg.network, cfg.views.channels, None)
    save_checkpoint(tmp_path / "model", model, {"kind": "pretrained", "label_names": [], **provenance(cfg)})
    words = [*folder.overrides, *tiny, "views.channels=[rgb]", f"checkpoint={tmp_path / 'model'}", "port=0"]
    words += ["labels=[seat,'<b>back</b>']", f"out={tmp_path / 'out'}", "training.finetune.steps=4", "~experiment"]
    command = [sys.executable, *script("view", *words)]
    log = tmp_path / "viewer.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment(), stdout=file, stderr=subprocess.STDOUT)
    started = wait(lambda: "viewer: " in log.read_text() or process.poll() is not None, PATIENCE)
    address = re.search(r"^viewer: (\S+)\s", log.read_text(), re.MULTILINE)
    if not started or address is None:
        pytest.fail(log.read_text())
    yield folder.root, address[1]
    process.terminate()
    process.wait()
    print(log.read_text())  # which pytest shows of a test that failed


@pytest.fixture
def page(viewer) -> Iterator:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(1000 * PATIENCE)
        page.on("dialog", lambda dialog: pytest.fail(f"a name was run: {dialog.message}"))
        page.goto(viewer[1])
        page.get_by_label("shape", exact=True).wait_for()
        wait_until(lambda: colours_shown(page) > 50)  # the mesh is rendered
        yield page
        print(page.locator("body").inner_text())
        browser.close()


def pixel(point: np.ndarray, width: float) -> tuple[float, float]:
    """Where the page first shows a point of the shape, in a scene of this width."""
    forward = np.subtract(CENTER, CAMERA) / np.linalg.norm(np.subtract(CENTER, CAMERA))
    right = np.cross(forward, [0, 1, 0]) / np.linalg.norm(np.cross(forward, [0, 1, 0]))
    up = np.cross(right, forward)
    away = point - CAMERA
    focal = HEIGHT / 2 / np.tan(FOV / 2) / (away @ forward)
    return width / 2 + focal * (away @ right), HEIGHT / 2 - focal * (away @ up)


def large_visible_face(root: Path, width: float) -> tuple[int, FaceTools, tuple[float, float]]:
    """The face of the first shape that is easiest to click on, below the notices of the page, and where."""
    shape = MeshFolder(root).load(IDS[0])
    tools = FaceTools(shape)
    centers = shape.face_centers.double().numpy()
    facing = np.abs(((centers - CAMERA) * shape.face_normals.double().numpy()).sum(axis=1)) * shape.face_areas.numpy()
    for face in np.argsort(-facing):
        hit = tools.pick(CAMERA, centers[face] - CAMERA)
        x, y = pixel(centers[face], width)
        if hit is not None and hit.face == face and 50 < x < width - 50 and 170 < y < HEIGHT - 50:
            return int(face), tools, (x, y)
    raise AssertionError("no face can be clicked on")


def choose(page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    page.get_by_role("option", name=option, exact=True).wait_for(state="hidden")


def wait_until(happened: Callable[[], bool]) -> None:
    """Look again and again, as long as a busy machine may take."""
    assert wait(happened, PATIENCE), "it did not happen"


def colours_shown(page) -> int:
    """How many colours the page shows left of its controls."""
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    return len(np.unique(picture[:, : WIDTH // 2].reshape(-1, 3), axis=0))


def click_shows(page, where: tuple[float, float], text: str) -> bool:
    """Whether a click makes the page say something."""
    page.mouse.click(*where)
    try:
        page.get_by_text(text).wait_for(timeout=3000)
    except playwright.TimeoutError:
        return False
    return True


def wait_for_labels(root: Path, expected: np.ndarray, id: str = IDS[0]) -> None:
    file = root / f"{id}_labels.npy"
    wait_until(lambda: file.exists() and np.array_equal(np.load(file), expected))


def test_click_paint_undo_fine_tune_and_predictions(viewer, page, tmp_path):
    root, _ = viewer
    width = page.locator("canvas").first.bounding_box()["width"]
    face, tools, (x, y) = large_visible_face(root, width)
    files = {p.name: p.read_bytes() for p in root.iterdir() if p.is_file()}
    accept = page.get_by_role("button", name="Accept the prediction")

    page.mouse.click(20, HEIGHT - 20)
    page.get_by_text("the click missed the shape").wait_for()
    choose(page, "show", "prediction")  # there is none: nothing is in the way
    page.get_by_text("The texture is shown").wait_for()
    choose(page, "shape", IDS[1])
    page.get_by_text("The texture is shown").wait_for(state="hidden")
    choose(page, "shape", IDS[0])
    page.get_by_role("button", name="Export this shape").click()
    page.get_by_text(f"shape {IDS[0]} has no label yet").wait_for()
    assert not accept.is_visible()
    wait_until(lambda: colours_shown(page) > 50)
    choose(page, "a click will", "show what is similar")
    wait_until(lambda: click_shows(page, (x, y), "cosine 1"))  # the patch with that face may not be rendered yet
    assert not list(root.glob("*_labels.npy")), "looking changes nothing"

    choose(page, "a click will", "label with the brush")
    choose(page, "label", "<b>back</b>")
    nothing = np.full(len(tools.component(face)), -1)
    choose(page, "a click will", "label the connected part")
    page.mouse.click(x, y)
    part = np.where(tools.component(face), 1, -1)
    wait_for_labels(root, part)
    page.get_by_text("<b>back</b>").first.wait_for()  # the name itself, not bold letters
    page.get_by_role("button", name="undo").click()
    wait_for_labels(root, nothing)
    page.get_by_role("button", name="redo").click()
    wait_for_labels(root, part)

    choose(page, "a click will", "label up to the crease")
    choose(page, "label", "seat")
    page.mouse.click(x, y)
    wait_for_labels(root, np.where(tools.crease(face, 30), 0, part))
    page.get_by_role("button", name="Export this shape").click()
    exported = tmp_path / "out" / "export" / IDS[0]
    page.get_by_text(f"with your labels: {exported}").wait_for()
    assert (exported / "original.glb").exists()
    assert {name: (root / name).read_bytes() for name in files} == files, "meshes are never written"

    page.get_by_role("tab", name="Train").click()
    page.get_by_role("button", name="Fine-tune on what is labelled").click()
    page.get_by_text("expected to be wrong (2)").wait_for()
    page.get_by_text("round_1: 2 shapes labelled").wait_for()
    assert (tmp_path / "out" / "round_1" / "model" / "model.safetensors").exists()
    assert page.get_by_label("show", exact=True).input_value() == "prediction"
    choose(page, "shape", IDS[1])
    page.get_by_role("tab", name="Label").click()
    accept.click()
    predicted = np.load(tmp_path / "out" / "round_1" / "predictions" / f"{IDS[1]}.npz")["labels"]
    wait_for_labels(root, predicted, IDS[1])
    accept.wait_for(state="hidden")  # every face has a label
    page.get_by_role("tab", name="Train").click()
    page.get_by_text("expected to be wrong (1)").wait_for()
    choose(page, "beside it", IDS[2])
    wait_until(lambda: colours_shown(page) > 50)


def drag(page, start: tuple[float, float], end: tuple[float, float], happened: Callable[[], bool]) -> None:
    """With Shift held, as strokes and rectangles are drawn; again if a busy page was not ready for it."""

    def once() -> bool:
        page.keyboard.down("Shift")
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=10)
        page.mouse.up()
        page.keyboard.up("Shift")
        return wait(happened, SOON)

    wait_until(once)


def on_disk(root: Path, id: str = IDS[0]) -> np.ndarray:
    file = root / f"{id}_labels.npy"
    return np.load(file) if file.exists() else np.array([-1])


def test_strokes_rectangles_and_classes(viewer, page):
    root, _ = viewer
    width = page.locator("canvas").first.bounding_box()["width"]
    face, _, (x, y) = large_visible_face(root, width)
    choose(page, "a click will", "label with the brush")
    page.get_by_text("Shift and drag over the shape").wait_for()
    drag(page, (x, y), (x + 40, y + 40), lambda: (on_disk(root) == 0).any())
    assert on_disk(root)[face] == 0
    page.get_by_role("button", name="undo").click()
    wait_until(lambda: (on_disk(root) == -1).all())  # a stroke is one step
    page.get_by_text("there is nothing to undo").wait_for(state="hidden")

    page.keyboard.press("r")  # the hotkey of the rectangle
    page.get_by_text("labels what is seen in the rectangle").wait_for()
    drag(page, (5, 170), (width - 5, HEIGHT - 5), lambda: (on_disk(root) == 0).any())
    seen = on_disk(root) == 0
    assert seen[face] and not seen.all()
    page.keyboard.press("x")
    # through the shape, all that the page shows
    drag(page, (5, 5), (width - 5, HEIGHT - 5), lambda: (on_disk(root) == 0).all())

    page.get_by_role("tab", name="Classes").click()
    page.get_by_text(f"{len(seen)}", exact=True).first.wait_for()
    page.get_by_role("button", name="lock", exact=True).click()
    page.get_by_text("seat 🔒").wait_for()
    page.locator("xpath=//*[text()='new name']/following::input[1]").fill("<i>chair</i>")
    page.get_by_role("button", name="Rename the class").click()
    page.get_by_text("<i>chair</i> 🔒").wait_for()
    page.get_by_role("tab", name="Label").click()
    choose(page, "a click will", "label the connected part")
    choose(page, "label", "<b>back</b>")
    wait_until(lambda: click_shows(page, (x, y), "nothing changed"))
    assert (on_disk(root) == 0).all()


def test_two_browsers_and_a_page_that_is_loaded_again(viewer, page):
    root, address = viewer
    width = page.locator("canvas").first.bounding_box()["width"]
    _, tools, (x, y) = large_visible_face(root, width)
    second = page.context.browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    second.goto(address)
    second.get_by_label("shape", exact=True).wait_for()
    choose(page, "a click will", "label with the brush")
    wait_until(lambda: second.get_by_label("a click will").input_value() == "label with the brush")
    wait_until(lambda: colours_shown(second) > 50)

    def clicked() -> bool:
        for number in range(6):  # one after the other, faster than either is drawn
            (page if number % 2 else second).mouse.click(x + 15 * number, y)
        return wait(lambda: (on_disk(root) == 0).any(), SOON)

    wait_until(clicked)
    page.get_by_label("label", exact=True).wait_for()
    wait_until(lambda: same_for_a_while(root))
    labels = on_disk(root)
    assert labels.shape == (len(tools.component(0)),) and set(labels) == {-1, 0}
    assert not page.get_by_text("another program changed it").is_visible()

    choose(second, "shape", IDS[1])
    wait_until(lambda: page.get_by_label("shape", exact=True).input_value() == IDS[1])
    page.mouse.move(60, 400)
    page.mouse.down()
    page.mouse.move(200, 300, steps=10)  # turns the camera
    page.mouse.up()
    wait_until(lambda: still(page))
    before = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), dtype=float)
    page.reload()
    page.get_by_label("shape", exact=True).wait_for()
    assert page.get_by_label("shape", exact=True).input_value() == IDS[1]
    scene = slice(170, None), slice(0, int(width))

    def as_before() -> bool:
        after = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), dtype=float)
        return float(np.abs(after[scene] - before[scene]).mean()) < 1

    wait_until(as_before)


def same_for_a_while(root: Path) -> bool:
    before = on_disk(root)
    time.sleep(2)
    return np.array_equal(before, on_disk(root))


def still(page) -> bool:
    """Whether the page has stopped moving: its camera swings out."""
    before = page.screenshot()
    time.sleep(0.5)
    return before == page.screenshot()
