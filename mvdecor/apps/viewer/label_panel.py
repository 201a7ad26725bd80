"""The controls of labelling: tools, clicks, drags, rectangles, undo, accepting a prediction, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mvdecor.apps.viewer.html import small
from mvdecor.apps.viewer.labels import ERASE
from mvdecor.apps.viewer.scene import ColouredMesh
from mvdecor.apps.viewer.selection import TOOLS, Settings
from mvdecor.apps.viewer.session import Session
from mvdecor.apps.viewer.strokes import Point, Stroke, Strokes, touches
from mvdecor.apps.viewer.tools import Faces, Hit, View
from mvdecor.errors import InputError

RECTANGLE, LOOK, HIDE, ISOLATE = (
    "label a rectangle",
    "show what is similar",
    "hide the connected part",
    "show the connected part alone",
)
CLICKS = {**{tool.text: name for name, tool in TOOLS.items()}, RECTANGLE: "", HIDE: "", ISOLATE: "", LOOK: ""}
"""What a click may do, as the page says it; the tool of those that label with one."""
NOTES = {
    TOOLS["brush"].text: "Shift and drag over the shape: paints a stroke",
    RECTANGLE: "Shift and drag: labels what is seen in the rectangle, with X-ray all that is in it",
}
ACCEPTED = {"all without a label": 0.0, "only those of confidence 0.8 or more": 0.8}
"""Faces that the prediction may be accepted for, and the least confidence."""
MAX_RINGS = 50


@dataclass(frozen=True)
class Slider:
    """A slider of the page: its text, and least, greatest and first value with the step between values."""

    text: str
    low: float
    high: float
    step: float
    first: float


SLIDERS = {
    "radius": Slider("brush radius", 0.01, 0.5, 0.01, 0.1),
    "degrees": Slider("crease, degrees", 1, 90, 1, 30),
    "tolerance": Slider("difference of colour", 0.01, 1.0, 0.01, 0.15),
    "cosine": Slider("least similarity", 0.0, 1.0, 0.01, 0.8),
}
"""Of the fields of `Settings`."""


class Page(Protocol):
    """What the controls need of the page that they are on.

    Attributes:
        id: the shape in view.
        meshes: what is in the scene, "main" and perhaps "beside".
    """

    id: str
    meshes: dict[str, ColouredMesh]

    @property
    def xray(self) -> bool:
        """Whether shapes are translucent."""
        ...

    def do(self, action: Callable[[], None], clear: bool = True) -> None:
        """Run what a control asks for, one at a time, and say what went wrong."""
        ...

    def say(self, text: str) -> None:
        """Say something at the top of the page."""
        ...

    def show(self, mode: str) -> None:
        """Show colours, brought up to date."""
        ...

    def open_ids(self) -> dict[str, str]:
        """The shape of each mesh in the scene."""
        ...

    def preview(self, mesh: str, labels: NDArray[np.int64]) -> None:
        """Show labels that are not saved."""
        ...

    def look_for_similar(self, mesh: str, hit: Hit) -> None:
        """Show what is similar to a face."""
        ...

    def fly(self, client: Any) -> None:
        """Show a browser the largest piece of surface without a label."""
        ...

    def fly_to_uncertain(self, client: Any) -> None:
        """Show a browser where the prediction is least sure."""
        ...


class LabelPanel:
    """Controls that label the shapes of a page; also the canvas of its strokes.

    Args:
        server: of viser; its controls go to the open container.
        session: what is labelled.
        page: where.
        accepted: called after a prediction was accepted.
    """

    def __init__(self, server: Any, session: Session, page: Page, accepted: Callable[[], None]) -> None:
        self._server, self._session, self._page, self._accept_done = server, session, page, accepted
        self.do = page.do
        self._strokes = Strokes(self)
        gui = server.gui
        self._tool = gui.add_dropdown("a click will", list(CLICKS))
        self._note = gui.add_html("")
        self._part = gui.add_dropdown("label", [*session.label_names, ERASE])
        self._unlabelled = gui.add_checkbox("only faces without a label", False)
        self._sliders = {
            name: gui.add_slider(s.text, s.low, s.high, s.step, s.first, visible=False) for name, s in SLIDERS.items()
        }
        back = gui.add_button_group("", ("undo", "redo"))
        extent = gui.add_button_group("", ("grow", "shrink"))
        self._rings = gui.add_slider("by rings of faces", 1, MAX_RINGS, 1, 1)
        fly = gui.add_button("Next unlabelled face", hint="flies to the largest piece without a label")
        self._look_here = gui.add_button(
            "Next uncertain region", hint="flies to where the prediction is least sure, largest first", visible=False
        )
        self._accepted = gui.add_dropdown("faces", list(ACCEPTED), visible=False)
        self._take = gui.add_button("Accept the prediction", hint="for faces that have no label yet", visible=False)
        export = gui.add_button("Export this shape", hint="its labels, and its mesh in parts, as files in out/export")
        self._tool.on_update(lambda _: self.do(self.show_tool))
        back.on_click(lambda _: self.do(lambda: self._undo(back.value)))
        extent.on_click(lambda _: self.do(lambda: self._resize(extent.value)))
        fly.on_click(lambda event: self.do(lambda: page.fly(event.client)))
        self._look_here.on_click(lambda event: self.do(lambda: page.fly_to_uncertain(event.client)))
        self._take.on_click(lambda _: self.do(self._accept))
        export.on_click(lambda _: self.do(lambda: page.say(session.export(page.id))))
        self._add_hotkeys()

    def _add_hotkeys(self) -> None:
        """1 to 9 and 0 choose a label, letters a tool; see docs/viewer.md for the others."""
        gui: Any = self._server.gui

        def add(text: str, key: str, action: Callable[[Any], None], modifier: Any = None) -> Any:
            command = gui.add_command(text, hotkey=key, modifier=modifier)
            command.on_trigger(lambda event: self.do(lambda: action(event)))
            return command

        def label(number: int) -> Callable[[Any], None]:
            return lambda _: setattr(self._part, "value", self._session.label_names[number])

        def tool(text: str) -> Callable[[Any], None]:
            return lambda _: setattr(self._tool, "value", text)

        self._label_commands = [
            add(f"label {name}", str((number + 1) % 10), label(number))
            for number, name in enumerate(self._session.label_names[:10])
        ]
        for row in TOOLS.values():
            add(row.text, row.key, tool(row.text))
        add(RECTANGLE, "R", tool(RECTANGLE))
        add("undo", "U", lambda _: self._undo("undo"))
        add("accept the prediction", "P", lambda _: self._accept())
        add("grow", "G", lambda _: self._resize("grow"))
        add("shrink", "G", lambda _: self._resize("shrink"), "shift")
        add("next unlabelled face", "N", lambda event: self._page.fly(event.client))
        add("next uncertain region", "N", lambda event: self._page.fly_to_uncertain(event.client), "shift")

    def rename(self) -> None:
        """Take over the labels' names."""
        number = self._part.options.index(self._part.value)
        self._part.options = [*self._session.label_names, ERASE]
        self._part.value = self._part.options[number]
        for command, name in zip(self._label_commands, self._session.label_names, strict=False):
            command.label = f"label {name}"

    def describe(self) -> None:
        """Bring the controls up to date: a prediction can be accepted if there is one, and a face without a label."""
        self._look_here.visible = self._session.predicts
        acceptable = self._session.predicts and self._session.unlabelled(self._page.id) > 0
        self._take.visible = self._accepted.visible = acceptable

    def show_tool(self) -> None:
        """Only the settings of the tool that is chosen; and have the scene listen to the drags that it means."""
        tool = self._tool.value
        settings = TOOLS[CLICKS[tool]].settings if CLICKS[tool] else ()
        for name, slider in self._sliders.items():
            slider.visible = name in settings
        for mesh in self._page.meshes.values():
            for node in mesh.nodes:
                node.remove_drag_callback("all")
                if tool == TOOLS["brush"].text:
                    node.on_drag("left", modifier="shift")(self._strokes.on_drag)
        scene = self._server.scene
        scene.remove_rect_select_callback("all")
        if tool == RECTANGLE:
            scene.on_rect_select(modifier="shift")(lambda event: self.do(lambda: self._label_rectangle(event)))
        self._note.content = small(NOTES[tool]) if tool in NOTES else ""  # last: what it asks for is listened to

    def click(self, mesh: str, hit: Hit) -> None:
        """Do to the shape of a mesh what clicks do."""
        id, tool = self._page.open_ids()[mesh], self._tool.value
        if tool == LOOK:
            self._page.look_for_similar(mesh, hit)
        elif tool == RECTANGLE:
            raise InputError("a rectangle is drawn: hold Shift and drag")
        elif tool in (HIDE, ISOLATE):
            part = self._session.tools(id).component(hit.face)
            self._session.show(id, self._session.shown(id) & (part if tool == ISOLATE else ~part))
            self._page.show("")
        else:
            faces = self._session.select(id, hit.face, hit.point, CLICKS[tool], self._settings)
            self._label({id: faces})

    def close(self) -> None:
        """Paint no more."""
        self._strokes.close()

    @property
    def _settings(self) -> Settings:
        return Settings(**{name: slider.value for name, slider in self._sliders.items()})

    @property
    def _chosen_label(self) -> int:
        name = self._part.value
        return -1 if name == ERASE else self._session.label_names.index(name)

    def _label(self, faces_of: dict[str, Faces]) -> None:
        """Label faces of shapes by id, and show it."""
        label, unlabelled = self._chosen_label, self._unlabelled.value
        changed = [self._session.label(id, faces, label, unlabelled) for id, faces in faces_of.items()]
        self._page.show("labels")
        if not any(changed):
            self._page.say("nothing changed: these faces have that label, or are not to be changed")

    def _label_rectangle(self, event: Any) -> None:
        from viser.transforms import SO3

        camera, faces_of = event.client.camera, {}
        rotation = SO3(np.asarray(camera.wxyz)).as_matrix().astype(np.float64)
        for mesh, id in self._page.open_ids().items():
            position = np.asarray(camera.position) - self._page.meshes[mesh].position
            view = View(position, rotation, camera.fov, camera.aspect)
            faces_of[id] = self._session.rectangle(id, view, event.screen_min, event.screen_max, self._page.xray)
        self._label(faces_of)

    def _undo(self, action: str) -> None:
        id = self._page.id
        if not (self._session.undo(id) if action == "undo" else self._session.redo(id)):
            raise InputError(f"shape {id}: there is nothing to {action}")
        self._page.show("labels")

    def _resize(self, action: str) -> None:
        rings = int(self._rings.value) * (1 if action == "grow" else -1)
        changed = self._session.resize(self._page.id, self._chosen_label, rings, self._unlabelled.value)
        self._page.show("labels")
        if not changed:
            self._page.say("nothing changed: no face around may change")

    def _accept(self) -> None:
        id = self._page.id
        if not self._session.predicts:
            raise InputError(f"shape {id}: there is no prediction yet: fine-tune first")
        if self._session.unlabelled(id) == 0:
            raise InputError(f"shape {id}: every face has a label: there is nothing to accept")
        if not self._session.accept(id, ACCEPTED[self._accepted.value]):
            raise InputError(f"shape {id}: no face without a label is predicted so surely: accept all, or label them")
        self._page.show("labels")
        self._accept_done()

    @property
    def spacing(self) -> float:
        """See `Canvas`."""
        return self._settings.radius / 2

    def begin(self, mesh: str) -> Stroke:
        """See `Canvas`."""
        id = self._page.open_ids()[mesh]
        self._page.show("labels")
        return Stroke(mesh, id, np.zeros(self._session.shape(id).num_faces, dtype=bool))

    def touch(self, stroke: Stroke, eye: Point, places: NDArray[np.float64]) -> Faces:
        """See `Canvas`."""
        if self._page.open_ids().get(stroke.mesh) != stroke.id:
            return np.zeros_like(stroke.faces)  # another shape was opened in the meantime
        tools, origin = self._session.tools(stroke.id), self._page.meshes[stroke.mesh].position
        return tools.stroke(touches(tools, eye - origin, places - origin), self._settings.radius)

    def preview(self, strokes: list[Stroke]) -> None:
        """See `Canvas`."""
        for stroke in strokes:
            if self._page.open_ids().get(stroke.mesh) == stroke.id:
                changing = stroke.faces & self._session.changeable(stroke.id, self._unlabelled.value)
                labels = self._session.labels_of(stroke.id)
                assert labels is not None
                self._page.preview(stroke.mesh, np.where(changing, self._chosen_label, labels))

    def finish(self, stroke: Stroke) -> None:
        """See `Canvas`."""
        self._label({stroke.id: stroke.faces})
