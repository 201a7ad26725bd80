"""Scene representation networks (Sitzmann et al. 2019): a function from a point to a feature, and a learned ray marcher."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mvdecor.networks.hypernetwork import Hypernetwork, LayerWeights, apply_layers

Function = Callable[[Tensor], Tensor]
"""Points float [B, R, 3] of B objects, world frame, to features [B, R, D]."""
GRADIENT_LIMIT = 10.0
"""Gradients of the marcher's state are clamped to this size (section 3.2 and the released code)."""


class Hits(NamedTuple):
    """What R rays of each of B objects see.

    Attributes:
        points: float32 [B, R, 3], world frame.
        distance: float32 [B, R], of the points from the cameras.
        features: float32 [B, R, D].
        opacity: float32 [B, R] in [0, 1], share of the light that the object stops; None if the renderer does not say.
    """

    points: Tensor
    distance: Tensor
    features: Tensor
    opacity: Tensor | None = None


class PointFunction(nn.Module):
    """Codes [B, Z] to B functions from a point to a feature of length `width`.

    Args:
        code_size, width, layers, hypernetwork_width, harmonics: see `FieldSettings`.
    """

    def __init__(self, code_size: int, width: int, layers: int, hypernetwork_width: int, harmonics: int = 0) -> None:
        super().__init__()
        self.harmonics = harmonics
        sizes = [3 + 6 * harmonics, *[width] * layers]
        self.hypernetwork = Hypernetwork(code_size, sizes, hypernetwork_width)

    def forward(self, codes: Tensor) -> Function:
        """The functions of codes [B, Z]; the hypernetwork runs once, here."""
        return partial(_features_at, self.hypernetwork(codes), self.harmonics)


def _features_at(layers: LayerWeights, harmonics: int, points: Tensor) -> Tensor:
    return apply_layers(layers, harmonics_of(points, harmonics))


def harmonics_of(points: Tensor, count: int) -> Tensor:
    """Points [..., 3] to [..., 6 count + 3]: sines, then cosines, of each coordinate times 1, 2, 4, ..., then the points."""
    if count == 0:
        return points
    angles = (points[..., None] * 2.0 ** torch.arange(count, device=points.device)).flatten(-2)
    return torch.cat([angles.sin(), angles.cos(), points], dim=-1)


class LSTMMarcher(nn.Module):
    """Goes along each ray in steps whose lengths an LSTM predicts from the features it meets (section 3.2).

    Args:
        features: D.
        steps: number of steps.
        reach: distance that the steps cover together before any training.
        hidden: width of the LSTM.
    """

    def __init__(self, features: int, steps: int = 10, reach: float = 1.0, hidden: int = 16) -> None:
        super().__init__()
        self.steps = steps
        self.lstm = nn.LSTMCell(features, hidden)
        self.step = nn.Linear(hidden, 1)
        with torch.no_grad():
            for bias in (self.lstm.bias_ih, self.lstm.bias_hh):
                bias[hidden : 2 * hidden] = 1  # the forget gates stay open
            self.step.weight.normal_(std=1e-3)
            self.step.bias.fill_(reach / steps)

    def forward(self, function: Function, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Hits:
        """Hits of rays [B, R, 3] that begin at distance `near` [B, R]; `far` is not used."""
        objects, rays = near.shape
        distance, state = near, None
        for _ in range(self.steps):
            features = function(origins + distance[..., None] * directions)
            state = self.lstm(features.flatten(0, 1), state)
            if state[0].requires_grad:
                state[0].register_hook(_clamped)
            distance = distance + self.step(state[0]).view(objects, rays)
        points = origins + distance[..., None] * directions
        return Hits(points, distance, function(points))


def _clamped(gradient: Tensor) -> Tensor:
    return gradient.clamp(-GRADIENT_LIMIT, GRADIENT_LIMIT)
