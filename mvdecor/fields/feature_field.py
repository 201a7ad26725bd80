"""Features of a space of text and images on a radiance field whose density is frozen (Liu et al. 2023, section 3.2)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mvdecor.fields.grid import GridField, PlanesAndLines
from mvdecor.fields.mlp import MLPField


class FeatureField(nn.Module):
    """A linear head on a field's appearance numbers, and a volume that chooses among scales.

    The released head is three linear layers without activation, that is, one linear map. So a ray's feature is the same
    whether its samples are mapped and then rendered, or rendered and then mapped; the latter never holds a feature of D numbers
    per sample.

    Args:
        field: the scene's; what its `appearance` depends on is copied and moves, all else of it is not used.
        dimension: D, of the features.
        scales: S, that the selection volume chooses among; 0: there is no such volume.
        components: of the selection volume's grid, per plane.
        resolution: of the selection volume's grid.
    """

    def __init__(
        self, field: GridField | MLPField, dimension: int, scales: int = 0, components: int = 4, resolution: int = 48
    ) -> None:
        super().__init__()
        self.field = copy.deepcopy(field).requires_grad_(False)
        for parameter in self.field.appearance_parameters():
            parameter.requires_grad_(True)
        with torch.no_grad():
            width = self.field.appearance(torch.zeros(1, 3, device=next(field.parameters()).device)).shape[-1]
        self.head = nn.Linear(width, dimension)
        self.scales = scales
        if scales:
            self.selection_grid = PlanesAndLines(components, resolution)
            self.selection_head = nn.Linear(3 * components, scales)

    def forward(self, coordinates: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features float32 [R, D] of rays, not normalised, and shares of the scales float32 [R, S], which sum to 1.

        Args:
            coordinates: float32 [R, K, 3], of samples.
            weights: float32 [R, K], share of the ray's light that each stops.
        """
        return self.features(coordinates, weights), self.selection(coordinates, weights)

    def features(self, coordinates: Tensor, weights: Tensor) -> Tensor:
        """float32 [R, D]: appearance numbers are rendered, then mapped."""
        appearance = rendered(self.field.appearance(coordinates.flatten(0, 1)), weights)
        return appearance @ self.head.weight.T + weights.sum(dim=-1, keepdim=True) * self.head.bias

    def selection(self, coordinates: Tensor, weights: Tensor) -> Tensor | None:
        """float32 [R, S], softmax of rendered values of (0, 1), as released: no share exceeds e / (e + S - 1). None without."""
        if not self.scales:
            return None
        values = self.selection_head(self.selection_grid(coordinates.flatten(0, 1))).sigmoid()
        return rendered(values, weights).softmax(dim=-1)

    def at_points(self, coordinates: Tensor) -> Tensor:
        """float32 [P, D], features of single points, float32 [P, 3]."""
        return self.head(self.field.appearance(coordinates))

    def groups(self, grid_rate: float, head_rate: float) -> list[dict]:
        """Parameters that move, with their learning rates; a rate of 0 leaves out what it is for."""
        grids = self.field.appearance_parameters()
        heads = [*self.head.parameters()]
        if self.scales:
            grids = [*grids, *self.selection_grid.parameters()]
            heads += [*self.selection_head.parameters()]
        rates = ((grids, grid_rate), (heads, head_rate))
        return [{"params": parameters, "lr": rate} for parameters, rate in rates if rate > 0 and parameters]


def rendered(values: Tensor, weights: Tensor) -> Tensor:
    """float32 [R, C]: values [R K, C] of samples, summed with their weights [R, K]."""
    return (weights[:, None] @ values.unflatten(0, weights.shape))[:, 0]
