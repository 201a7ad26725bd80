"""Make the pictures of the docs again from finished runs: make pictures, or python -m tests.pictures --data DIR [NAME ...]

A picture whose run is not there is skipped, and the command that trains it is printed; with --train it is run first.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.figures import save_png
from mvdecor.figures.layout import sheet, stack

DOCS = Path(__file__).parents[1] / "docs"
WIDTH = 1500
"""Pixels of a picture of several sections of a page, at most."""
SRN = "experiment=srn_chairs_cpu data.root={runs}/generated"
BIRDS = "experiment=ttp_birds_cpu photographs.root={runs}/generated_birds"

FOX = "template=file template.file={data}/templates/multiframe/meshes/fox.obj "

RUNS = {
    "people_cpu": "scripts/pipeline.py experiment=people_cpu data.root={data}/people out={runs}/people_cpu",
    "table_labels_cpu": "scripts/table.py experiment=table_labels_cpu data.root={data}/people table.runs=1 "
    "'columns=[smoothing]' out={runs}/table_labels_cpu",
    "person": "-m tests.viewer.person {data}/people --shapes 10 --rounds 2 --before 0.47 --clicks 60 --out {runs}/person",
    "srn_chairs_cpu": "scripts/pipeline.py " + SRN + " out={runs}/srn_chairs_cpu",
    "srn_chairs_textured_cpu": "scripts/pipeline.py experiment=srn_chairs_textured_cpu out={runs}/srn_chairs_textured_cpu",
    "srn_tables_cpu": "scripts/pipeline.py experiment=srn_tables_cpu out={runs}/srn_tables_cpu",
    "srn_people_cpu": "scripts/pipeline.py experiment=srn_people_cpu data.root={data}/people out={runs}/srn_people_cpu",
    "ttp_birds": "scripts/pipeline.py " + BIRDS + " out={runs}/ttp_birds",
    "ttp_dogs": "scripts/pretrain.py experiment=ttp_birds_cpu reconstructor=lite0 training.pretrain.steps=2000 "
    + FOX
    + "'renders.elevation=[-10,40]' out={runs}/ttp_dogs",
}
"""The trainings that pictures are of: a folder in `--runs` each, and the command that makes it."""


@dataclass(frozen=True)
class Picture:
    """How a picture of docs/ is made.

    Attributes:
        files: what it shows, patterns in the scratch folder {out}, or in a run; one below the other, of each the first match.
        command: makes them; "" if the run has them.
        run: of `RUNS`; "" if it needs none.
        sections: of an HTML page (the only file), in columns; Chromium takes them.
        viewer: settings of the viewer that it shows, in place of files.
        choices: label and option of each list of the viewer's page in which something is chosen.
        tab: of that page, to be opened.
    """

    files: tuple[str, ...] = ()
    command: str = ""
    run: str = ""
    sections: tuple[tuple[str, ...], ...] = ()
    viewer: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    tab: str = ""


def _capture(kind: str, folder: str) -> Picture:
    command = f"scripts/captures.py capture={kind} capture.root={{data}}/captures/{folder} pictures=0 out={{out}}"
    return Picture(("{out}/*.png",), command)


def _fit(kind: str, folder: str, settings: str) -> Picture:
    command = f"scripts/fit.py capture={kind} capture.root={{data}}/captures/{folder} {settings} out={{out}}"
    return Picture(("{out}/views.png",), command)


def _srn(run: str) -> Picture:
    return Picture((f"{{runs}}/{run}/semantic_srn/run_0/figures/*.png",), run=run)


TUNED = "{runs}/srn_chairs_cpu/semantic_srn/run_0"
PICTURES = {
    "people.png": Picture(("{runs}/people_cpu/figures/meshes.png",), run="people_cpu"),
    "embedding.png": Picture(
        ("{out}/one_shape.png", "{out}/two_shapes.png"),
        "scripts/figures.py experiment=people_cpu data.root={data}/people checkpoint={runs}/people_cpu/pretrain/model "
        "'figures.shapes=[person_026,person_025]' out={out}",
        "people_cpu",
    ),
    "report.png": Picture(
        ("{out}/page.html",),
        "scripts/report.py run={runs}/table_labels_cpu/smoothing/mvdecor/run_0 shapes=1 out={out}/page.html",
        "table_labels_cpu",
        (("results", "parts", "confusion"), ("shapes", "turn")),
    ),
    "viewer.png": Picture(
        run="person",
        viewer="data.root={runs}/person/meshes out={runs}/person/view",
        choices=(("shape", "person_027"), ("show", "prediction")),
        tab="Train",
    ),
    "viewer_person.webp": Picture(("{runs}/person/person.webp",), run="person"),
    "viewer_captures.png": Picture(
        run="srn_chairs_cpu",
        viewer="run={runs}/srn_chairs_cpu data_root={runs}/generated out={out}",
        choices=(("points", "labels"),),
    ),
    "report_srn.png": Picture(
        ("{out}/page.html",),
        "scripts/report.py run={runs}/srn_chairs_cpu shapes=1 data_root={runs}/generated out={out}/page.html",
        "srn_chairs_cpu",
        (("shapes",),),
    ),
    "semantic_srn.png": _srn("srn_chairs_cpu"),
    "srn_chairs_textured.png": _srn("srn_chairs_textured_cpu"),
    "srn_tables.png": _srn("srn_tables_cpu"),
    "srn_people.png": _srn("srn_people_cpu"),
    "srn_curves.png": Picture(
        ("{out}/curves.png",),
        "scripts/curves.py " + SRN + " checkpoint={runs}/srn_chairs_cpu/pretrain/model evaluation.limit=8 out={out}",
        "srn_chairs_cpu",
    ),
    "interpolation.png": Picture(
        ("{out}/strip.png",),
        f"scripts/interpolate.py checkpoint={TUNED}/model 'objects=[10064,10047,10009]' codes={TUNED}/codes.safetensors "
        "out={out}",
        "srn_chairs_cpu",
    ),
    "ttp_birds.png": Picture(("{runs}/ttp_birds/to_the_point/run_0/figures/reconstructions.png",), run="ttp_birds"),
    "ttp_bird_turned.png": Picture(
        ("{out}/turned.png",),
        "scripts/reconstruct.py image={runs}/generated_birds/images/bird_00804.png "
        "mask={runs}/generated_birds/masks/bird_00804.png checkpoint={runs}/ttp_birds/to_the_point/run_0/model out={out}",
        "ttp_birds",
    ),
    "ttp_dogs.png": Picture(
        ("{out}/figures/reconstructions.png",),
        "scripts/evaluate.py experiment=ttp_birds_cpu reconstructor=lite0 photographs=stanford_extra "
        + FOX
        + "evaluation.split=all "
        "photographs.annotations={data}/photos/stanfordextra/StanfordExtra_sample.json "
        "photographs.images={data}/photos/stanfordextra/sample_imgs checkpoint={runs}/ttp_dogs/model out={out}",
        "ttp_dogs",
    ),
    "cameras_llff.png": _capture("llff", "ethiopian_head"),
    "cameras_transforms.png": _capture("transforms", "fox"),
    "cameras_nsvf.png": _capture("nsvf", "lego_nsvf"),
    "fit_lego.png": _fit("nsvf", "lego_nsvf", "capture.reduce=5 held_out=5 radiance.steps=2500"),
    "fit_fox.png": _fit("transforms", "fox", "capture.reduce=12 radiance.steps=2500"),
    "fit_head.png": _fit("llff", "ethiopian_head", "capture.reduce=5 background=still"),
    "scaling.png": Picture(("{out}/scaling.png",), "scripts/benchmark.py json={out}/all.json plot={out}/scaling.png"),
}
"""By name in docs/."""
BY_HAND = {
    "segment_image.png": "scripts/segment_image.py of a photograph, see docs/systems/semantic_srn.md",
}
"""Pictures that no command makes without a person: what is to be done."""


def make(name: str, data: Path, runs: Path, train: bool, docs: Path = DOCS) -> str:
    """Make one picture; says what was done. What is there already is replaced only once its successor is whole.

    Raises:
        InputError: a command failed, or did not leave what the picture shows.
    """
    if name in BY_HAND:
        return f"{name}: skipped, made by hand: {BY_HAND[name]}"
    picture, out = PICTURES[name], runs / "pictures" / Path(name).stem
    places = {"data": str(data), "runs": str(runs), "out": str(out)}
    if picture.run and not (runs / picture.run).is_dir():
        command = RUNS[picture.run].format(**places)
        if not train:
            return f"{name}: skipped, needs {runs / picture.run}: python {command}"
        _run(command)
    if picture.command:
        out.mkdir(parents=True, exist_ok=True)
        _run(picture.command.format(**places))
    shown = [_first(pattern.format(**places), name) for pattern in picture.files]
    if name.endswith(".webp"):
        (docs / name).write_bytes(shown[0].read_bytes())  # an animation, as it is
        return f"{name}: made"
    if picture.viewer:
        image = viewed(picture.viewer.format(**places), picture.choices, picture.tab)
    elif picture.sections:
        columns = photographed(shown[0], picture.sections)
        image = _reduced(sheet([[stack(column) for column in columns]]))
    else:
        image = stack([np.array(Image.open(file).convert("RGB")) for file in shown])
    save_png(docs / name, image)
    return f"{name}: made"


def _run(command: str) -> None:
    print(f"python {command}", flush=True)
    if subprocess.run([sys.executable, *shlex.split(command)], cwd=DOCS.parent).returncode != 0:
        raise InputError(f"python {command}: failed; what it printed says why")


def _first(pattern: str, name: str) -> Path:
    files = sorted(Path().glob(pattern) if not Path(pattern).is_absolute() else Path("/").glob(pattern[1:]))
    if not files:
        raise InputError(f"{name}: {pattern} is not there: the command or the run that should make it has not finished")
    return files[0]


def photographed(page: Path, columns: Sequence[Sequence[str]]) -> list[list[np.ndarray]]:
    """Sections of an HTML page as Chromium shows them, uint8 [H, W, 3] each."""
    from playwright.sync_api import sync_playwright

    from tests.viewer.person import CHROMIUM, SOFTWARE

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        view.goto(page.absolute().as_uri())
        view.wait_for_selector("#turn canvas", state="attached")
        view.wait_for_timeout(5000)  # until the 3D views are drawn
        view.evaluate("document.querySelector('nav').remove()")
        shots = [[view.locator(f"#{id}").screenshot() for id in column] for column in columns]
        browser.close()
    return [[_pixels(shot) for shot in column] for column in shots]


def viewed(settings: str, choices: Sequence[tuple[str, str]], tab: str) -> np.ndarray:
    """The page of the viewer as Chromium shows it, uint8 [H, W, 3]."""
    from hydra import compose, initialize_config_dir
    from playwright.sync_api import sync_playwright

    from mvdecor.apps.viewer.app import Viewer
    from mvdecor.engine.cli import CONFIGS
    from tests.viewer.person import CHROMIUM, SOFTWARE, wait

    with initialize_config_dir(str(CONFIGS), version_base=None):
        cfg = compose("view", overrides=[*shlex.split(settings), "port=0"])
    with Viewer(cfg) as viewer, sync_playwright() as engine:
        viewer.panel.tick()  # how long a round takes
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": 1200, "height": 700})
        page.set_default_timeout(120_000)
        page.goto(viewer.address)
        for label, option in choices:
            page.get_by_label(label, exact=True).click()
            page.get_by_role("option", name=option, exact=True).click()
        if tab:
            page.get_by_role("tab", name=tab).click()
        notice = page.locator(".mantine-Notification-closeButton")  # there is no GPU; it covers a corner of the scene
        if wait(notice.is_visible, 20):
            notice.click()
        page.mouse.move(600, 690)  # over nothing
        page.wait_for_timeout(15_000)  # until all is drawn
        shot = page.screenshot()
        browser.close()
    return _pixels(shot)


def _reduced(image: np.ndarray) -> np.ndarray:
    """No wider than `WIDTH`."""
    picture = Image.fromarray(image)
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    return np.array(picture)


def _pixels(png: bytes) -> np.ndarray:
    return np.array(Image.open(BytesIO(png)).convert("RGB"))


def main() -> int:
    """Make the pictures that are named on the command line, or all; 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="pictures, for example people.png; default: all")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds people, captures, photos")
    parser.add_argument("--runs", type=Path, default=Path("outputs"), help="folder of finished runs")
    parser.add_argument("--train", action="store_true", help="train the runs that are not there")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in {**PICTURES, **BY_HAND}]:
        parser.error(f"no such picture: {', '.join(unknown)}; there are {', '.join(sorted({**PICTURES, **BY_HAND}))}")
    failed = False
    for name in options.names or sorted({**PICTURES, **BY_HAND}):
        try:
            print(make(name, options.data, options.runs, options.train), flush=True)
        except InputError as error:
            failed = True
            print(f"{name}: FAILED: {error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
