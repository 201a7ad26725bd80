"""Crops of photographs with masks and keypoints, one batch per step of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdecor.captures.mask_geometry import distance_map, mask_points
from mvdecor.captures.photographs import Photograph, PhotographSet
from mvdecor.captures.warps import random_matrices
from mvdecor.errors import InputError
from mvdecor.recent import Recent
from mvdecor.seeds import seed_of

PADDING = 0.05
"""Share of the longer side of the box that is added on each side."""
IN_MEMORY = 4000


@dataclass(frozen=True)
class Crop:
    """The square part of a photograph around its object.

    Attributes:
        image: float32 [3, S, S] in [0, 1].
        mask: bool [S, S].
        keypoints: float32 [K, 3]: x, y in units of [-1, 1] of the crop, and 1 where visible.
        corner: float [2], of the crop in the photograph, pixels.
        side: of the crop in the photograph, pixels.
    """

    image: Tensor
    mask: NDArray[np.bool_]
    keypoints: Tensor
    corner: tuple[float, float]
    side: float


@dataclass(frozen=True)
class PhotoBatch:
    """B crops of S x S pixels.

    Attributes:
        images: float32 [B, 3, S, S] in [0, 1].
        masks: float32 [B, S, S], 0 or 1.
        distances: float32 [B, S, S], of each pixel from the mask, see `distance_map`.
        points: float32 [B, P, 2], random points of the mask in [-1, 1].
        keypoints: float32 [B, K, 3], see `Crop`.
        matrices: float32 [B, 2, 3], random affine maps for moved copies.
        shape_ids: ids of the photographs.
        share: of the photographs of the step's batch, of which another process may have others.
    """

    images: Tensor
    masks: Tensor
    distances: Tensor
    points: Tensor
    keypoints: Tensor
    matrices: Tensor
    shape_ids: tuple[str, ...]
    share: float = 1.0

    @property
    def views(self) -> tuple[tuple[int, ...], ...]:
        """A photograph has one."""
        return ((0,),) * len(self.images)

    def to(self, device: torch.device | str) -> PhotoBatch:
        """The same batch with its tensors on `device`."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        on_device: dict[str, Any] = {name: x.to(device) for name, x in tensors.items() if isinstance(x, Tensor)}
        return replace(self, **on_device)


def crop_photograph(
    photograph: Photograph, size: int, columns: Sequence[int] = (), jitter: Sequence[float] = (0.0, 0.0, 0.0)
) -> Crop:
    """The padded square around a photograph's box, resampled to size x size; beyond the border the border goes on.

    Args:
        photograph: with a mask.
        size: S.
        columns: of the photograph's keypoints to give, in this order; -1 is never visible. See `keypoint_columns`.
        jitter: shift right, shift down and growth, as shares of the square's side.

    Raises:
        InputError: no mask, or one that vanishes at this size.
    """
    if photograph.mask is None:
        raise InputError(f"photograph {photograph.id}: it has no mask: give it one, or leave the photograph out")
    x0, y0, x1, y1 = photograph.box
    side = max(x1 - x0, y1 - y0) * (1 + 2 * PADDING) * (1 + jitter[2])
    left = (x0 + x1 - side) / 2 + jitter[0] * side
    top = (y0 + y1 - side) / 2 + jitter[1] * side
    height, width = photograph.mask.shape
    before = (max(0, int(np.ceil(-top))), max(0, int(np.ceil(-left))))
    after = (max(0, int(np.ceil(top + side - height))), max(0, int(np.ceil(left + side - width))))
    pads = tuple(zip(before, after, strict=True))
    place = (left + before[1], top + before[0], left + before[1] + side, top + before[0] + side)
    picture = Image.fromarray(np.pad(photograph.image, (*pads, (0, 0)), mode="edge"))
    mask = Image.fromarray(np.pad(photograph.mask, pads).astype(np.uint8) * 255)
    image, cropped = (x.resize((size, size), Image.Resampling.BILINEAR, box=place) for x in (picture, mask))
    if not (np.array(cropped) > 127).any():
        raise InputError(
            f"photograph {photograph.id}: nothing is left of its mask at {size} x {size} pixels: leave it out"
        )
    return Crop(
        torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255,
        np.array(cropped) > 127,
        _keypoints(photograph.keypoints, columns, (left, top), side),
        (left, top),
        side,
    )


def mirror_image(crop: Crop) -> Crop:
    """A crop with left and right exchanged; its keypoints must be those that each becomes in a mirror image."""
    keypoints = crop.keypoints * torch.tensor([-1.0, 1.0, 1.0])
    return replace(crop, image=crop.image.flip(-1), mask=np.ascontiguousarray(crop.mask[:, ::-1]), keypoints=keypoints)


def keypoint_columns(photographs: PhotographSet, names: Sequence[str]) -> list[int]:
    """Which keypoint of a data set has each of some names; -1 for those that it lacks."""
    available = photographs.keypoint_names
    return [available.index(name) if name in available else -1 for name in names]


def _keypoints(
    points: NDArray[np.float32] | None, columns: Sequence[int], corner: tuple[float, float], side: float
) -> Tensor:
    rows = torch.zeros(len(columns), 3)
    for i, column in enumerate(columns):
        if points is not None and column >= 0 and points[column, 2] > 0:
            x, y, _ = points[column].tolist()
            rows[i] = torch.tensor([2 * (x - corner[0]) / side - 1, 2 * (y - corner[1]) / side - 1, 1.0])
    return rows


class PhotoSource:
    """Batches of photographs for `mvdecor.engine.loader.batches`.

    A photograph depends on seed, step and its place in the batch alone; every photograph comes once before one comes again.

    Args:
        photographs: the data set.
        ids: which of it.
        names: of keypoints, in order; () for none.
        size: width and height of a crop.
        count: photographs per batch.
        jitter: greatest shift and growth of the crop, as a share of its side.
        points: of the mask.
        mirror: half of the affine maps mirror.
        mirrored: half of the photographs come as their mirror images, with the keypoints that these have.

    Raises:
        InputError: no ids, or `mirrored` with keypoints of which it is not known what they become in a mirror image.
    """

    def __init__(
        self,
        photographs: PhotographSet,
        ids: Sequence[str],
        names: Sequence[str],
        size: int,
        count: int,
        jitter: float = 0.05,
        points: int = 200,
        mirror: bool = True,
        mirrored: bool = False,
    ) -> None:
        if not ids:
            raise InputError("there are no photographs to train on: see training.finetune.split")
        if mirrored and names and not photographs.mirror:
            raise InputError(
                "training.finetune.mirror=true, but the photographs do not say which keypoint each becomes in a mirror image: "
                "name them by left and right, or set training.finetune.mirror=false"
            )
        self.photographs, self.ids, self.size, self.count = photographs, list(ids), size, count
        self.columns = keypoint_columns(photographs, names)
        self._opposite = [photographs.mirror[i] if i >= 0 else i for i in self.columns] if mirrored else []
        self.jitter, self.points, self.mirror, self.mirrored = jitter, points, mirror, mirrored
        self._recent: Recent[Photograph] = Recent(IN_MEMORY)

    def __len__(self) -> int:
        return self.count

    def sample(self, seed: int, step: int, positions: range | None = None) -> PhotoBatch:
        """The batch of a step, or some of its places."""
        places = range(self.count) if positions is None else positions
        crops, distances, points, matrices, ids = [], [], [], [], []
        for place in places:
            number = step * self.count + place
            epoch, index = divmod(number, len(self.ids))
            order = torch.randperm(
                len(self.ids), generator=torch.Generator().manual_seed(seed_of(seed, "order", epoch))
            )
            id = self.ids[int(order[index])]
            generator = torch.Generator().manual_seed(seed_of(seed, "photograph", step, place))
            jitter = (self.jitter * (2 * torch.rand(3, generator=generator) - 1)).tolist()
            photograph = self._recent.get(id, lambda id=id: self.photographs.load(id))  # type: ignore[misc]
            if self.mirrored and float(torch.rand(1, generator=generator)) < 0.5:
                crop = mirror_image(crop_photograph(photograph, self.size, self._opposite, jitter))
            else:
                crop = crop_photograph(photograph, self.size, self.columns, jitter)
            ids.append(id)
            crops.append(crop)
            distances.append(torch.from_numpy(distance_map(crop.mask)))
            points.append(mask_points(crop.mask, self.points, generator))
            matrices.append(random_matrices(1, self.mirror, generator))
        return PhotoBatch(
            torch.stack([crop.image for crop in crops]),
            torch.stack([torch.from_numpy(crop.mask) for crop in crops]).float(),
            torch.stack(distances),
            torch.stack(points),
            torch.stack([crop.keypoints for crop in crops]),
            torch.cat(matrices),
            tuple(ids),
            len(places) / self.count,
        )
