"""Meshes in the browser. Colours travel with geometry there, so a mesh is sent in patches, and only those that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mvdecor.figures.glb import glb_bytes
from mvdecor.shapes import Shape

if TYPE_CHECKING:
    import viser

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
    """

    def __init__(
        self, server: viser.ViserServer, name: str, shape: Shape, colours: NDArray[np.uint8], position: NDArray
    ) -> None:
        self.position = position
        self._name = name
        self._corners = shape.vertices.numpy()[shape.faces.numpy()]
        self._colours = colours.copy()
        # of coincident twins the lowest alone: two colours in one place would flicker
        shown = np.flatnonzero(shape.twin_groups.numpy() == np.arange(shape.num_faces))
        self._patches = [shown[patch] for patch in patches_of(shape.face_centers.numpy()[shown])]
        self._frame = server.scene.add_frame(name, show_axes=False, position=tuple(position))
        self._nodes = [
            server.scene.add_glb(f"{name}/{number}", self._glb(faces), cast_shadow=False, receive_shadow=False)
            for number, faces in enumerate(self._patches)
        ]

    def colour(self, colours: NDArray[np.uint8]) -> int:
        """Show other colours, uint8 [F, 3, 3]; gives the number of patches that had to be sent."""
        changed = (colours != self._colours).any(axis=(1, 2))
        self._colours = colours.copy()
        count = 0
        for node, faces in zip(self._nodes, self._patches, strict=True):
            if changed[faces].any():
                node.glb_data = self._glb(faces)
                count += 1
        return count

    def remove(self) -> None:
        """Take it out of the scene."""
        self._frame.remove()  # and the patches below it

    def _glb(self, faces: NDArray[np.int64]) -> bytes:
        return glb_bytes(self._name.strip("/"), self._corners[faces], self._colours[faces])
