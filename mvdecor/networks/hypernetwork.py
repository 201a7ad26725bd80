"""A hypernetwork: a latent code becomes the weights of a small network (Sitzmann et al. 2019, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

LayerWeights = list[tuple[Tensor, Tensor]]
"""For each layer its weights float [B, out, in] and biases float [B, out], of B networks."""


class Hypernetwork(nn.Module):
    """One MLP per layer of the small network gives that layer's weights and biases.

    Args:
        code_size: Z.
        sizes: widths of the small network, input first: S layers have S + 1.
        width: hidden width of each MLP.
        hidden_layers: further hidden layers of each MLP beside the first.
    """

    def __init__(self, code_size: int, sizes: Sequence[int], width: int = 256, hidden_layers: int = 1) -> None:
        super().__init__()
        self.shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.mlps = nn.ModuleList(
            _mlp(code_size, width, hidden_layers, outputs * inputs + outputs) for outputs, inputs in self.shapes
        )

    def forward(self, codes: Tensor) -> LayerWeights:
        """Codes [B, Z] to the weights of B networks."""
        layers = []
        for mlp, (outputs, inputs) in zip(self.mlps, self.shapes, strict=True):
            weights, biases = mlp(codes).split([outputs * inputs, outputs], dim=-1)
            layers.append((weights.unflatten(-1, (outputs, inputs)), biases))
        return layers


def apply_layers(layers: LayerWeights, values: Tensor) -> Tensor:
    """Values [B, R, in] through B networks to [B, R, out]: each layer is linear, normalised over its width, and rectified."""
    for weights, biases in layers:
        values = torch.baddbmm(biases[:, None], values, weights.transpose(1, 2))
        values = layer_norm(values, values.shape[-1:]).relu()
    return values


def _mlp(inputs: int, width: int, hidden_layers: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in [inputs, *[width] * hidden_layers]:
        layers += [nn.Linear(size, width), nn.LayerNorm(width), nn.ReLU()]
    last = nn.Linear(width, outputs)
    for layer in (*layers, last):
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        last.weight *= 0.1  # the small networks begin nearly alike
    return nn.Sequential(*layers, last)
