"""The viewer's page: one or two shapes, and beside them the controls. Whatever they do is done by the `Session`."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdecor.apps.viewer.colours import MODES, corner_colours, legend
from mvdecor.apps.viewer.html import small
from mvdecor.apps.viewer.scene import ColouredMesh
from mvdecor.apps.viewer.session import Session
from mvdecor.apps.viewer.training_panel import NONE, TrainingPanel
from mvdecor.errors import InputError
from mvdecor.percent import percent

if TYPE_CHECKING:
    import viser

ERASE = "(erase)"
CLICKS = {
    "label the connected part": "component",
    "label up to the crease": "crease",
    "label with the brush": "brush",
    "label the same material": "material",
    "label what is similar": "similar",
    "show what is similar": None,
}
ACCEPTED = {"all without a label": 0.0, "only those of confidence 0.8 or more": 0.8}
"""Faces that the prediction may be accepted for, and the least confidence."""
CAMERA, CENTER, FOV = (0.0, 0.35, 2.7), (0.0, 0.0, 0.0), 0.9
CAMERA_FOR_TWO = (0.0, 0.6, 5.0)
LIGHT = 0.6  # of the surroundings; at 1, viser's, what faces up has none of its label's colour
CLOSE = 1.3  # from the camera to a face that it flies to, in units of the unit sphere
GAP = 0.25  # between two shapes side by side, in units of the unit sphere


class Panel:
    """Controls and scene of one session, which all browsers that are connected share.

    Args:
        server: an empty one.
        session: what is shown.
    """

    def __init__(self, server: viser.ViserServer, session: Session) -> None:
        self._server, self._session = server, session
        self._lock = threading.RLock()  # callbacks come from several threads
        self._id, self._beside = session.ids[0], NONE
        self._query: tuple[str, int] | None = None
        self._meshes: dict[str, ColouredMesh] = {}  # "main", "beside"
        self._training: TrainingPanel | None = None
        self._mode = MODES[0]  # of the colours in the scene
        self._radius_shown = 1.0
        self._regions_seen = 0  # of the uncertain ones of the shape that is shown
        server.gui.main_panel.dock_right()  # beside the scene, whose middle is then that of the shape
        server.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        server.scene.set_up_direction("+y")
        server.scene.configure_environment_map(environment_intensity=LIGHT)
        server.initial_camera.fov = FOV
        self._look()
        self._message = server.gui.add_html("")
        self._add_shape_controls()
        self._add_colour_controls()
        if session.labels is None:
            server.gui.add_html(f"<small style='padding:0 1em;display:block'>{escape(session.why_not)}</small>")
        else:
            self._add_label_controls()
            self._training = TrainingPanel(server.gui, session, self._do, self._go, lambda: self._show("prediction"))
            self._add_hotkeys()
        server.scene.on_click()(lambda event: self._do(lambda: self._click(event)))
        self._do(self._open)

    def tick(self) -> None:
        """Look how far a training is; to be called about once per second."""
        if self._training is not None:
            self._do(self._training.tick, clear=False)

    def close(self) -> None:
        """End a training that is still running."""
        with self._lock:
            if self._training is not None:
                self._training.close()

    def _add_shape_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Shape"):
            self._shape = gui.add_dropdown("shape", self._session.ids)
            step = gui.add_button_group("", ("previous", "next"))
            self._other = gui.add_dropdown("beside it", [NONE, *self._session.ids])
            view = gui.add_button_group("", ("fit", "home"))
            self._info = gui.add_html("")
        view.on_click(lambda event: self._do(lambda: self._turn(event.client, view.value == "home"), clear=False))
        self._shape.on_update(lambda _: self._do(lambda: self._go(self._shape.value)))
        self._other.on_update(lambda _: self._do(self._set_beside))
        step.on_click(lambda _: self._do(lambda: self._step(1 if step.value == "next" else -1)))

    def _add_colour_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Colours"):
            self._shown = gui.add_dropdown("show", MODES)
            self._legend = gui.add_html("")
        self._shown.on_update(lambda _: None if self._shown.value == self._mode else self._do(self._render))

    def _add_label_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Label"):
            self._tool = gui.add_dropdown("a click will", list(CLICKS))
            self._part = gui.add_dropdown("label", [*self._session.label_names, ERASE])
            self._unlabelled = gui.add_checkbox("only faces without a label", False)
            self._radius = gui.add_slider("brush radius", 0.01, 0.5, 0.01, 0.1, visible=False)
            self._degrees = gui.add_slider("crease, degrees", 1, 90, 1, 30, visible=False)
            self._cosine = gui.add_slider("least similarity", 0.0, 1.0, 0.01, 0.8, visible=False)
            back = gui.add_button_group("", ("undo", "redo"))
            fly = gui.add_button("Next unlabelled face", hint="flies to the largest piece without a label")
            self._look_here = gui.add_button(
                "Next uncertain region",
                hint="flies to where the prediction is least sure, largest first",
                visible=False,
            )
            self._faces = gui.add_dropdown("faces", list(ACCEPTED), visible=False)
            self._take = gui.add_button("Accept the prediction", hint="for faces that have no label yet", visible=False)
            export = gui.add_button(
                "Export this shape", hint="its labels, and its mesh in parts, as files in out/export"
            )
        self._tool.on_update(lambda _: self._do(self._show_tool))
        back.on_click(lambda _: self._do(lambda: self._undo(back.value)))
        fly.on_click(lambda event: self._do(lambda: self._fly(event.client)))
        self._look_here.on_click(lambda event: self._do(lambda: self._fly_to_uncertain(event.client)))
        self._take.on_click(lambda _: self._do(self._accept))
        export.on_click(lambda _: self._do(lambda: self._say(self._session.export(self._id))))

    def _add_hotkeys(self) -> None:
        """1 to 9 choose a label; U undoes, N flies to a face without a label, R to an uncertain region, Q opens a shape."""
        gui: Any = self._server.gui
        keys: list[Any] = list("123456789")
        for key, name in zip(keys, self._session.label_names, strict=False):
            command = gui.add_command(f"label {name}", hotkey=key)
            command.on_trigger(lambda _, name=name: self._do(lambda: setattr(self._part, "value", name)))
        gui.add_command("undo", hotkey="U").on_trigger(lambda _: self._do(lambda: self._undo("undo")))
        fly = gui.add_command("next unlabelled face", hotkey="N")
        fly.on_trigger(lambda event: self._do(lambda: self._fly(event.client)))
        look = gui.add_command("next uncertain region", hotkey="R")
        look.on_trigger(lambda event: self._do(lambda: self._fly_to_uncertain(event.client)))
        gui.add_command("most uncertain shape", hotkey="Q").on_trigger(lambda _: self._do(self._open_uncertain))

    def _do(self, action: Callable[[], None], clear: bool = True) -> None:
        """Run what a control asks for, one at a time, and say what went wrong; `clear`: in place of what was said."""
        with self._lock:
            if clear:
                self._say("")
            try:
                action()
            except InputError as error:
                self._say(str(error), failed=True)
            except Exception as error:  # the viewer stays up: everything is saved, and the next click may work
                traceback.print_exc()
                self._say(f"{type(error).__name__}: {error} (more in the terminal)", failed=True)

    def _say(self, text: str, failed: bool = False) -> None:
        colour = "#c02020" if failed else "inherit"
        html = f"<div style='padding:0.3em 1em;font-size:0.85em;color:{colour}'>{escape(text)}</div>" if text else ""
        self._message.content = html

    def _go(self, id: str) -> None:
        if id in (self._id, NONE):
            return
        before = self._id
        self._id, self._query = id, None
        try:
            self._open()
        except InputError:
            self._id = before
            raise
        finally:
            self._shape.value = self._id

    def _step(self, offset: int) -> None:
        ids = self._session.ids
        self._go(ids[(ids.index(self._id) + offset) % len(ids)])

    def _set_beside(self) -> None:
        before, self._beside = self._beside, self._other.value
        try:
            self._open()
        except InputError:
            self._beside = before
            self._other.value = before
            raise
        if NONE in (before, self._beside) and before != self._beside:
            self._look()

    def _look(self) -> None:
        """Turn every browser to the one shape, or to the two."""
        position = CAMERA if self._beside == NONE else CAMERA_FOR_TWO
        clients = self._server.get_clients().values()
        cameras: list[Any] = [self._server.initial_camera, *(client.camera for client in clients)]
        for camera in cameras:
            camera.position, camera.look_at = position, CENTER

    def _turn(self, client: Any, home: bool) -> None:
        """Show a browser all that is there, from where it looks or from the front; it then turns around the middle again."""
        camera = client.camera
        backwards = np.array(CAMERA) if home else np.array(camera.position) - np.array(camera.look_at)
        half_angle = np.arctan(np.tan(camera.fov / 2) * min(1.0, camera.aspect))
        distance = 1.1 * self._radius_shown / np.sin(half_angle)
        camera.position = tuple(backwards * distance / max(1e-9, float(np.linalg.norm(backwards))))
        camera.look_at = CENTER

    def _fly(self, client: Any) -> None:
        """Show a browser the largest piece of surface without a label, from nearby."""
        face = self._session.largest_unlabelled(self._id)
        if face is None:
            self._say(f"shape {self._id}: every face has a label")
            return
        self._fly_to(client, face)

    def _fly_to_uncertain(self, client: Any) -> None:
        """Show a browser the region where the prediction is least sure, and the next one the next time."""
        face, words = self._session.uncertain_region(self._id, self._regions_seen)
        self._regions_seen += 1
        self._show("prediction")
        self._fly_to(client, face)
        self._say(words)

    def _fly_to(self, client: Any, face: int) -> None:
        """Show a browser a face from nearby, and mark it."""
        normal = self._session.shape(self._id).face_normals[face].double().numpy()
        center = self._session.tools(self._id).center(face)
        outward = normal if normal @ center >= 0 else -normal  # windings may be wrong: away from the middle
        point = center + self._meshes["main"].position
        client.camera.look_at = tuple(point)
        client.camera.position = tuple(point + CLOSE * outward + (0.0, 0.01, 0.01))  # not straight along the up axis
        self._mark(point)

    def _open_uncertain(self) -> None:
        id = None if self._training is None else self._training.next_uncertain
        if id is None:
            raise InputError("there is no ranking yet, or every shape of it has labels: fine-tune first")
        self._go(id)

    def _open(self) -> None:
        """Put the meshes into the scene, in place of those that are there."""
        self._say("loading …")
        shapes = {"main": self._session.shape(self._id)}
        self._session.labels_of(self._id)  # if they cannot be read, the shape before stays, whole
        if self._beside != NONE:
            shapes["beside"] = self._session.shape(self._beside)
        colours, reason = self._colours()
        for mesh in self._meshes.values():
            mesh.remove()
        half = {key: float(shape.vertices[:, 0].max()) for key, shape in shapes.items()}  # normalised: centred
        x = (
            {"main": 0.0}
            if self._beside == NONE
            else {"main": -half["main"] - GAP / 2, "beside": half["beside"] + GAP / 2}
        )
        self._meshes = {
            key: ColouredMesh(self._server, f"/{key}", shape, colours[key], np.array([x[key], 0, 0]))
            for key, shape in shapes.items()
        }
        self._regions_seen = 0
        self._radius_shown = max(abs(x[key]) + half[key] for key in shapes) if len(shapes) > 1 else 1.0
        self._mark(None)
        self._describe()
        if self._training is not None:
            self._training.list_ranking()
        self._say(reason, failed=True)

    def _render(self) -> None:
        """Bring the colours up to date."""
        self._say("computing …")
        colours, reason = self._colours()
        for key, mesh in self._meshes.items():
            mesh.colour(colours[key])
        self._describe()
        self._say(reason, failed=True)

    def _open_ids(self) -> dict[str, str]:
        return {"main": self._id} | ({} if self._beside == NONE else {"beside": self._beside})

    def _colours(self) -> tuple[dict[str, Any], str]:
        """Of the open shapes; where what is to be shown is not there, those of the texture, and why."""

        def of(mode: str) -> dict[str, Any]:
            ids = self._open_ids().items()
            return {key: corner_colours(self._session, id, mode, self._query) for key, id in ids}

        try:
            colours, self._mode, reason = of(self._shown.value), self._shown.value, ""
        except InputError as error:
            colours, self._mode, reason = of(MODES[0]), MODES[0], f"{error}. The texture is shown"
            self._shown.value = self._mode
        return colours, reason

    def _describe(self) -> None:
        shape = self._session.shape(self._id)
        labels = self._session.labels_of(self._id)
        share = 0.0 if labels is None else float((labels >= 0).mean())
        self._info.content = small(f"{shape.num_faces} faces, {percent(share)} of them labelled")
        self._legend.content = legend(self._session, self._id, self._mode)
        if self._session.labels is not None:
            self._look_here.visible = self._session.predicts
            self._take.visible = self._faces.visible = self._session.predicts and self._session.unlabelled(self._id) > 0

    def _click(self, event: Any) -> None:
        """Find out which shape the ray of a click meets first, and do there what clicks do."""
        hits = []
        for key, id in self._open_ids().items():
            origin = np.array(event.ray_origin) - self._meshes[key].position
            hit = self._session.tools(id).pick(origin, event.ray_direction)
            if hit is not None:
                hits.append((hit.distance, key, id, hit))
        if not hits:
            self._say("the click missed the shape: nothing was done")
            return
        _, key, id, hit = min(hits, key=lambda candidate: candidate[0])
        tool = CLICKS[self._tool.value] if self._session.labels is not None else None
        if tool is None:
            self._session.embedder()  # or there is nothing to show
            self._query = (id, hit.face)
            self._mark(hit.point + self._meshes[key].position)
            self._show("similarity")
            return
        name = self._part.value
        label = -1 if name == ERASE else self._session.label_names.index(name)
        settings = (self._radius.value, self._degrees.value, self._cosine.value, self._unlabelled.value)
        changed = self._session.paint(id, hit.face, hit.point, tool, label, *settings)
        self._show("labels")
        if not changed:
            self._say("nothing changed: these faces have that label, or are not to be changed")

    def _show(self, mode: str) -> None:
        if self._shown.value == mode:
            self._render()
        else:
            self._shown.value = mode  # which renders it

    def _mark(self, point: np.ndarray | None) -> None:
        """A small ball where the surface was asked about."""
        place = (0.0, 0.0, 0.0) if point is None else tuple(point)
        self._server.scene.add_icosphere("/mark", 0.015, color=(230, 30, 30), position=place, visible=point is not None)

    def _undo(self, action: str) -> None:
        changed = self._session.undo(self._id) if action == "undo" else self._session.redo(self._id)
        if not changed:
            raise InputError(f"shape {self._id}: there is nothing to {action}")
        self._show("labels")

    def _accept(self) -> None:
        if not self._session.accept(self._id, ACCEPTED[self._faces.value]):
            raise InputError(
                f"shape {self._id}: no face without a label is predicted so surely: accept all, or label them"
            )
        self._show("labels")
        if self._training is not None:
            self._training.list_ranking()

    def _show_tool(self) -> None:
        """Only the settings of the tool that is chosen."""
        tool = CLICKS[self._tool.value]
        self._radius.visible, self._degrees.visible = tool == "brush", tool == "crease"
        self._cosine.visible = tool == "similar"
