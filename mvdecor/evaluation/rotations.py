"""Errors of camera rotations, and how many of them are confusions of front and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 30.0  # degrees


@dataclass(frozen=True)
class RotationErrors:
    """Of N cameras.

    Attributes:
        degrees: float64 [N], the angle of the rotation between prediction and truth.
        swapped: bool [N], the prediction is a front-back swap, see `front_back_twin`: at least `NEAR` off, and nearer to the
            twin of the truth than to the truth.
    """

    degrees: Tensor
    swapped: Tensor

    def summary(self) -> dict[str, float]:
        """Median and mean in degrees; shares of cameras below `NEAR` and of swaps."""
        return {
            "median": float(self.degrees.quantile(0.5)),
            "mean": float(self.degrees.mean()),
            "share_below_30": float((self.degrees < NEAR).double().mean()),
            "front_back_swaps": float(self.swapped.double().mean()),
        }


def rotation_errors(predicted: Tensor, truth: Tensor, mirror_axis: int = 0) -> RotationErrors:
    """Compare rotations [N, 3, 3] (object to camera) of an object that is symmetric along `mirror_axis` of its own frame."""
    degrees = angle_between(predicted, truth)
    to_twin = angle_between(predicted, front_back_twin(truth, mirror_axis))
    return RotationErrors(degrees, (degrees >= NEAR) & (to_twin < degrees))


def front_back_twin(rotation: Tensor, mirror_axis: int = 0) -> Tensor:
    """[N, 3, 3], the other camera from which a symmetric object has the same silhouette under orthographic projection.

    Mirroring a symmetric object changes nothing, and the projection does not see depth, so diag(1, 1, -1) R M with the mirror M
    gives the same picture of its outline, from the opposite side in depth. From the object's side, both are one.
    """
    signs = torch.ones(3, dtype=rotation.dtype, device=rotation.device)
    mirror = signs.clone()
    mirror[mirror_axis] = -1
    signs[2] = -1
    return signs[:, None] * rotation * mirror


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """float64 [N], degrees of the rotation that leads from one to the other; exact also near 0 and 180."""
    chord = (first.double() - second.double()).flatten(1).norm(dim=1) / math.sqrt(8)
    return 2 * torch.rad2deg(torch.asin(chord.clamp(max=1)))
