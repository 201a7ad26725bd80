"""A scripted person labels meshes in Chromium, from nothing to export, and counts clicks, seconds of waiting and what is right.

    python -m tests.viewer.person ROOT --shapes 10 --rounds 2 --clicks 60 --out outputs/person

ROOT is in the layout of people (data/README.md): its labels are what the person knows and wants, and are hidden from the
viewer. The person follows the simulated annotator (mvdecor/apps/viewer/annotator.py). Every press of the mouse button is a
click; keys are not, and the script turns the camera. It leaves the page while a round runs: without a GPU, drawing takes the
processor from the training.
"""

from __future__ import annotations

import argparse
import json
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mvdecor.apps.viewer.annotator import VIEWS, Annotator, Step, clicks_until
from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.label_panel import RECTANGLE
from mvdecor.apps.viewer.selection import DEFAULTS, TOOLS
from mvdecor.apps.viewer.tools import FaceTools
from mvdecor.files import write_json
from mvdecor.results.table import format_table
from mvdecor.shapes import MeshFolder

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDTH, HEIGHT = 900, 640
CLICKED = ("component", "crease", "brush")
DISTANCES = (1.3, 0.6, 0.3, 0.15)
"""From a face that is clicked on to the camera; the first from where it is seen."""
PATIENT = 1800
VISIT = 3
"""Clicks on the shape of which most is wrong, at most, before the next one is looked for."""


@dataclass
class Task:
    """Meshes to label and what is true of them.

    Attributes:
        folder: of the meshes, without labels.
        names: of the labels, those of the largest area first.
        truth: int64 [F], by id.
    """

    folder: Path
    names: list[str]
    truth: dict[str, np.ndarray]


def make_task(root: Path, ids: Sequence[str], folder: Path) -> Task:
    """Copy meshes with their textures, without labels."""
    names = json.loads((root / "split.json").read_text())["labels"]
    truth, area = {}, np.zeros(len(names))
    for id in ids:
        shutil.copytree(root / id, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*_labels.npy"))
        folder.chmod(0o755)  # a data set may be read-only
        labels = np.load(root / id / f"{id}_labels.npy").astype(np.int64)
        truth[id] = np.where(labels == 255, -1, labels)
        shape = MeshFolder(folder).load(id)
        known = truth[id] >= 0
        area += np.bincount(truth[id][known], weights=shape.face_areas.numpy()[known], minlength=len(names))
    order = np.argsort(-area, kind="stable")
    place = np.append(np.argsort(order), -1)  # the last one is that of -1
    return Task(folder, [names[k] for k in order], {id: place[labels] for id, labels in truth.items()})


@dataclass
class Person:
    """Works on the page of a viewer in the same process, to which the session belongs that says what is labelled.

    Attributes:
        on_shapes: clicks and drags over shapes.
        elsewhere: clicks on buttons, tabs, boxes and fields.
        waiting: seconds of waiting for rounds.
        phases: what was reached, and at what cost.
    """

    page: Any
    viewer: Any
    task: Task
    out: Path
    on_shapes: int = 0
    elsewhere: int = 0
    waiting: float = 0.0
    phases: list[dict[str, Any]] = field(default_factory=list)
    _annotators: dict[str, Annotator] = field(default_factory=dict)
    _radius: float = DEFAULTS.radius

    @property
    def session(self) -> Any:
        return self.viewer.session

    @property
    def clicks(self) -> int:
        return self.on_shapes + self.elsewhere

    def annotator(self, id: str) -> Annotator:
        """That of a shape, with the labels as they are."""
        if id not in self._annotators:
            self._annotators[id] = Annotator(self.session.shape(id), self.session.tools(id), self.task.truth[id])
        self._annotators[id].labels = self.session.labels_of(id)
        return self._annotators[id]

    def right(self, ids: Sequence[str]) -> float:
        """Mean share of the area of shapes whose label is right."""
        return float(np.mean([self.annotator(id).right for id in ids]))

    def predicted(self, ids: Sequence[str]) -> float:
        """The same of what the last round predicts."""
        rights = []
        for id in ids:
            annotator = self.annotator(id)
            annotator.labels = self.session.predicted_labels(id)
            rights.append(annotator.right)
        return float(np.mean(rights))

    def press(self, role: str, name: str) -> None:
        self.page.get_by_role(role, name=name, exact=True).click()
        self.elsewhere += 1

    def key(self, key: str, happened: Any) -> None:
        """Press a key until it does something: a box that has the focus keeps it, and a busy page may lose it."""
        for _ in range(10):
            self.page.evaluate("document.activeElement.blur()")
            self.page.keyboard.press(key)
            if wait(happened, 12):
                return
        raise AssertionError(f"the key {key} did nothing")

    def field(self, text: str) -> Any:
        """The field beside some text."""
        return self.page.locator(f"xpath=//*[text()='{text}']/following::input[not(@type='hidden')][1]")

    def open(self, id: str) -> None:
        """Go on to the next shape, or back, until it is there."""
        place = self.session.ids.index
        while (before := self.viewer.panel.id) != id:
            key = "PageDown" if place(before) < place(id) else "PageUp"
            self.key(key, lambda before=before: self.viewer.panel.id != before)
        wait(lambda: self.field("shape").input_value() == id)

    def label(self, id: str, goal: float, most: int) -> None:
        """Label the open shape until so much of it is right, with so many clicks at most."""
        start = self.clicks
        while self.clicks - start < most and self.annotator(id).right < goal:
            for tools in ([*CLICKED, "rectangle"], ["rectangle"]):  # a face may be hidden from all sides
                step = self.annotator(id).step(tools)
                if step is not None and self.clicks - start + self.cost(step) > most:
                    return
                if step is not None and self.do(id, step):
                    break
                print(f"{id}: {step and step.action.tool} came to nothing", flush=True)
            else:
                print(f"{id}: no click helps", flush=True)
                return

    def cost(self, step: Step) -> int:
        """Clicks that a step takes."""
        cost = 1 + (self.page.get_by_label("only faces without a label").is_checked() != step.unlabelled)
        if step.action.tool == "brush":
            cost += self._radius != step.action.settings.radius
        return cost + (2 if step.label >= 10 else 0)

    def do(self, id: str, step: Step) -> bool:
        """Choose label and tool, look at the place, and click; False if nothing came of it."""
        action, before = step.action, self.session.labels_of(id)
        name = self.session.label_names[step.label]
        if step.label < 10:
            self.key(str((step.label + 1) % 10), lambda: self.field("label").input_value() == name)
        else:
            self.choose("label", name)
        rectangle = action.tool == "rectangle"
        text, key = (RECTANGLE, "r") if rectangle else (TOOLS[action.tool].text, TOOLS[action.tool].key.lower())
        self.key(key, lambda: self.field("a click will").input_value() == text)
        box = self.page.get_by_label("only faces without a label")
        if box.is_checked() != step.unlabelled:
            box.click(force=True)
            self.elsewhere += 1
        if action.tool == "brush":
            self.set_radius(action.settings.radius)
        said = self.said
        for _ in range(5):  # a page that is not drawn yet takes no notice of a click: a person clicks again
            if not (self.draw(action) if action.tool == "rectangle" else self.click(id, step.face)):
                return False
            self.on_shapes += 1
            if wait(lambda: self.said != said or not np.array_equal(self.session.labels_of(id), before), 20):
                break
        return wait(lambda: not np.array_equal(self.session.labels_of(id), before), 30)

    @property
    def said(self) -> str:
        """What the page says at its top."""
        return self.viewer.panel._message.content

    def choose(self, label: str, option: str) -> None:
        """In a list."""
        self.page.get_by_label(label, exact=True).click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.elsewhere += 2

    def set_radius(self, radius: float) -> None:
        if self._radius != radius:
            entry = self.page.locator("xpath=//*[text()='brush radius']/following::input[@inputmode][1]")
            entry.fill(f"{radius:g}")
            entry.press("Enter")
            self._radius = radius
            self.elsewhere += 1

    def click(self, id: str, face: int) -> bool:
        """Look at a face from where it is seen, and click on it."""
        tools, shape = self.session.tools(id), self.session.shape(id)
        center, normal = tools.center(face), shape.face_normals[face].double().numpy()
        for distance in DISTANCES:
            for outward in (normal, -normal, *(view.position / np.linalg.norm(view.position) for view in VIEWS)):
                eye = center + distance * outward + [0.0, 0.01, 0.01]
                hit = tools.pick(eye, center - eye)
                if hit is not None and hit.face == face:
                    self.look(eye, center)
                    canvas = self.canvas()
                    self.page.mouse.click(canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2)
                    return True
        return False

    def draw(self, action: Any) -> bool:
        """Draw a rectangle of the annotator's."""
        view, low, high, through = action.rectangle
        if self.viewer.panel.xray != through:
            self.key("x", lambda: self.viewer.panel.xray == through)
        self.look(view.position, np.zeros(3))
        canvas = self.canvas()
        aspect = canvas["width"] / canvas["height"]
        corners = [
            (
                canvas["x"] + canvas["width"] * float(np.clip(0.5 + (x - 0.5) / aspect, 0.002, 0.998)),
                canvas["y"] + canvas["height"] * float(np.clip(y, 0.002, 0.998)),
            )
            for x, y in (low, high)
        ]
        self.page.keyboard.down("Shift")
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        self.page.mouse.move(*corners[1], steps=4)
        self.page.mouse.up()
        self.page.keyboard.up("Shift")
        return True

    def look(self, eye: np.ndarray, target: np.ndarray) -> None:
        """Turn the camera."""
        (client,) = self.viewer.panel._server.get_clients().values()
        reported = [] if np.abs(client.camera.position - eye).max() > 1e-3 else [np.zeros(3)]
        client.camera.on_update(lambda camera: reported.append(np.subtract(camera.position, eye)))
        client.camera.position, client.camera.look_at = tuple(eye), tuple(target)
        client.flush()
        wait(lambda: bool(reported) and bool(np.abs(reported[-1]).max() < 1e-3), 20)
        time.sleep(0.7)

    def canvas(self) -> dict[str, float]:
        return self.page.locator("canvas").first.bounding_box()

    def enter(self) -> None:
        """Open the page."""
        self.page.goto(self.viewer.address)
        self.page.get_by_label("shape", exact=True).wait_for()
        wait(lambda: len(self.viewer.panel._server.get_clients()) == 1)
        notice = self.page.locator(
            ".mantine-Notification-closeButton"
        )  # there is no GPU; it covers a corner of the scene
        if wait(notice.is_visible, 20):
            notice.click()

    def fine_tune(self) -> None:
        """A round, and waiting for it, away from the page."""
        start, before = time.monotonic(), self.session.round
        self.press("tab", "Train")
        self.press("button", "Fine-tune on what is labelled")
        self.page.get_by_role("button", name="Stop").wait_for()
        self.page.goto("about:blank")
        assert wait(lambda: self.session.round is not before, PATIENT), "the round did not end"
        self.waiting += time.monotonic() - start
        self.enter()

    def accept(self, id: str) -> None:
        """Take the prediction, where there is one."""
        if self.session.round is None:
            return
        self.key("p", lambda: self.session.unlabelled(id) == 0)

    def export(self, id: str) -> None:
        self.press("button", "Export this shape")
        wait(lambda: (self.out / "view" / "export" / id / "original.glb").exists())

    def note(self, text: str, **values: float) -> None:
        """Write down what was reached, and take a picture."""
        cost: dict[str, Any] = {"clicks": self.clicks, "on shapes": self.on_shapes, "waited, s": round(self.waiting)}
        self.phases.append({"after": text, **cost, **{key: 100 * value for key, value in values.items()}})
        self.page.screenshot(path=self.out / f"{len(self.phases):02}.png")
        write_json(self.out / "phases.json", self.phases)
        print(self.phases[-1], flush=True)


def wait(happened: Any, seconds: float = 120) -> bool:
    """Look again and again; False if it does not happen in time."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def work(person: Person, rounds: Sequence[int], before: float, clicks: int, goal: float) -> None:
    """Label the first shapes, fine-tune, accept and correct some more, and so on; in the end correct where most is wrong.

    Args:
        person: who works.
        rounds: shapes that have labels before each round.
        before: share of the clicks that the shapes before the first round get.
        clicks: on everything but export, at most.
        goal: share of a shape that is enough.
    """
    ids, done = list(person.task.truth), 0
    for number, count in enumerate(rounds):
        for place in range(done, count):
            if number == 0:
                share = (before * clicks - person.clicks) / (count - place)
            else:
                share = (clicks - person.clicks) / (len(ids) - place)
            person.open(ids[place])
            person.accept(ids[place])
            person.label(ids[place], goal, int(share))
            person.note(f"labelling {ids[place]}", shape=person.annotator(ids[place]).right, all=person.right(ids))
        done = count
        person.fine_tune()
        person.note(f"round {number + 1}", others=person.predicted(ids[count:]), all=person.right(ids))
    for id in ids[done:]:
        person.open(id)
        person.accept(id)
    person.note("accepting the others", others=person.right(ids[done:]), all=person.right(ids))
    finished: set[str] = set()
    while person.clicks < clicks and len(finished) < len(ids):
        id = min(set(ids) - finished, key=lambda id: person.annotator(id).right)
        before_it = person.clicks
        person.open(id)
        person.label(id, goal, min(VISIT, clicks - person.clicks))
        if person.clicks == before_it:
            finished.add(id)
    person.note("correcting", others=person.right(ids[done:]), all=person.right(ids))


def without_rounds(task: Task, clicks: int) -> float:
    """Mean share of the area that is right when the same clicks are spread over all shapes, without any training."""
    rights = []
    for id, truth in task.truth.items():
        shape = MeshFolder(task.folder).load(id)
        most = clicks // len(task.truth)
        rights.append(clicks_until(Annotator(shape, FaceTools(shape), truth), [*CLICKED, "rectangle"], 0.99, most)[1])
    return float(np.mean(rights))


def main() -> None:
    from hydra import compose, initialize_config_dir
    from playwright.sync_api import sync_playwright

    from mvdecor.engine.cli import CONFIGS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/person"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--shapes", type=int, default=10)
    parser.add_argument("--rounds", type=int, nargs="*", default=[2])
    parser.add_argument("--before", type=float, default=0.5, help="share of the clicks before the first round")
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--goal", type=float, default=0.95)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the viewer, KEY=VALUE")
    words = parser.parse_args()
    ids = json.loads((words.root / "split.json").read_text())[words.split][: words.shapes]
    shutil.rmtree(words.out, ignore_errors=True)
    task = make_task(words.root, ids, words.out / "meshes")
    overrides = [f"data.root={task.folder}", f"labels=[{','.join(task.names)}]", f"out={words.out / 'view'}", "port=0"]
    with initialize_config_dir(str(CONFIGS), version_base=None):
        cfg = compose("view", overrides=[*overrides, *words.set])
    start = time.monotonic()
    with Viewer(cfg) as viewer, sync_playwright() as engine:
        threading.Thread(target=tick, args=(viewer,), daemon=True).start()
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(120_000)
        person = Person(page, viewer, task, words.out)
        person.enter()
        work(person, words.rounds, words.before, words.clicks, words.goal)
        minutes = (time.monotonic() - start) / 60
        person.export(ids[-1])
        person.note("export", all=person.right(ids))
        result: dict[str, Any] = {
            "phases": person.phases,
            "minutes": minutes,
            "shapes": {id: person.annotator(id).right for id in ids},
            "without rounds": without_rounds(task, words.clicks),
        }
        browser.close()
    write_json(words.out / "person.json", result)
    write_clip(words.out)
    keys = list(dict.fromkeys(key for phase in person.phases for key in phase))
    print(format_table([{key: phase.get(key) for key in keys} for phase in person.phases]))
    print(
        f"{minutes:.1f} minutes until the last label; without rounds {100 * result['without rounds']:.1f} % would be right"
    )


def write_clip(out: Path) -> None:
    """The pictures of the phases as one animation, `out/person.webp`."""
    frames = [Image.open(file).convert("RGB") for file in sorted(out.glob("[0-9]*.png"))]
    frames = [frame.resize((frame.width * 2 // 3, frame.height * 2 // 3), Image.Resampling.LANCZOS) for frame in frames]
    frames[0].save(out / "person.webp", save_all=True, append_images=frames[1:], duration=1200, quality=60, loop=0)


def tick(viewer: Viewer) -> None:
    """What the command's own loop does."""
    while True:
        time.sleep(0.5)
        viewer.panel.tick()


if __name__ == "__main__":
    main()
