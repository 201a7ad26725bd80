"""The viewer on a mesh of some 300 000 faces: seconds to the first picture, and milliseconds of a click on the server.

    python -m tests.viewer.large [--browser] [--out outputs/large]

The mesh is a bumpy ball. Clicks go to the page as a browser's would, without one; what is counted is processor time until all
is labelled, saved, and ready to be sent. The first picture is that of Chromium without a GPU; that of a small
mesh, beside it, is what the page itself takes.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import trimesh
from omegaconf import DictConfig

from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.label_panel import RECTANGLE
from mvdecor.apps.viewer.panel import CAMERA
from mvdecor.apps.viewer.selection import TOOLS
from mvdecor.apps.viewer.strokes import Sample
from mvdecor.files import write_json
from mvdecor.results.table import format_table
from tests.viewer.person import CHROMIUM, SOFTWARE, wait

MEASURED = ("component", "crease", "brush", "face")
REPEATS = 7


def bumpy_ball(folder: Path, subdivisions: int) -> int:
    """Write a mesh as PLY; gives the number of its faces."""
    ball = trimesh.creation.icosphere(subdivisions)
    ball.vertices *= 1 + 0.1 * np.sin(9 * ball.vertices).prod(axis=1, keepdims=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ball.export(folder / "ball.ply")
    return len(ball.faces)


def click_times(viewer: Viewer) -> dict[str, float]:
    """Median milliseconds of processor time of a click with each tool, of a rectangle and of a position of a stroke."""
    panel = viewer.panel
    labelling = panel._labelling
    event = SimpleNamespace(ray_origin=np.array(CAMERA), ray_direction=-np.array(CAMERA), client=None)
    times = {}
    for name in MEASURED:
        labelling._tool.value = TOOLS[name].text
        times[f"click: {TOOLS[name].text}"] = _median(labelling, lambda: panel.do(lambda: panel._click(event)))
    labelling._tool.value = RECTANGLE
    wxyz = np.array([0.0, 1.0, 0.0, 0.0])  # along -z, y up
    camera = SimpleNamespace(position=np.array([0.0, 0.0, 2.7]), wxyz=wxyz, fov=0.9, aspect=1.3)
    drawn = SimpleNamespace(
        client=SimpleNamespace(camera=camera), screen_min=np.array([0.3, 0.3]), screen_max=np.array([0.6, 0.6])
    )
    times["a rectangle"] = _median(labelling, lambda: panel.do(lambda: labelling._label_rectangle(drawn)))
    labelling._tool.value = TOOLS["brush"].text
    labelling._strokes.add(Sample(1, "start", "main", np.array(CAMERA), np.zeros(3)))
    panel.do(labelling._strokes.paint_waiting)
    positions = iter(np.linspace(0.0, 0.5, 2 * REPEATS))

    def move() -> None:
        labelling._strokes.add(Sample(1, "update", "main", np.array(CAMERA), np.array([next(positions), 0.0, 0.0])))
        panel.do(labelling._strokes.paint_waiting)

    times["a position of a stroke"] = _median(labelling, move)
    return times


def _median(labelling, action) -> float:
    """Each time with the other of two labels, so that something changes."""
    names, milliseconds = labelling._session.label_names, []
    for number in range(REPEATS):
        labelling._part.value = names[number % 2]
        start = time.process_time()
        action()
        milliseconds.append(1000 * (time.process_time() - start))
    return statistics.median(milliseconds)


def first_picture(viewer: Viewer) -> float:
    """Seconds from opening the page until the shape is in the picture."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": 1100, "height": 760})

        def shown() -> bool:
            picture = np.asarray(Image.open(io.BytesIO(page.screenshot(timeout=300_000))).convert("RGB"))
            return bool((picture[360:400, 250:300] < 250).any(axis=-1).mean() > 0.9)  # where the ball is

        start = time.perf_counter()
        page.goto(viewer.address)
        assert wait(shown, 300), "the shape is not in the picture"
        seconds = time.perf_counter() - start
        browser.close()
        return seconds


def main() -> None:
    from hydra import compose, initialize_config_dir

    from mvdecor.engine.cli import CONFIGS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/large"))
    parser.add_argument("--browser", action="store_true", help="also the first picture, in Chromium")
    words = parser.parse_args()

    def settings(name: str, subdivisions: int) -> tuple[DictConfig, int]:
        meshes = words.out / name / "meshes"
        faces = bumpy_ball(meshes, subdivisions)
        overrides = [f"data.root={meshes}", "labels=[a,b]", f"out={words.out / name / 'view'}", "port=0"]
        with initialize_config_dir(str(CONFIGS), version_base=None):
            return compose("view", overrides=overrides), faces

    rows = []
    if words.browser:
        cfg, few = settings("small", 3)
        with Viewer(cfg) as viewer:
            rows.append({"what": f"first picture in Chromium, {few} faces, s", "time": f"{first_picture(viewer):.1f}"})
    cfg, faces = settings("large", 7)
    start = time.perf_counter()
    with Viewer(cfg) as viewer:
        rows.append({"what": "start of the viewer with the mesh, s", "time": f"{time.perf_counter() - start:.1f}"})
        if words.browser:
            rows.append({"what": "first picture in Chromium, s", "time": f"{first_picture(viewer):.1f}"})
        rows += [{"what": f"{name}, ms", "time": f"{value:.0f}"} for name, value in click_times(viewer).items()]
    write_json(words.out / "large.json", {"faces": faces, "rows": rows})
    print(f"{faces} faces\n{format_table(rows)}")


if __name__ == "__main__":
    main()
