"""What the solvers return: cameras and coefficients of a batch, and for each sample whether to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor


class Status(IntEnum):
    """Outcome of one sample. All but `CONVERGED` carry no gradient and should have no weight in a loss."""

    CONVERGED = 0
    """A strict local minimum, up to rounding."""
    NOT_FINITE = 1
    """A position, a weight or a vertex is NaN or infinite (or beyond 1e15), or a weight is negative."""
    TOO_FEW_POINTS = 2
    """Fewer than four vertices have a weight."""
    FLAT_SHAPE = 3
    """The weighted vertices lie in a plane, on a line or in a point: two cameras fit equally well, or infinitely many."""
    COLLAPSED_POSITIONS = 4
    """All positions are one point: the scale would be 0."""
    AMBIGUOUS = 5
    """The cost does not rise in some direction: the end is a valley or a saddle."""
    NOT_CONVERGED = 6
    """The steps did not suffice."""


@dataclass(frozen=True)
class Fit:
    """Scaled orthographic cameras and deformations of B samples, `u = scale (rotation V)_xy + shift`, V = T + sum_k c_k B_k.

    OpenCV axes: x right, y down, z forward. The camera's frame has no depth: z is known up to a constant.

    Attributes:
        rotation: float [B, 3, 3], template to camera, of determinant 1.
        scale: float [B], above 0, image units per template unit.
        shift: float [B, 2], image units.
        coefficients: float [B, K], c; K = 0 without deformation.
        cost: float [B], sum_i w_i |u_i - pi(V_i)|^2 + gamma |c|^2, weights divided by their sum; no gradient.
        status: int64 [B], a `Status` each.

    A sample without a solution (not finite, too few points, collapsed positions) has the cost infinity; `solve_camera` and
    `solve_deformation` give it the identity, the scale 1, the shift 0 and the coefficients 0. Of the others that did not
    converge the best camera so far is told, without gradient.
    """

    rotation: Tensor
    scale: Tensor
    shift: Tensor
    coefficients: Tensor
    cost: Tensor
    status: Tensor

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def converged(self) -> Tensor:
        """bool [B]."""
        return self.status == Status.CONVERGED

    def project(self, vertices: Tensor) -> Tensor:
        """float [B, N, 3]: image positions (x, y), and depth in the same unit (z grows away from the camera).

        Args:
            vertices: float [N, 3] or [B, N, 3].
        """
        turned = vertices @ self.rotation.transpose(1, 2) * self.scale[:, None, None]
        return turned + torch.nn.functional.pad(self.shift, (0, 1))[:, None]


def deform(template: Tensor, basis: Tensor | None, coefficients: Tensor) -> Tensor:
    """float [B, N, 3], T + sum_k c_k B_k.

    Args:
        template: float [N, 3].
        basis: float [K, N, 3]; None: K = 0.
        coefficients: float [B, K].
    """
    if basis is None:
        return template.expand(len(coefficients), -1, -1)
    return template + torch.einsum("bk,knd->bnd", coefficients, basis)
