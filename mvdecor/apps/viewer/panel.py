"""The viewer's page: one or two shapes, and beside them the controls. Whatever they do is done by the `Session`."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.apps.viewer.class_panel import ClassPanel
from mvdecor.apps.viewer.colours import MODES, corner_colours, label_colours, legend
from mvdecor.apps.viewer.html import small
from mvdecor.apps.viewer.label_panel import LabelPanel
from mvdecor.apps.viewer.scene import ColouredMesh
from mvdecor.apps.viewer.session import Session
from mvdecor.apps.viewer.tools import Hit
from mvdecor.apps.viewer.training_panel import NONE, TrainingPanel
from mvdecor.errors import InputError
from mvdecor.percent import percent

if TYPE_CHECKING:
    import viser

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

    Attributes:
        id: the shape in view.
        meshes: what is in the scene: "main", and "beside" it perhaps another.
    """

    def __init__(self, server: viser.ViserServer, session: Session) -> None:
        self._server, self._session = server, session
        self._lock = threading.RLock()  # callbacks come from several threads
        self.id, self._beside = session.ids[0], NONE
        self._query: tuple[str, int] | None = None
        self.meshes: dict[str, ColouredMesh] = {}  # "main", "beside"
        self._training: TrainingPanel | None = None
        self._labelling: LabelPanel | None = None
        self._classes: ClassPanel | None = None
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
            self._add_tabs()
        server.on_client_connect(self._remember_place)
        server.scene.on_click()(lambda event: self.do(lambda: self._click(event)))
        self.do(self._open)

    def tick(self) -> None:
        """Look how far a training is; to be called about once per second."""
        if self._training is not None:
            self.do(self._training.tick, clear=False)

    def close(self) -> None:
        """End a training that is still running."""
        with self._lock:
            if self._training is not None and self._labelling is not None:
                self._training.close()
                self._labelling.close()

    def _add_shape_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Shape"):
            self._shape = gui.add_dropdown("shape", self._session.ids)
            step = gui.add_button_group("", ("previous", "next"))
            self._other = gui.add_dropdown("beside it", [NONE, *self._session.ids])
            view = gui.add_button_group("", ("fit", "home"))
            self._info = gui.add_html("")
        view.on_click(lambda event: self.do(lambda: self._turn(event.client, view.value == "home"), clear=False))
        self._shape.on_update(lambda _: self.do(lambda: self._go(self._shape.value)))
        self._other.on_update(lambda _: self.do(self._set_beside))
        step.on_click(lambda _: self.do(lambda: self._step(1 if step.value == "next" else -1)))
        gui.add_command("next shape", hotkey="pagedown").on_trigger(lambda _: self.do(lambda: self._step(1)))
        gui.add_command("previous shape", hotkey="pageup").on_trigger(lambda _: self.do(lambda: self._step(-1)))

    def _add_colour_controls(self) -> None:
        gui: Any = self._server.gui
        with gui.add_folder("Colours"):
            self._shown = gui.add_dropdown("show", MODES)
            self._xray = gui.add_checkbox("X-ray", False, hint="see through the shape")
            self._legend = gui.add_html("")
        self._shown.on_update(lambda _: None if self._shown.value == self._mode else self.do(self._render))
        self._xray.on_update(lambda _: self.do(self._render))
        gui.add_command("X-ray", hotkey="X").on_trigger(lambda _: setattr(self._xray, "value", not self.xray))

    def _add_tabs(self) -> None:
        gui: Any = self._server.gui
        tabs = gui.add_tab_group()
        with tabs.add_tab("Label"):
            self._labelling = LabelPanel(self._server, self._session, self, self._list_ranking)
        with tabs.add_tab("Classes"):
            self._classes = ClassPanel(gui, self._session, self, self._rename)
        with tabs.add_tab("Train"):
            self._training = TrainingPanel(gui, self._session, self.do, self._go, lambda: self.show("prediction"))
        gui.add_command("most uncertain shape", hotkey="L").on_trigger(lambda _: self.do(self._open_uncertain))

    @property
    def xray(self) -> bool:
        """Whether shapes are translucent."""
        return bool(self._xray.value)

    def do(self, action: Callable[[], None], clear: bool = True) -> None:
        """Run what a control asks for, one at a time, and say what went wrong; `clear`: in place of what was said."""
        with self._lock:
            if clear:
                self.say("")
            try:
                action()
            except InputError as error:
                self.say(str(error), failed=True)
            except Exception as error:  # the viewer stays up: everything is saved, and the next click may work
                traceback.print_exc()
                self.say(f"{type(error).__name__}: {error} (more in the terminal)", failed=True)

    def say(self, text: str, failed: bool = False) -> None:
        """Say something at the top of the page, in place of what was said."""
        colour = "#c02020" if failed else "inherit"
        html = f"<div style='padding:0.3em 1em;font-size:0.85em;color:{colour}'>{escape(text)}</div>" if text else ""
        self._message.content = html

    def _go(self, id: str) -> None:
        if id in (self.id, NONE):
            return
        before = self.id
        self.id, self._query = id, None
        if self._shape.value != id:
            self._shape.value = id  # before the slow part: what is chosen during it stays chosen, and is opened next
        try:
            self._open()
        except InputError:
            self.id = before
            if self._shape.value == id:
                self._shape.value = before
            raise

    def _step(self, offset: int) -> None:
        ids = self._session.ids
        self._go(ids[(ids.index(self.id) + offset) % len(ids)])

    def _set_beside(self) -> None:
        before, self._beside = self._beside, self._other.value
        try:
            self._open()
        except InputError:
            if self._other.value == self._beside:
                self._other.value = before
            self._beside = before
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

    def _remember_place(self, client: Any) -> None:
        """A browser that opens the page, or loads it again, looks from where one looked last.

        A busy browser says where viser's own camera is before it has taken over the place it is given: that is forgotten.
        """
        given, arrived = np.array(self._server.initial_camera.position), False

        @client.camera.on_update
        def _(camera: Any) -> None:
            nonlocal arrived
            arrived = arrived or np.allclose(camera.position, given, atol=1e-3)
            if arrived:
                place = self._server.initial_camera
                place.position, place.look_at = camera.position, camera.look_at

    def _turn(self, client: Any, home: bool) -> None:
        """Show a browser all that is there, from where it looks or from the front; it then turns around the middle again."""
        camera = client.camera
        backwards = np.array(CAMERA) if home else np.array(camera.position) - np.array(camera.look_at)
        half_angle = np.arctan(np.tan(camera.fov / 2) * min(1.0, camera.aspect))
        distance = 1.1 * self._radius_shown / np.sin(half_angle)
        camera.position = tuple(backwards * distance / max(1e-9, float(np.linalg.norm(backwards))))
        camera.look_at = CENTER

    def fly(self, client: Any) -> None:
        """Show a browser the largest piece of surface without a label, from nearby."""
        face = self._session.largest_unlabelled(self.id)
        if face is None:
            self.say(f"shape {self.id}: every face has a label")
            return
        self._fly_to(client, face)

    def fly_to_uncertain(self, client: Any) -> None:
        """Show a browser the region where the prediction is least sure, and the next one the next time."""
        face, words = self._session.uncertain_region(self.id, self._regions_seen)
        self._regions_seen += 1
        self.show("prediction")
        self._fly_to(client, face)
        self.say(words)

    def _fly_to(self, client: Any, face: int) -> None:
        """Show a browser a face from nearby, and mark it."""
        normal = self._session.shape(self.id).face_normals[face].double().numpy()
        center = self._session.tools(self.id).center(face)
        outward = normal if normal @ center >= 0 else -normal  # windings may be wrong: away from the middle
        point = center + self.meshes["main"].position
        client.camera.position = tuple(point + CLOSE * outward + (0.0, 0.01, 0.01))  # not straight along the up axis
        client.camera.look_at = tuple(point)  # last: a new position takes along what is looked at
        self._mark(point)

    def _open_uncertain(self) -> None:
        id = None if self._training is None else self._training.next_uncertain
        if id is None:
            raise InputError("there is no ranking yet, or every shape of it has labels: fine-tune first")
        self._go(id)

    def _open(self) -> None:
        """Put the meshes into the scene, in place of those that are there."""
        self.say("loading …")
        shapes = {"main": self._session.shape(self.id)}
        self._session.labels_of(self.id)  # if they cannot be read, the shape before stays, whole
        if self._beside != NONE:
            shapes["beside"] = self._session.shape(self._beside)
        colours, reason = self._colours()
        for mesh in self.meshes.values():
            mesh.remove()
        half = {key: float(shape.vertices[:, 0].max()) for key, shape in shapes.items()}  # normalised: centred
        x = (
            {"main": 0.0}
            if self._beside == NONE
            else {"main": -half["main"] - GAP / 2, "beside": half["beside"] + GAP / 2}
        )
        self.meshes = {
            key: ColouredMesh(
                self._server,
                f"/{key}",
                shape,
                colours[key],
                np.array([x[key], 0, 0]),
                self._session.shown(self.open_ids()[key]),
                self.xray,
            )
            for key, shape in shapes.items()
        }
        self._regions_seen = 0
        self._radius_shown = max(abs(x[key]) + half[key] for key in shapes) if len(shapes) > 1 else 1.0
        self._mark(None)
        self._describe()
        self._list_ranking()
        if self._labelling is not None:
            self._labelling.show_tool()
        self.say(reason, failed=True)

    def _render(self) -> None:
        """Bring the colours up to date."""
        self.say("computing …")
        colours, reason = self._colours()
        for key, id in self.open_ids().items():
            self.meshes[key].colour(colours[key], self._session.shown(id), self.xray)
        self._describe()
        self.say(reason, failed=True)

    def preview(self, mesh: str, labels: NDArray[np.int64]) -> None:
        """Show labels, int64 [F], that are not saved."""
        faces_shown = self._session.shown(self.open_ids()[mesh])
        self.meshes[mesh].colour(label_colours(self._session, labels), faces_shown, self.xray)

    def open_ids(self) -> dict[str, str]:
        """The shape of each mesh in the scene."""
        return {"main": self.id} | ({} if self._beside == NONE else {"beside": self._beside})

    def _colours(self) -> tuple[dict[str, Any], str]:
        """Of the open shapes; where what is to be shown is not there, those of the texture, and why."""

        def of(mode: str) -> dict[str, Any]:
            ids = self.open_ids().items()
            return {key: corner_colours(self._session, id, mode, self._query) for key, id in ids}

        mode = self._shown.value
        try:
            colours, self._mode, reason = of(mode), mode, ""
        except InputError as error:
            colours, self._mode, reason = of(MODES[0]), MODES[0], f"{error}. The texture is shown"
            if self._shown.value == mode:
                self._shown.value = self._mode
        return colours, reason

    def _describe(self) -> None:
        shape = self._session.shape(self.id)
        labels = self._session.labels_of(self.id)
        share = 0.0 if labels is None else float((labels >= 0).mean())
        self._info.content = small(f"{shape.num_faces} faces, {percent(share)} of them labelled")
        self._legend.content = legend(self._session, self.id, self._mode)
        if self._labelling is not None and self._classes is not None:
            self._labelling.describe()
            self._classes.describe()

    def _list_ranking(self) -> None:
        if self._training is not None:
            self._training.list_ranking()

    def _rename(self) -> None:
        """Take over the labels' names."""
        if self._labelling is not None:
            self._labelling.rename()
        self._describe()

    def _click(self, event: Any) -> None:
        """Find out which shape the ray of a click meets first, and do there what clicks do."""
        hits = []
        for key, id in self.open_ids().items():
            origin = np.array(event.ray_origin) - self.meshes[key].position
            hit = self._session.tools(id).pick(origin, event.ray_direction)
            if hit is not None:
                hits.append((hit.distance, key, hit))
        if not hits:
            self.say("the click missed the shape: nothing was done")
            return
        _, key, hit = min(hits, key=lambda candidate: candidate[0])
        if self._labelling is None:
            self.look_for_similar(key, hit)
        else:
            self._labelling.click(key, hit)

    def look_for_similar(self, mesh: str, hit: Hit) -> None:
        """Show what is similar to a face.

        Raises:
            InputError: there is no model that embeds.
        """
        self._session.embedder()
        self._query = (self.open_ids()[mesh], hit.face)
        self._mark(hit.point + self.meshes[mesh].position)
        self.show("similarity")

    def show(self, mode: str) -> None:
        """Show colours, one of `MODES`, brought up to date; "": those that are shown."""
        if mode in ("", self._shown.value):
            self._render()
        else:
            self._shown.value = mode  # which renders it

    def _mark(self, point: np.ndarray | None) -> None:
        """A small ball where the surface was asked about."""
        place = (0.0, 0.0, 0.0) if point is None else tuple(point)
        self._server.scene.add_icosphere("/mark", 0.015, color=(230, 30, 30), position=place, visible=point is not None)
