"""`ImageSegmenter`: from one image of a new object to its views, label maps and labelled points, with a field's checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, Pixels
from mvdecor.captures.image_files import read_image, read_mask
from mvdecor.captures.ray_batches import OPAQUE
from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.fields import ConditionalField, FieldViews, InferenceSettings, codes_of_captures, load_field, render_views
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, pinhole

FRONT = (0.0, 45.0, 2.0)
"""Azimuth, elevation and distance of a camera that nothing is said about, see `pose_at`."""


@dataclass(frozen=True)
class InferredObject:
    """An object whose code was inferred.

    Attributes:
        code: float32 [Z].
        label_names: name of each label; one may be `BACKGROUND_NAME`.
    """

    code: Tensor
    label_names: tuple[str, ...]
    field: ConditionalField

    @property
    def background(self) -> int | None:
        """The label of what is no part, if there is one."""
        return self.label_names.index(BACKGROUND_NAME) if BACKGROUND_NAME in self.label_names else None

    def views(self, cameras: Cameras) -> FieldViews:
        """The object through any cameras outside of the unit sphere: images, depth, label maps, labelled points."""
        capture = _capture("object", cameras, _no_pixels)
        return render_views(self.field, self.code, capture, range(len(cameras)), self.background)


class ImageSegmenter:
    """A fine-tuned field, ready for images: `mvdecor.load(FOLDER).infer("chair.png", pose)`.

    Args:
        checkpoint: folder of a fine-tuned field; how codes are inferred is what its training's `evaluation` says.
        device: auto, cpu or cuda.
        seed: of the rays.

    Attributes:
        label_names: of the field.
        ids: of the captures that it was pretrained on.

    Raises:
        InputError: no checkpoint, a damaged one, or one that was only pretrained.
    """

    def __init__(self, checkpoint: Path | str, device: str = "auto", seed: int = 0) -> None:
        self.field, record = load_field(checkpoint, open_device(device, "32-true").device)
        self.label_names, self.ids = tuple(record["label_names"]), tuple(record["ids"])
        if not self.label_names:
            raise InputError(
                f"{checkpoint}: this field was only pretrained and has no labels: run scripts/finetune.py first"
            )
        for weight in self.field.parameters():
            weight.requires_grad_(False)
        evaluation = {**record["config"]["evaluation"], "source": "images"}
        known = {name: value for name, value in evaluation.items() if name in InferenceSettings.model_fields}
        self._inference, self._seed = InferenceSettings.of(known, "evaluation"), seed

    def infer(
        self,
        image: Path | str | NDArray[np.uint8],
        pose: ArrayLike | None = None,
        fov: float = 60.0,
        *,
        axes: str = "opencv",
        intrinsics: ArrayLike | None = None,
        mask: Path | str | NDArray[np.uint8] | None = None,
    ) -> InferredObject:
        """The object of one image.

        Args:
            image: a file, or uint8 [H, W, 3 or 4]; a fourth channel is alpha. The background is white or transparent, or
                else there is a mask.
            pose: [4, 4], camera to world, in the frame of the training captures; see `pose_at`. None: `FRONT`, as
                scripts/segment_image.py assumes it.
            fov: full field of view of the longer side, degrees.
            axes: of the pose, a name of `mvdecor.views.cameras.CAMERA_AXES`.
            intrinsics: [3, 3] in pixels, in place of `fov`.
            mask: a grey picture, 255 = the object, or uint8 [H, W]; everything else becomes white.

        Raises:
            InputError: an image that cannot be read, a pose that is no rotation, or a camera in the unit sphere.
        """
        rgb, alpha = read_image(Path(image)) if isinstance(image, str | Path) else _split(image)
        height, width = rgb.shape[:2]
        if mask is not None:
            alpha = read_mask(Path(mask)) if isinstance(mask, str | Path) else mask
            if alpha.shape != (height, width):
                name = mask if isinstance(mask, str | Path) else "mask"
                raise InputError(f"{name}: has {list(alpha.shape)} pixels, the image {[height, width]}: give one size")
            rgb = np.where(alpha[..., None] >= OPAQUE, rgb, np.uint8(255))
        if intrinsics is None:
            matrix = pinhole(1, max(height, width), fov).numpy()
            matrix[:, 0, 2], matrix[:, 1, 2] = width / 2, height / 2
        else:
            matrix = np.asarray(intrinsics, dtype=np.float64)[None]
        pose, axes = (pose_at(*FRONT), "opencv") if pose is None else (pose, axes)
        cameras = Cameras.from_poses(np.asarray(pose)[None], matrix, height, width, axes, sources=["pose"])
        capture = _capture("image", cameras, lambda view: Pixels(rgb, alpha), alpha is not None)
        (code,) = codes_of_captures(self.field, [capture], [[0]], self._inference, self._seed)
        return InferredObject(code, self.label_names, self.field)

    def trained(self, id: str) -> InferredObject:
        """The object of a training capture, by its code. Raises InputError if there is none of this name."""
        if id not in self.ids:
            examples = ", ".join(self.ids[:3])
            raise InputError(f"{id}: is none of the {len(self.ids)} training captures of this field ({examples}, ...)")
        code = self.field.codes.weight[self.ids.index(id)].detach()
        return InferredObject(code, self.label_names, self.field)


def between(first: InferredObject, last: InferredObject, count: int) -> list[InferredObject]:
    """`count` objects of one field, at least 2, whose codes lie evenly on the line from one to the other, both among them."""
    shares = torch.linspace(0, 1, count, device=first.code.device)
    return [replace(first, code=torch.lerp(first.code, last.code, share)) for share in shares]


def pose_at(azimuth: float, elevation: float, distance: float) -> NDArray[np.float64]:
    """[4, 4], camera to world, OpenCV axes, of a camera that looks at the origin.

    Args:
        azimuth: degrees around +y; 0 is +z, 90 is +x.
        elevation: degrees above the horizon.
        distance: from the origin.
    """
    turn, above = np.deg2rad([azimuth, elevation])
    direction = [np.sin(turn) * np.cos(above), np.sin(above), np.cos(turn) * np.cos(above)]
    center = distance * torch.tensor([direction], dtype=torch.float32)
    rotation, translation = look_at(center, torch.zeros(1, 3))
    return Cameras(rotation, translation, torch.eye(3)[None], 1, 1).poses()[0]


def _capture(id: str, cameras: Cameras, read: Callable[[int], Pixels], has_alpha: bool = False) -> Capture:
    distance = (-cameras.centers * cameras.rotation[:, 2]).sum(dim=-1)  # camera z of the origin
    if not bool((distance > 1).all()):
        raise InputError(
            "a camera stands in the unit sphere or looks away from it: give a pose outside that looks at the object"
        )
    return Capture(id, cameras, read, has_alpha, near=distance - 1, far=distance + 1)


def _no_pixels(view: int) -> Pixels:
    raise AssertionError("these views are only rendered")


def _split(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise InputError(f"an image must be uint8 [H, W, 3 or 4], this is {image.dtype} {list(image.shape)}")
    if image.shape[2] == 3:
        return image, None
    share = image[..., 3:].astype(np.float64) / 255
    return (image[..., :3] * share + 255 * (1 - share)).round().astype(np.uint8), image[..., 3]


def turntable(count: int, size: int, elevation: float = 30.0, distance: float = 2.0, fov: float = 60.0) -> Cameras:
    """`count` cameras of size x size pixels in a ring around the unit sphere."""
    poses = [pose_at(360 * i / count, elevation, distance) for i in range(count)]
    return Cameras.from_poses(np.stack(poses), pinhole(count, size, fov).numpy(), size, size)
