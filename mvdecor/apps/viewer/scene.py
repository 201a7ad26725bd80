"""Meshes in the browser. Colours travel with geometry there, so a mesh is sent in patches, and only those that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mvdecor.figures.glb import glb_bytes
from mvdecor.shapes import Shape

if TYPE_CHECKING:
    import viser

XRAY = 0.25
"""Opacity of faces that are seen through."""
PATCH = 4096
"""Most faces of a patch: some 0.2 MB on the way to the browser."""


def patches_of(centers: NDArray, max_faces: int = PATCH) -> list[NDArray[np.int64]]:
    """Divide faces into patches that lie together: halved along the longest side of their box until small enough.

    Args:
        centers: float [F, 3], of the faces.
        max_faces: most faces per patch.

    Returns:
        indices of the faces of each patch, ascending; every face is in one.
    """
    patches, todo = [], [np.arange(len(centers))]
    while todo:
        faces = todo.pop()
        if len(faces) <= max_faces:
            patches.append(np.sort(faces))
            continue
        along = centers[faces][:, np.ptp(centers[faces], axis=0).argmax()]
        order, half = np.argsort(along, kind="stable"), len(faces) // 2
        todo += [faces[order[:half]], faces[order[half:]]]
    return patches


class ColouredMesh:
    """One shape in the browser, with a colour at each corner of each face.

    Args:
        server: of the viewer.
        name: of its node.
        shape: the mesh.
        colours: uint8 [F, 3, 3].
        position: of its origin, in the world.
        faces_shown: bool [F], the faces that are not hidden; None: all.
        xray: whether all of it is translucent.

    Attributes:
        nodes: of viser, one per patch.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        name: str,
        shape: Shape,
        colours: NDArray[np.uint8],
        position: NDArray,
        faces_shown: NDArray[np.bool_] | None = None,
        xray: bool = False,
    ) -> None:
        self.position = position
        self._server, self._name = server, name
        self._corners = shape.vertices.numpy()[shape.faces.numpy()]
        self._colours = colours.copy()
        self._shown = np.ones(len(colours), dtype=bool) if faces_shown is None else faces_shown.copy()
        self._xray = xray
        # of coincident twins the lowest alone: two colours in one place would flicker
        lowest = np.flatnonzero(shape.twin_groups.numpy() == np.arange(shape.num_faces))
        self._patches = [lowest[patch] for patch in patches_of(shape.face_centers.numpy()[lowest])]
        self._frame = server.scene.add_frame(name, show_axes=False, position=tuple(position))
        self.nodes = [
            server.scene.add_glb(
                f"{name}/{number}", self._glb(faces), cast_shadow=False, receive_shadow=False, visible=self._any(faces)
            )
            for number, faces in enumerate(self._patches)
        ]

    def colour(
        self, colours: NDArray[np.uint8], faces_shown: NDArray[np.bool_] | None = None, xray: bool = False
    ) -> int:
        """Show other colours, uint8 [F, 3, 3], of other faces, see the class; gives the number of patches that had to be
        sent."""
        faces_shown = np.ones(len(colours), dtype=bool) if faces_shown is None else faces_shown
        changed = (colours != self._colours).any(axis=(1, 2)) | (faces_shown != self._shown) | (xray != self._xray)
        self._colours, self._shown, self._xray = colours.copy(), faces_shown.copy(), xray
        count = 0
        with self._server.atomic():  # all patches change at once
            for node, faces in zip(self.nodes, self._patches, strict=True):
                if changed[faces].any():
                    node.visible = self._any(faces)
                    if node.visible:
                        node.glb_data = self._glb(faces)
                        count += 1
        return count

    def remove(self) -> None:
        """Take it out of the scene."""
        self._frame.remove()  # and the patches below it

    def _any(self, faces: NDArray[np.int64]) -> bool:
        return bool(self._shown[faces].any())

    def _glb(self, faces: NDArray[np.int64]) -> bytes:
        """The content of a patch; one that is all hidden keeps a face, since no file may be empty."""
        faces = faces[self._shown[faces]] if self._any(faces) else faces[:1]
        opacity = XRAY if self._xray else 1.0
        return glb_bytes(self._name.strip("/"), self._corners[faces], self._colours[faces], opacity)
