"""A radiance field of factorised grids (Chen et al. 2022, TensoRF, vector-matrix decomposition), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, softplus

from mvdecor.fields.srn import harmonics_of

PLANES = ((0, 1), (0, 2), (1, 2))
LINES = (2, 1, 0)
"""Coordinates that each of the three planes has, and that of its line."""
SCALE = 25.0
"""Of the density: an Adam step then changes it as much as in TensoRF, which scales lengths instead (its distance_scale)."""
DIRECTION_HARMONICS = 2


class PlanesAndLines(nn.Module):
    """Three sets of planes times lines: for each point [P, 3] of [-1, 1]³ the products, [P, 3 components].

    Args:
        components: R, per plane.
        resolution: cells per side.
        spread: standard deviation of the initial values.
    """

    def __init__(self, components: int, resolution: int, spread: float = 0.1) -> None:
        super().__init__()
        self.planes = nn.Parameter(spread * torch.randn(3, components, resolution, resolution))
        self.lines = nn.Parameter(spread * torch.randn(3, components, resolution, 1))

    def forward(self, coordinates: Tensor) -> Tensor:
        """Bilinear in the planes and linear along the lines; the outermost values stand at -1 and 1."""
        across = torch.stack([coordinates[:, list(pair)] for pair in PLANES])[:, :, None]
        along = coordinates[:, list(LINES)].T[:, :, None, None]
        along = torch.cat([torch.zeros_like(along), along], dim=-1)
        planes, lines = (
            grid_sample(values, places, mode="bilinear", padding_mode="border", align_corners=True)[..., 0]
            for values, places in ((self.planes, across), (self.lines, along))
        )
        return (planes * lines).flatten(0, 1).T

    def roughness(self) -> Tensor:
        """Total variation: mean squared difference of neighbours in the planes and along the lines."""
        differences = (self.planes.diff(dim=2), self.planes.diff(dim=3), self.lines.diff(dim=2))
        return torch.stack([x.square().mean() for x in differences]).sum()


class GridField(nn.Module):
    """Density and appearance as sums of planes times lines; a small MLP turns appearance and direction into a colour.

    Args:
        resolution: cells per side of all grids.
        density_components, appearance_components: per plane.
        features: length of the appearance vector that the colour is made of.
        width: of the MLP's hidden layer.
        empty: added before the softplus of the density, so that space is nearly empty at first: density that has to grow stands
            where it is needed.
        density_rate: learning rate of the density's grids, as a share of the field's. Density that moves slowly waits for the
            colours, and gathers at surfaces instead of before the cameras.
    """

    def __init__(
        self,
        resolution: int = 128,
        density_components: int = 8,
        appearance_components: int = 16,
        features: int = 27,
        width: int = 64,
        empty: float = -5.0,
        density_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.empty, self.density_rate = empty, density_rate
        self.density_grid = PlanesAndLines(density_components, resolution)
        self.appearance_grid = PlanesAndLines(appearance_components, resolution)
        self.basis = nn.Linear(3 * appearance_components, features, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(features + 3 + 6 * DIRECTION_HARMONICS, width), nn.ReLU(), nn.Linear(width, 3), nn.Sigmoid()
        )

    def density(self, coordinates: Tensor) -> Tensor:
        """See `RadianceField`."""
        return SCALE * softplus(self.density_grid(coordinates).sum(dim=-1) + self.empty)

    def appearance(self, coordinates: Tensor) -> Tensor:
        """float32 [P, features], without direction: what other heads may be put on."""
        return self.basis(self.appearance_grid(coordinates))

    def appearance_parameters(self) -> list[nn.Parameter]:
        """What `appearance` depends on; nothing of the density is among it."""
        return [*self.appearance_grid.parameters(), *self.basis.parameters()]

    def colours(self, coordinates: Tensor, directions: Tensor) -> Tensor:
        """See `RadianceField`."""
        seen_from = harmonics_of(directions, DIRECTION_HARMONICS)
        return self.mlp(torch.cat([self.appearance(coordinates), seen_from], dim=-1))

    def groups(self, rate: float) -> list[dict]:
        """Parameters with their learning rates: density's grids slowest but for the MLP."""
        appearance = [*self.appearance_grid.parameters()]
        mlp = [*self.basis.parameters(), *self.mlp.parameters()]
        return [
            {"params": [*self.density_grid.parameters()], "lr": self.density_rate * rate},
            {"params": appearance, "lr": 2 * rate},
            {"params": mlp, "lr": 0.1 * rate},
        ]

    def roughness(self) -> Tensor:
        """Of all grids."""
        return self.density_grid.roughness() + self.appearance_grid.roughness()
