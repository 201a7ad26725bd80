"""A radiance field of one MLP over harmonics of the point (Mildenhall et al. 2020, section 5.1), small."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mvdecor.fields.srn import harmonics_of

DIRECTION_HARMONICS = 2
SCALE = 25.0  # of the density, per radius of the scene


class MLPField(nn.Module):
    """A plain MLP: the baseline of `GridField`.

    Args:
        width: of all layers.
        layers: of the MLP from a point to a feature.
        harmonics: frequencies of the point, 1, 2, 4, ... times π.
    """

    def __init__(self, width: int = 64, layers: int = 4, harmonics: int = 6) -> None:
        super().__init__()
        self.harmonics = harmonics
        sizes = [3 + 6 * harmonics, *[width] * layers]
        self.trunk = nn.Sequential(*(module for pair in pairwise(sizes) for module in (nn.Linear(*pair), nn.ReLU())))
        self.opacity = nn.Linear(width, 1)
        self.colour = nn.Sequential(
            nn.Linear(width + 3 + 6 * DIRECTION_HARMONICS, width), nn.ReLU(), nn.Linear(width, 3), nn.Sigmoid()
        )
        nn.init.constant_(self.opacity.bias, -3.0)

    def density(self, coordinates: Tensor) -> Tensor:
        """See `RadianceField`."""
        return SCALE * softplus(self.opacity(self.appearance(coordinates))[:, 0])

    def appearance(self, coordinates: Tensor) -> Tensor:
        """float32 [P, width], without direction: what other heads may be put on."""
        return self.trunk(harmonics_of(torch.pi * coordinates, self.harmonics))

    def appearance_parameters(self) -> list[nn.Parameter]:
        """None: density and appearance are of one trunk, and the density must stay."""
        return []

    def colours(self, coordinates: Tensor, directions: Tensor) -> Tensor:
        """See `RadianceField`."""
        seen_from = harmonics_of(directions, DIRECTION_HARMONICS)
        return self.colour(torch.cat([self.appearance(coordinates), seen_from], dim=-1))

    def groups(self, rate: float) -> list[dict]:
        """All parameters with one learning rate."""
        return [{"params": [*self.parameters()], "lr": rate}]

    def roughness(self) -> Tensor:
        """0: an MLP is smooth by itself."""
        return self.opacity.bias.new_zeros(())
