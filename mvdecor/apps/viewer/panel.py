"""The viewer's page: one or two shapes, and beside them the controls. Whatever they do is done by the `Session`."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdecor.apps.viewer.colours import MODES, corner_colours, legend
from mvdecor.apps.viewer.rounds import Round
from mvdecor.apps.viewer.scene import ColouredMesh
from mvdecor.apps.viewer.session import Session
from mvdecor.errors import InputError
from mvdecor.percent import percent

if TYPE_CHECKING:
    import viser

NONE, ERASE = "–", "(erase)"
MAX_RANKED = 12
"""Shapes of the ranking that are shown."""
CLICKS = {
    "show what is similar": None,
    "label the connected part": "component",
    "label with the brush": "brush",
    "label up to the crease": "crease",
}
# to the right of the shapes, as the controls cover the right of the page
CAMERA, LOOK_AT, FOV = (0.4, 0.35, 2.7), (0.4, 0.0, 0.0), 0.9
CAMERA_FOR_TWO, LOOK_AT_TWO = (0.7, 0.5, 4.4), (0.7, 0.0, 0.0)
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
        self._round: Round | None = None
        server.gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        server.scene.set_up_direction("+y")
        server.initial_camera.fov = FOV
        self._look()
        self._message = server.gui.add_html("")
        self._add_shape_controls()
        self._add_colour_controls()
        if session.labels is None:
            server.gui.add_html(f"<small style='padding:0 1em;display:block'>{escape(session.why_not)}</small>")
        else:
            self._add_label_controls()
            self._add_round_controls()
        server.scene.on_click()(lambda event: self._do(lambda: self._click(event)))
        self._do(self._open)

    def tick(self) -> None:
        """Look how far the round is; to be called about once per second."""
        with self._lock:
            if self._round is None:
                return
            progress = self._round.progress()
            self._status.content, self._bar.value = _small(progress.text), 100 * progress.share
            if progress.state == "running":
                self._do(self._list_ranking, clear=False)
                return
            ended, self._round = self._round, None
            self._bar.visible, self._start.disabled = False, False
            if progress.state == "failed":
                self._say(progress.text, failed=True)
                return
            self._session.adopt_round(ended)
            self._do(self._render)
            self._do(self._list_ranking, clear=False)

    def close(self) -> None:
        """End a round that is still running."""
        with self._lock:
            if self._round is not None:
                self._round.stop()

    def _add_shape_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Shape"):
            self._shape = gui.add_dropdown("shape", self._session.ids)
            step = gui.add_button_group("", ("previous", "next"))
            self._other = gui.add_dropdown("beside it", [NONE, *self._session.ids])
            self._info = gui.add_html("")
        self._shape.on_update(lambda _: self._do(lambda: self._go(self._shape.value)))
        self._other.on_update(lambda _: self._do(self._set_beside))
        step.on_click(lambda _: self._do(lambda: self._step(1 if step.value == "next" else -1)))

    def _add_colour_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Colours"):
            self._shown = gui.add_dropdown("show", MODES)
            self._legend = gui.add_html("")
        self._shown.on_update(lambda _: self._do(self._render))

    def _add_label_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Label"):
            self._tool = gui.add_dropdown("a click will", list(CLICKS))
            self._part = gui.add_dropdown("label", [*self._session.label_names, ERASE])
            self._radius = gui.add_slider("brush radius", 0.01, 0.5, 0.01, 0.1)
            self._degrees = gui.add_slider("crease, degrees", 1, 90, 1, 30)
            back = gui.add_button_group("", ("undo", "redo"))
            accept = gui.add_button("Accept the prediction", hint="for every face that has no label yet")
            export = gui.add_button(
                "Export this shape", hint="its labels, and its mesh in parts, as files in out/export"
            )
        back.on_click(lambda _: self._do(lambda: self._undo(back.value)))
        accept.on_click(lambda _: self._do(self._accept))
        export.on_click(lambda _: self._do(lambda: self._say(self._session.export(self._id))))

    def _add_round_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Fine-tune"):
            self._start = gui.add_button("Fine-tune on what is labelled")
            self._bar = gui.add_progress_bar(0, visible=False)
            self._status = gui.add_html("")
            self._ranking = gui.add_html("")
            self._uncertain = gui.add_dropdown("open", [NONE], visible=False)
        self._start.on_click(lambda _: self._do(self._fine_tune))
        self._uncertain.on_update(lambda _: self._do(lambda: self._go(self._uncertain.value)))

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
        position, target = (CAMERA, LOOK_AT) if self._beside == NONE else (CAMERA_FOR_TWO, LOOK_AT_TWO)
        clients = self._server.get_clients().values()
        cameras: list[Any] = [self._server.initial_camera, *(client.camera for client in clients)]
        for camera in cameras:
            camera.position, camera.look_at = position, target

    def _open(self) -> None:
        """Put the meshes into the scene, in place of those that are there."""
        self._say("loading …")
        shapes = {"main": self._session.shape(self._id)}
        if self._beside != NONE:
            shapes["beside"] = self._session.shape(self._beside)
        colours = {key: self._colours(shape.id) for key, shape in shapes.items()}
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
        self._mark(None)
        self._describe()
        self._list_ranking()
        self._say("")

    def _render(self) -> None:
        """Bring the colours up to date."""
        self._say("computing …")
        for key, id in self._open_ids().items():
            self._meshes[key].colour(self._colours(id))
        self._describe()
        self._say("")

    def _open_ids(self) -> dict[str, str]:
        return {"main": self._id} | ({} if self._beside == NONE else {"beside": self._beside})

    def _colours(self, id: str) -> Any:
        return corner_colours(self._session, id, self._shown.value, self._query)

    def _describe(self) -> None:
        shape = self._session.shape(self._id)
        labels = self._session.labels_of(self._id)
        share = 0.0 if labels is None else float((labels >= 0).mean())
        self._info.content = _small(f"{shape.num_faces} faces, {percent(share)} of them labelled")
        self._legend.content = legend(self._session, self._shown.value)

    def _click(self, event: Any) -> None:
        """Find out which shape the ray of a click meets first, and do there what clicks do."""
        hits = []
        for key, id in self._open_ids().items():
            origin = np.array(event.ray_origin) - self._meshes[key].position
            hit = self._session.tools(id).pick(origin, event.ray_direction)
            if hit is not None:
                hits.append((hit.distance, key, id, hit))
        if not hits:
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
        self._session.paint(id, hit.face, hit.point, tool, label, self._radius.value, self._degrees.value)
        self._show("labels")

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
        if not self._session.accept(self._id):
            raise InputError(
                f"shape {self._id}: every face has a label already; erase those that the model should give"
            )
        self._show("labels")
        self._list_ranking()

    def _fine_tune(self) -> None:
        if self._round is not None:
            raise InputError("a round is running: wait for it")
        self._round = self._session.new_round()
        self._round.start()
        self._start.disabled, self._bar.visible, self._bar.value = True, True, 0
        self._status.content = _small(f"{self._round.folder.name}: starting")

    def _list_ranking(self) -> None:
        """The most uncertain of the shapes without labels, and a list to open them from."""
        latest, folder = self._round or self._session.round, self._session.labels
        if latest is None or folder is None or not (ranking := latest.ranking()):
            return
        labelled = set(folder.labelled([id for id, _ in ranking]))
        ranking = [(id, value) for id, value in ranking if id not in labelled]
        rows = "".join(f"<li>{escape(id)} <small>({value:.3f})</small></li>" for id, value in ranking[:MAX_RANKED])
        title = f"Without labels, most uncertain first ({len(ranking)}):"
        self._ranking.content = f"<div style='font-size:0.85em;padding:0 1em'>{title}<ol>{rows}</ol></div>"
        options = (NONE, *(id for id, _ in ranking))
        if tuple(self._uncertain.options) != options:
            self._uncertain.options, self._uncertain.visible = options, True


def _small(text: str) -> str:
    return f"<div style='font-size:0.85em;padding:0 1em'>{escape(text)}</div>"
