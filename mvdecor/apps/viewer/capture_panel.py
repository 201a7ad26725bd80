"""The viewer's page for captures: cameras as frusta with their pictures, points, and the chosen view beside its rendering."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdecor.apps.viewer.actions import Actions
from mvdecor.apps.viewer.capture_session import CaptureSession
from mvdecor.apps.viewer.html import rows_of, small
from mvdecor.apps.viewer.word_panel import WordPanel
from mvdecor.captures import Capture
from mvdecor.figures import label_palette
from mvdecor.figures.layout import blank, sheet
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.views.placement import meeting_point

if TYPE_CHECKING:
    import viser

PICTURES = 100
"""Frusta with pictures at most; the other cameras of a large capture are plain."""
SMALL, LARGE = 96, 192
"""Longer side in pixels of the pictures in frusta, and of those beside the scene."""
LENGTH = 0.12
"""Size of a frustum, relative to the mean distance of the cameras from what they look at."""
ASIDE = 0.12
"""How far beside the scene the first look goes, relative to its distance."""
FRUSTUM_COLOUR, CURRENT_COLOUR = (90, 90, 90), (220, 30, 30)


class CapturePanel:
    """Controls and scene of one session, which all browsers that are connected share.

    Args:
        server: an empty one.
        session: what is shown.

    Attributes:
        frusta: one per camera of the open capture.
        pictures: the chosen view: image and label map, the true ones beside the rendered ones.
        words: controls of an open-vocabulary run.
    """

    def __init__(self, server: viser.ViserServer, session: CaptureSession) -> None:
        self._server, self._session = server, session
        self.frusta: list[Any] = []
        self._cloud: Any = None
        self.id = session.ids[0]
        gui: Any = server.gui
        gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        self._message = gui.add_html("")
        self._actions = Actions(self._message)
        self._do = self._actions.do
        with gui.add_folder("Capture"):
            self.run = gui.add_dropdown("run", session.runs or ("",), visible=len(session.runs) > 0)
            self.choice = gui.add_dropdown("capture", session.ids)
            self._info = gui.add_html("")
        with gui.add_folder("Scene"):
            self.size = gui.add_slider("size of the cameras", 0.1, 3.0, 0.1, 1.0)
            self.textured = gui.add_checkbox("pictures in the cameras", True)
            self.coloured = gui.add_dropdown("points", ["none"])
            self._legend = gui.add_html("")
        with gui.add_folder("View"):
            self.view = gui.add_slider("view", 0, 1, 1, 0)
            self._step = gui.add_button_group("", ("previous", "next", "look through it"))
            self._note = gui.add_html("")
            self.pictures = gui.add_image(blank(8, 8))
        self.words: WordPanel | None = None
        if session.words is not None:
            self.words = WordPanel(server, session.words, session.out, self._do, self._show_words, self._draw_points)
        self.run.on_update(lambda _: self._do(lambda: self.show_run(self.run.value)))
        self.choice.on_update(lambda _: self._do(lambda: self.open(self.choice.value)))
        self.size.on_update(lambda _: self._do(self._resize))
        self.textured.on_update(lambda _: self._do(self._add_frusta))
        self.coloured.on_update(lambda _: self._do(self._add_cloud))
        self.view.on_update(lambda _: self._do(self._show_view))
        self._step.on_click(lambda event: self._do(lambda: self._go(event)))
        self._do(lambda: self.open(self.id))

    def tick(self) -> None:
        """Look how far a distillation is; to be called about once per second."""
        if self.words is not None:
            self._do(self.words.tick, clear=False)

    def close(self) -> None:
        """End a distillation that is still running."""
        with self._actions.lock:
            if self.words is not None:
                self.words.close()

    def open(self, id: str) -> None:
        """Show a capture."""
        self.id = id
        capture = self._session.capture(id)
        self._look(capture)
        self.view.max, self.view.value = len(capture) - 1, 0
        cloud = self._session.cloud(id)
        modes = ["none"] if cloud is None else [*sorted(cloud.colours, reverse=True), "none"]
        self.coloured.options, self.coloured.value = modes, modes[0]
        self._add_frusta()
        self._add_cloud()
        self._show_legend()
        self._show_view()

    def _show_legend(self) -> None:
        """Colours of the capture's labels, or of the words that were asked last."""
        capture, words = self._session.capture(self.id), self._session.words
        names = capture.label_names if words is None else words.query.words
        palette, background = label_palette(len(names)), capture.background if words is None else None
        entries = [(tuple(palette[k].tolist()), name) for k, name in enumerate(names) if k != background]
        self._legend.content = rows_of([*entries, (LIGHT_GREY, "undetermined")]) if entries else ""

    def _show_words(self, new_query: bool) -> None:
        """Show what words find: after a query, or after the choice of another heat map."""
        self._session.forget_points()
        self._add_cloud()
        if new_query:
            self._show_legend()
        self._show_view()

    def show_run(self, name: str) -> None:
        """Show what another run of the pipeline renders of the open capture, in the same view."""
        self._session.choose_run(name)
        if self.words is not None and self._session.words is not None:
            self.words.use(self._session.words)
        self._add_cloud()
        self._show_view()

    def _look(self, capture: Capture) -> None:
        """The pictures' mean direction up is up; the first look is at all cameras, from above and outside."""
        up = -capture.cameras.rotation[:, 1].double().mean(dim=0).numpy()
        up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0.1 else np.array([0.0, 1.0, 0.0])
        target, centers = meeting_point(capture.cameras), capture.cameras.centers.double().numpy()
        outward = centers - target
        outward -= (outward @ up)[:, None] * up  # along the ground
        side = outward[np.linalg.norm(outward, axis=1).argmax()]
        side = side / max(float(np.linalg.norm(side)), 1e-9)
        distance = 2.2 * self._unit(capture) / LENGTH
        target = target + ASIDE * distance * np.cross(up, side)  # the controls cover the right of the page
        self._server.scene.set_up_direction(tuple(up))
        self._server.initial_camera.up = tuple(up)
        self._server.initial_camera.position = tuple(target + distance * (0.85 * side + 0.5 * up))
        self._server.initial_camera.look_at = tuple(target)

    def _unit(self, capture: Capture) -> float:
        distances = np.linalg.norm(capture.cameras.centers.numpy() - meeting_point(capture.cameras), axis=1)
        return LENGTH * max(float(distances.mean()), 1e-6)

    def _add_frusta(self) -> None:
        """All cameras; the first call for a capture reads its pictures."""
        for frustum in self.frusta:
            frustum.remove()
        capture = self._session.capture(self.id)
        cameras, poses = capture.cameras, capture.cameras.poses()
        with_picture = set(np.linspace(0, len(capture) - 1, min(PICTURES, len(capture))).round().astype(int).tolist())
        scale = self._unit(capture) * self.size.value
        self.frusta = []
        for number in range(len(capture)):
            picture = None
            if self.textured.value and number in with_picture:
                picture = scaled(capture.images([number])[0].numpy(), SMALL)
            fov = 2 * np.arctan(cameras.height / 2 / float(cameras.intrinsics[number, 1, 1]))
            frustum = self._server.scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=float(fov),
                aspect=cameras.width / cameras.height,
                scale=scale,
                thickness=0.02 * scale,
                color=CURRENT_COLOUR if number == self.view.value else FRUSTUM_COLOUR,
                image=picture,
                wxyz=_quaternion(poses[number, :3, :3]),
                position=tuple(poses[number, :3, 3]),
                cast_shadow=False,
                receive_shadow=False,
            )
            frustum.on_click(partial(self._choose, number))
            self.frusta.append(frustum)

    def _resize(self) -> None:
        scale = self._unit(self._session.capture(self.id)) * self.size.value
        for frustum in self.frusta:
            frustum.scale, frustum.thickness = scale, 0.02 * scale

    def _add_cloud(self) -> None:
        if self._cloud is not None:
            self._cloud.remove()
            self._cloud = None
        cloud, mode = self._session.cloud(self.id), self.coloured.value
        if cloud is None or mode not in cloud.colours:
            return
        self._draw_points(cloud.colours[mode])

    def _draw_points(self, colours: NDArray[np.uint8]) -> None:
        """The points of the open capture in some colours."""
        cloud = self._session.cloud(self.id)
        assert cloud is not None, "only asked for captures with points"
        size = 0.06 * self._unit(self._session.capture(self.id))
        self._cloud = self._server.scene.add_point_cloud(
            "/points", cloud.points, colours, point_size=size, precision="float32", point_shading="flat"
        )

    def _choose(self, number: int, _: object) -> None:
        """Of a click on a camera."""
        self.view.value = number  # which shows it

    def _go(self, event: Any) -> None:
        count, view = len(self._session.capture(self.id)), self.view.value
        if event.target.value == "look through it":
            self._look_through(event.client, view)
        else:
            self.view.value = (view + (1 if event.target.value == "next" else -1)) % count

    def _look_through(self, client: Any, view: int) -> None:
        if client is None:
            return
        cameras = self._session.capture(self.id).cameras
        pose = cameras.poses()[view]
        with client.atomic():
            client.camera.wxyz, client.camera.position = _quaternion(pose[:3, :3]), tuple(pose[:3, 3])
            client.camera.fov = float(2 * np.arctan(cameras.height / 2 / float(cameras.intrinsics[view, 1, 1])))

    def _show_view(self) -> None:
        """The pictures of the chosen view, whose camera is red."""
        view = int(self.view.value)
        for number, frustum in enumerate(self.frusta):
            colour = CURRENT_COLOUR if number == view else FRUSTUM_COLOUR
            if tuple(frustum.color) != colour:
                frustum.color = colour
        pictures = self._session.pictures(self.id, view)
        self.pictures.image = side_by_side(pictures)
        self._info.content = small(self._session.note(self.id, view, {"image": pictures["image"]}))
        self._note.content = small(self._session.note(self.id, view, pictures).partition("; ")[2])


def side_by_side(pictures: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The pictures of a view (`CaptureSession.pictures`) in a table: image and labels, the true and the rendered ones."""
    columns = ["true", "rendered"] if "rendered" in pictures else ["true"]
    rows = ["image", "labels"] if "labels" in pictures or "rendered labels" in pictures else ["image"]
    names = {("image", "true"): "image", ("image", "rendered"): "rendered"}
    names |= {("labels", "true"): "labels", ("labels", "rendered"): "rendered labels", ("heat", "rendered"): "heat"}
    rows += ["heat"] if "heat" in pictures else []
    empty = blank(*scaled(pictures["image"], LARGE).shape[:2])
    cells = [[pictures.get(names.get((row, column), "")) for column in columns] for row in rows]
    return sheet([[empty if cell is None else scaled(cell, LARGE) for cell in row] for row in cells], columns)


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    from viser.transforms import SO3

    w, x, y, z = SO3.from_matrix(rotation).wxyz
    return float(w), float(x), float(y), float(z)


def scaled(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """At most `side` pixels long; smaller ones are enlarged in squares."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture.repeat(max(1, int(scale)), axis=0).repeat(max(1, int(scale)), axis=1)
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
