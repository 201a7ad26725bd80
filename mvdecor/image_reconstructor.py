"""`ImageReconstructor`: from one photograph to camera, textured mesh and part labels, with a checkpoint of To The Point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.captures.image_files import read_image, read_mask
from mvdecor.captures.photo_batches import Crop, crop_photograph
from mvdecor.captures.photographs import Photograph, box_of
from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.shapes.shape import CLAMP, Shape, Texture
from mvdecor.shapes.template import Template
from mvdecor.solvers import Status
from mvdecor.systems.to_the_point.finetune import seen_faces
from mvdecor.systems.to_the_point.model import Solved, load_model
from mvdecor.systems.to_the_point.twins import likelier_twin


@dataclass(frozen=True)
class Reconstruction:
    """What was reconstructed from one photograph of H x W pixels.

    An image position is (x, y) = scale (rotation V)_xy + shift, in pixels of the photograph, for a vertex V of `shape`; OpenCV
    axes, (0, 0) is the top left corner.

    Attributes:
        shape: the deformed template in the template's frame, textured by the photograph, with the template's part labels.
        rotation: float32 [3, 3], template to camera.
        scale: pixels per template unit.
        shift: float32 [2], pixels.
        coefficients: float32 [K], of the deformation.
        visibility: float32 [V] in [0, 1].
        keypoints: projected position (x, y) in pixels by name.
        face_ids: int32 [H, W], the face that each pixel sees, -1 = none; in the part of the photograph that was looked at.
    """

    shape: Shape
    rotation: Tensor
    scale: float
    shift: Tensor
    coefficients: Tensor
    visibility: Tensor
    keypoints: dict[str, tuple[float, float]]
    face_ids: NDArray[np.int32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [H, W], the template's part label at each pixel; -1 where the mesh is not seen.

        Raises:
            InputError: the template has no labels.
        """
        if self.shape.face_labels is None:
            raise InputError("the template has no part labels: give template.labels to the pretraining")
        return np.where(self.face_ids >= 0, self.shape.face_labels.numpy()[self.face_ids], -1)

    @property
    def posed(self) -> Shape:
        """The mesh as the camera sees it, in glTF's axes: x right, y up, the camera looks along -z."""
        turned = self.shape.vertices @ self.rotation.T * torch.tensor([1.0, -1.0, -1.0])
        return replace(self.shape, vertices=turned)

    def camera(self) -> dict[str, Any]:
        """The camera as plain values."""
        return {
            "projection": "scaled orthographic: (x, y) = scale (rotation V)_xy + shift, in pixels",
            "axes": "opencv",
            "rotation": self.rotation.tolist(),
            "scale": self.scale,
            "shift": self.shift.tolist(),
            "coefficients": self.coefficients.tolist(),
            "keypoints": {name: list(place) for name, place in self.keypoints.items()},
        }


class ImageReconstructor:
    """A trained model, ready for photographs: `mvdecor.load(FOLDER).reconstruct("bird.jpg")`.

    Args:
        checkpoint: folder of a pretrained or fine-tuned model.
        device: auto, cpu or cuda.
        mirror: look at the mirror image of a photograph, too, if the template is symmetric.

    Raises:
        InputError: no checkpoint, or a damaged one.
    """

    def __init__(self, checkpoint: Path | str, device: str = "auto", mirror: bool = True) -> None:
        self._device = open_device(device, "32-true").device
        self.model, _ = load_model(checkpoint, self._device)
        self._mirror = mirror

    @property
    def template(self) -> Template:
        """The template that is deformed."""
        return self.model.template

    @torch.no_grad()
    def reconstruct(
        self, image: Path | str | NDArray[np.uint8], mask: Path | str | NDArray[np.bool_] | None = None
    ) -> Reconstruction:
        """The mesh of the object in a photograph.

        Args:
            image: a file, or uint8 [H, W, 3].
            mask: a file (white = object) or bool [H, W] that says where the object is; None: alpha if the image has it, or
                the object fills the image. Only its box is used.

        Raises:
            InputError: a bad image or mask, or correspondences without a camera.
        """
        rgb, object_mask = _opened(image, mask)
        photograph = Photograph("image", rgb, object_mask, box_of(object_mask))
        return self.reconstruction(photograph, *self.solve(photograph))

    @torch.no_grad()
    def solve(self, photograph: Photograph, columns: Sequence[int] = (), twins: bool = False) -> tuple[Crop, Solved]:
        """The part of a photograph that is looked at, with the keypoints of `columns`, and what network and solver say of it.

        Args:
            photograph: with a mask.
            columns: see `crop_photograph`.
            twins: take the likelier one of the two cameras of a silhouette, as `evaluation.twins` does.

        Raises:
            InputError: no mask, or `twins` for a template without a plane of symmetry.
        """
        crop = crop_photograph(photograph, self.model.settings.size, columns)
        solved = self.model.reconstruct(crop.image[None].to(self._device), self._mirror)
        if twins:
            fit = likelier_twin(self.model, solved)
            solved = Solved(solved.positions, solved.logits, *(getattr(fit, field.name) for field in fields(fit)))
        return crop, solved

    @torch.no_grad()
    def reconstruction(self, photograph: Photograph, crop: Crop, solved: Solved) -> Reconstruction:
        """The mesh, from what `solve` gave.

        Raises:
            InputError: correspondences without a camera.
        """
        status = Status(int(solved.status[0]))
        if status != Status.CONVERGED:
            raise InputError(
                f"no camera fits what the network sees in this image ({status.name}): give a mask= of the object, or an "
                "image of the category that the model was trained on"
            )
        vertices = self.model.deformed(solved.fit)
        size = max(1, round(crop.side))
        seen = seen_faces(self.model, vertices, solved.fit, size)[0].cpu().numpy()
        flat = solved.fit.project(vertices)[0, :, :2].cpu()
        positions, visibility = solved.positions[0].cpu(), solved.logits[0].sigmoid().cpu()
        shape = self.template.shape.with_vertices(vertices[0].cpu())
        shape = replace(shape, texture=_texture(self.template, photograph.image, crop, positions, visibility))
        corner = torch.tensor(crop.corner)
        pixels = (flat + 1) / 2 * crop.side + corner
        keypoints = {name: tuple(pixels[vertex].tolist()) for name, vertex in self.template.keypoints.items()}
        return Reconstruction(
            shape,
            solved.rotation[0].cpu(),
            float(solved.scale[0]) * crop.side / 2,
            (solved.shift[0].cpu() + 1) / 2 * crop.side + corner,
            solved.coefficients[0].cpu(),
            visibility,
            keypoints,
            _placed(seen, crop, photograph.image.shape[:2]),
        )


def _opened(
    image: Path | str | NDArray[np.uint8], mask: Path | str | NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The photograph, uint8 [H, W, 3], and its object, bool [H, W], not empty."""
    rgb, alpha = (image, None) if isinstance(image, np.ndarray) else read_image(Path(image))
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"an image must be uint8 [H, W, 3], this is {rgb.dtype} {list(rgb.shape)}")
    if mask is None:
        object_mask = np.ones(rgb.shape[:2], dtype=bool) if alpha is None else alpha > 127
    else:
        object_mask = mask.astype(bool) if isinstance(mask, np.ndarray) else read_mask(Path(mask)) > 127
    if object_mask.shape != rgb.shape[:2]:
        raise InputError(
            f"the mask has {list(object_mask.shape)} pixels, the image {list(rgb.shape[:2])}: give one of its size"
        )
    if not object_mask.any():
        raise InputError("the mask is empty: nothing in it is above half of white")
    return rgb, object_mask


def _texture(template: Template, rgb: NDArray[np.uint8], crop: Crop, positions: Tensor, visibility: Tensor) -> Texture:
    """The photograph at the positions of the vertices; a face that is hidden looks like its mirror image, if that is seen."""
    faces = template.shape.faces
    place = positions[faces]
    if template.mirror is not None:
        opposite = template.mirror.of(visibility[:, None])[:, 0]
        hidden = opposite[faces].mean(dim=1) > visibility[faces].mean(dim=1)
        place = torch.where(hidden[:, None, None], template.mirror.of(positions)[faces], place)
    pixels = (place + 1) / 2 * crop.side + torch.tensor(crop.corner)
    height, width = rgb.shape[:2]
    uv = torch.stack([pixels[..., 0] / width, 1 - pixels[..., 1] / height], dim=-1).clamp(0, 1)
    image = torch.from_numpy(np.ascontiguousarray(rgb))
    return Texture(uv.float(), (image,), torch.zeros(len(faces), dtype=torch.int64), torch.tensor([[CLAMP, CLAMP, 0]]))


def _placed(seen: NDArray[np.int32], crop: Crop, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The faces [S, S] of a crop in the photograph, [H, W], by the nearest pixel."""
    face_ids = np.full(shape, -1, dtype=np.int32)
    size = len(seen)
    rows, columns = (np.arange(length) for length in shape)
    i = np.floor((rows + 0.5 - crop.corner[1]) * size / crop.side).astype(int)
    j = np.floor((columns + 0.5 - crop.corner[0]) * size / crop.side).astype(int)
    inside_i, inside_j = (i >= 0) & (i < size), (j >= 0) & (j < size)
    face_ids[np.ix_(inside_i, inside_j)] = seen[np.ix_(i[inside_i], j[inside_j])]
    return face_ids
