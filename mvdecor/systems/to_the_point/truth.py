"""The true shapes of made-up birds and of renders of a template, with the labels of their parts."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.photo_batches import Crop
from mvdecor.captures.photographs import Photograph
from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.made_up.bird_pictures import RINGS, SIDES
from mvdecor.made_up.birds import LABELS, bird_mesh
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.template import read_template
from mvdecor.views import make_rasterizer
from mvdecor.views.cameras import Cameras


class TrueShapes:
    """The shapes of a folder of made-up pictures: of birds, or renders of a template; none for a folder of other photographs.

    Args:
        root: of the photographs; None if they are in no folder.
    """

    def __init__(self, root: Path | str | None) -> None:
        self._root = None if root is None else Path(root)
        self._file = None if root is None else Path(root) / "birds.json"

    @cached_property
    def _parameters(self) -> dict[str, dict[str, float]]:
        exists = self._file is not None and self._file.exists()
        return read_json(self._file, "write the birds again") if exists and self._file else {}

    @cached_property
    def _template(self) -> Shape:
        assert self._root is not None, "asked for only in a folder"
        return read_template(self._root / "template" / "template.obj").shape

    def shape(self, id: str, template: int | None = None) -> Shape | None:
        """The shape of a picture, with part labels if it has any; None if it is not original.

        Args:
            id: of the picture.
            template: number of vertices of the template, to get the shape with these vertices; None: of a bird a finer mesh.

        Raises:
            InputError: vertices or template of a render that cannot be read.
        """
        if self._root is not None and (file := self._root / "vertices" / f"{id}.npy").exists():
            return self._rendered(file, template)
        if id not in self._parameters:
            return None
        bird = self._parameters[id]
        mesh = bird_mesh(bird, RINGS, SIDES) if template is None else bird_mesh(bird)
        if template is not None and len(mesh.vertices) != template:
            return None
        vertices, faces, labels = (torch.from_numpy(x) for x in (mesh.vertices, mesh.faces, mesh.face_labels))
        return Shape(id, vertices.float(), faces, labels, LABELS)

    def _rendered(self, file: Path, template: int | None) -> Shape | None:
        try:
            vertices = torch.from_numpy(np.load(file)).float()
        except (OSError, TypeError, ValueError) as error:
            raise InputError(f"{file}: cannot be read ({error}); write the renders again") from error
        if vertices.shape != self._template.vertices.shape:
            raise InputError(f"{file}: is not of the template in template/; write the renders again")
        return None if template not in (None, len(vertices)) else self._template.with_vertices(vertices)


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
