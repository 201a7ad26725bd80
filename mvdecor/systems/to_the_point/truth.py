"""The true shapes of made-up birds, with the labels of their parts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.photo_batches import Crop
from mvdecor.captures.photographs import Photograph
from mvdecor.files import read_json
from mvdecor.made_up.bird_pictures import RINGS, SIDES
from mvdecor.made_up.birds import LABELS, bird_mesh
from mvdecor.shapes.shape import Shape
from mvdecor.views import make_rasterizer
from mvdecor.views.cameras import Cameras


class Birds:
    """The birds of a folder of pictures; none for a folder of other photographs.

    Args:
        root: of the photographs; None if they are in no folder.
    """

    def __init__(self, root: Path | str | None) -> None:
        self._file = None if root is None else Path(root) / "birds.json"

    @cached_property
    def _parameters(self) -> dict[str, dict[str, float]]:
        exists = self._file is not None and self._file.exists()
        return read_json(self._file, "write the birds again") if exists and self._file else {}

    def shape(self, id: str, template: int | None = None) -> Shape | None:
        """The bird of a picture, with part labels; None if it is not original.

        Args:
            id: of the picture.
            template: number of vertices of the birds' template, to get the bird with these vertices; None: a finer mesh.
        """
        if id not in self._parameters:
            return None
        bird = self._parameters[id]
        mesh = bird_mesh(bird, RINGS, SIDES) if template is None else bird_mesh(bird)
        if template is not None and len(mesh.vertices) != template:
            return None
        vertices, faces, labels = (torch.from_numpy(x) for x in (mesh.vertices, mesh.faces, mesh.face_labels))
        return Shape(id, vertices.float(), faces, labels, LABELS)


def label_map(shape: Shape, photograph: Photograph, crop: Crop, size: int) -> NDArray[np.int64]:
    """int64 [size, size], the labels that a crop of a photograph shows, -1 = background.

    Args:
        shape: of the photograph, labelled.
        photograph: with its camera.
        crop: of it.
        size: of the crop.
    """
    original: Any = photograph.cameras
    factor = size / crop.side
    intrinsics = original.intrinsics.clone()
    intrinsics[:, :2] *= factor
    intrinsics[:, :2, 2] -= factor * torch.tensor(crop.corner)
    cameras = Cameras(original.rotation, original.translation, intrinsics, size, size, original.orthographic)
    assert shape.face_labels is not None, "a true shape has labels"
    face_ids = make_rasterizer("embree")([shape], [cameras])[0].face_ids[0, 0]
    return torch.where(face_ids >= 0, shape.face_labels[face_ids.clamp_min(0).long()], -1).numpy()
