"""Heads of a field, from features to labels: ray by ray (linear, or an MLP), or a U-Net on the feature images of views."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mvdecor.networks.encoders import pad_to_multiple

HeadKind = Literal["linear", "mlp", "unet"]
MLP_LAYERS = 3
"""Hidden layers of the MLP (released code of Semantic SRN)."""
DOWNS = 4
"""How often the U-Net halves its images (released code)."""


def make_head(kind: HeadKind, width: int, labels: int, points: bool = False) -> nn.Module:
    """A head for features of length `width`, with the end point beside them if `points`: not for a U-Net."""
    if kind == "unet":
        return UNetHead(width, labels)
    inputs = width + 3 * points
    modules: list[nn.Module] = []
    if kind == "mlp":
        for size in [inputs, *[width] * (MLP_LAYERS - 1)]:
            modules += [nn.Linear(size, width), nn.LayerNorm(width), nn.ReLU()]
        return nn.Sequential(*modules, nn.Linear(width, labels))
    return nn.Linear(inputs, labels)


class UNetHead(nn.Module):
    """The head of "semantic SRN": a small U-Net, with the released code's ratio of channels to `width` (64 and 128 of 256).

    Args:
        width: D, length of the features.
        labels: C.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        first = max(1, width // 4)
        sizes = [first, *[2 * first] * DOWNS]
        self.entry = _convolution(width, first)
        self.downs = nn.ModuleList(_convolution(fine, coarse, stride=2) for fine, coarse in pairwise(sizes))
        self.ups = nn.ModuleList(_convolution(fine + coarse, fine) for fine, coarse in pairwise(sizes))
        self.exit = nn.Conv2d(first, labels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Feature images [n, D, H, W], any H and W, to logits [n, C, H, W]."""
        height, width = features.shape[-2:]
        levels = [self.entry(pad_to_multiple(features, 2**DOWNS))]
        for down in self.downs:
            levels.append(down(levels[-1]))
        answer = levels.pop()
        for up in reversed(self.ups):  # type: ignore[call-overload]
            answer = up(torch.cat([levels.pop(), interpolate(answer, scale_factor=2)], dim=1))
        return self.exit(answer)[..., :height, :width]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
