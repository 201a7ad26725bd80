"""The viewer's page for runs of To The Point: a photograph beside the mesh that was reconstructed from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mvdecor.apps.viewer.actions import Actions
from mvdecor.apps.viewer.capture_panel import LARGE, scaled
from mvdecor.apps.viewer.html import rows_of, small
from mvdecor.apps.viewer.photograph_session import IN_BOTH, MASK_ALONE, MESH_ALONE, PhotographSession
from mvdecor.figures.layout import blank, sheet

if TYPE_CHECKING:
    import viser

CAMERA, TARGET, FIELD_OF_VIEW = (1.3, 0.7, 2.8), (0.4, 0.0, 0.0), np.radians(45.0)
"""The first look: beside the mesh, since the controls cover the right of the page. The photograph's camera is on +z."""
GAP = 1.15
"""Distance of mesh and template, in widths."""


class PhotographPanel:
    """Controls and scene of one session, which all browsers that are connected share.

    Args:
        server: an empty one.
        session: what is shown.

    Attributes:
        id: of the open photograph.
        mesh, template: nodes of the scene; None where there are none.
        pictures: the photograph, its mask against the silhouette, and part labels.
    """

    def __init__(self, server: viser.ViserServer, session: PhotographSession) -> None:
        self._server, self._session = server, session
        self.id = session.ids[0]
        self.mesh: Any = None
        self.template: Any = None
        gui: Any = server.gui
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        server.scene.set_up_direction("+y")
        server.initial_camera.position, server.initial_camera.look_at = CAMERA, TARGET
        server.initial_camera.fov = FIELD_OF_VIEW
        self._message = gui.add_html("")
        self._actions = Actions(self._message)
        do = self._actions.do
        with gui.add_folder("Photograph"):
            self.model = gui.add_dropdown("model", session.models, visible=len(session.models) > 1)
            self.choice = gui.add_dropdown("photograph", session.ids)
            self._step = gui.add_button_group("", ("previous", "next"))
            self.note = gui.add_html("")
            self.pictures = gui.add_image(blank(8, 8))
            gui.add_html(rows_of([(IN_BOTH, "mask and mesh"), (MASK_ALONE, "mask alone"), (MESH_ALONE, "mesh alone")]))
        with gui.add_folder("Scene"):
            self.show = gui.add_dropdown("show", session.modes)
            self.legend = gui.add_html("")
            self.beside = gui.add_checkbox("the undeformed template beside it", False)
            from_camera = gui.add_button("Look from the camera", hint="nearly as the photograph's camera does")
            export = gui.add_button("Export", hint="mesh, camera and pictures, as scripts/reconstruct.py writes them")
            self.exported = gui.add_html("")
        self.model.on_update(lambda _: do(self.show_model))
        self.choice.on_update(lambda _: do(lambda: self.open(self.choice.value)))
        self._step.on_click(lambda event: self.go(1 if event.target.value == "next" else -1))
        self.show.on_update(lambda _: do(self.draw))
        self.beside.on_update(lambda _: do(self.draw))
        from_camera.on_click(lambda event: do(lambda: self.look_from_camera(event.client)))
        export.on_click(lambda _: do(self.export))
        do(lambda: self.open(self.id))

    def tick(self) -> None:
        """Nothing goes on in the background."""

    def close(self) -> None:
        """Wait for what is being shown."""
        with self._actions.lock:
            pass

    def open(self, id: str) -> None:
        """Show a photograph, and the mesh if there is one.

        Raises:
            InputError: a bad photograph, or no camera fits; what can be shown is shown.
        """
        self.id = id
        self.exported.content = self.note.content = ""
        self.pictures.image = blank(8, 8)
        self._clear()
        pictures = self._session.pictures(id)
        cells = [[scaled(picture, LARGE) for picture in pictures.values()]]
        self.pictures.image = sheet(cells, columns=[name.replace("mask", "mask and mesh") for name in pictures])
        self.note.content = small(self._session.note(id))
        self.draw()

    def go(self, step: int) -> None:
        """Show a photograph that many places on in the list, which ends where it begins."""
        ids = self._session.ids
        self.choice.value = ids[(ids.index(self.id) + step) % len(ids)]  # which opens it

    def show_model(self) -> None:
        """Show what the chosen model makes of the open photograph."""
        self._session.choose_model(self.model.value)
        self.open(self.id)

    def draw(self) -> None:
        """Draw the mesh, and the template where it is wanted, in the chosen colours.

        Raises:
            InputError: there is no mesh.
        """
        self._clear()
        mode, session, scene = self.show.value, self._session, self._server.scene
        self.mesh = scene.add_glb("/mesh", session.glb(self.id, mode), cast_shadow=False, receive_shadow=False)
        if self.beside.value:
            place = (-GAP * session.width(self.id), 0.0, 0.0)
            content = session.template_glb(self.id, mode)
            self.template = scene.add_glb("/template", content, position=place, cast_shadow=False, receive_shadow=False)
        self.legend.content = rows_of(session.legend(mode))

    def look_from_camera(self, client: Any) -> None:
        """Move a browser's camera to where the mesh looks as in the photograph."""
        view = self._session.look(self.id)
        if client is None:
            return
        with client.atomic():
            client.camera.up_direction = (0.0, 1.0, 0.0)
            client.camera.position, client.camera.fov = tuple(view.position), view.fov
            client.camera.look_at = tuple(view.target)  # last: a new position takes along what is looked at

    def export(self) -> None:
        """Write the reconstruction of the open photograph, and say where."""
        self.exported.content = small(f"written: {self._session.export(self.id)}")

    def _clear(self) -> None:
        """Take mesh and template out of the scene."""
        for node in (self.mesh, self.template):
            if node is not None:
                node.remove()
        self.mesh = self.template = None
