"""Random smooth deformations of a template, and the vectors that span them best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.shapes.template import Template


@dataclass(frozen=True)
class Deformations:
    """How a template is deformed at random; each is a standard deviation.

    Attributes:
        stretch: of the logarithm of the scale along each axis.
        bend: of the angle, in radians per radius, by which the shape is bent and twisted about each axis.
        waves: of the displacement, in radii, by three smooth waves; symmetric if the template is.
    """

    stretch: float = 0.15
    bend: float = 0.3
    waves: float = 0.06

    def __call__(self, template: Template, generators: Sequence[torch.Generator]) -> Tensor:
        """float32 [B, V, 3], the vertices of deformed templates, each by a generator of its own.

        Args:
            template: on the CPU.
            generators: of the CPU; one that comes twice goes on.
        """
        vertices, mirror = template.shape.vertices, template.mirror
        drawn = [self._draw(generator) for generator in generators]
        frequency, phase, amplitude, stretch, angles = (torch.stack(x) for x in zip(*drawn, strict=True))
        phase_space = vertices.clone()
        if mirror is not None:
            phase_space[:, mirror.axis] = phase_space[:, mirror.axis].abs()
        displacement = (phase_space @ frequency.transpose(1, 2) + phase[:, None]).sin() @ amplitude
        if mirror is not None:  # towards the plane on both sides, and not across it
            displacement[..., mirror.axis] *= vertices[:, mirror.axis].clamp(-0.2, 0.2) / 0.2
        deformed = (vertices + displacement) * stretch.exp()[:, None]
        for around in range(3):
            for along in range(3):
                deformed = _bent(deformed, around, along, angles[:, around, along] / 2)
        return deformed

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Frequencies [3, 3], phases [3] and amplitudes [3, 3] of the waves, stretches [3], angles [3, 3]."""
        return (
            1.5 * torch.randn(3, 3, generator=generator),
            2 * math.pi * torch.rand(3, generator=generator),
            self.waves * torch.randn(3, 3, generator=generator),
            self.stretch * torch.randn(3, generator=generator),
            self.bend * torch.randn(3, 3, generator=generator),
        )


def _bent(vertices: Tensor, around: int, along: int, angles: Tensor) -> Tensor:
    """Vertices [B, V, 3] turned about an axis by an angle [B] that grows along another (or the same: a twist)."""
    turn = angles[:, None] * vertices[..., along]
    a, b = (around + 1) % 3, (around + 2) % 3
    cosine, sine = turn.cos(), turn.sin()
    bent = vertices.clone()
    bent[..., a] = cosine * vertices[..., a] - sine * vertices[..., b]
    bent[..., b] = sine * vertices[..., a] + cosine * vertices[..., b]
    return bent


def principal_deformations(
    template: Template, deformations: Deformations, count: int, generator: torch.Generator, samples: int = 400
) -> Tensor:
    """float32 [count, V, 3], the principal components of random deformations, each of the length of a standard deviation.

    So coefficients of random deformations have about unit variance. Scale, rotation and shift of the whole, which are the
    camera's, are taken out by a similarity alignment first.
    """
    target = template.shape.vertices - template.shape.vertices.mean(dim=0)
    rows = []
    for vertices in deformations(template, [generator] * samples):
        vertices = vertices - vertices.mean(dim=0)
        left, values, right = torch.linalg.svd(vertices.T @ target)
        sign = torch.ones(3)
        sign[2] = torch.linalg.det(left @ right).sign()
        scale = (values * sign).sum() / vertices.square().sum()
        rows.append((scale * vertices @ (left * sign) @ right - target).flatten())
    matrix = torch.stack(rows)
    matrix = matrix - matrix.mean(dim=0)
    _, values, components = torch.linalg.svd(matrix, full_matrices=False)
    return (values[:count, None] / math.sqrt(samples) * components[:count]).view(count, -1, 3)
