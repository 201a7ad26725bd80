"""Which samples of a batch have a solution: checked before solving and after, each sample for itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.solvers.fit import Status
from mvdecor.solvers.minimize import Derivatives
from mvdecor.solvers.moments import Moments

LARGEST = 1e15  # greater numbers lose the camera in rounding, and their fourth powers overflow
LEAST_POINTS = 4
FLAT = 1e-6  # least share of the smallest second moment of the shape in the greatest: a thousandth of the length
COLLAPSED = 1e-12  # least share of the positions' variance in their second moment: rounding of float32 leaves 1e-14
VALLEY = 1e-8  # least eigenvalue of the Hessian, scaled to a unit diagonal of the Gauss-Newton matrix
LAST_STEP = 1e-5  # greatest Newton step left at convergence: radians, relative scale, coefficients over their size


@dataclass(frozen=True)
class Correspondences:
    """Inputs in which samples without a solution are replaced by harmless numbers.

    Attributes:
        positions: float [B, N, 2].
        weights: float [B, N].
        template: float [N, 3] or [B, N, 3].
        basis: float [K, N, 3] or None.
        status: int64 [B], `Status` so far.
    """

    positions: Tensor
    weights: Tensor
    template: Tensor
    basis: Tensor | None
    status: Tensor


def checked(positions: Tensor, weights: Tensor | None, template: Tensor, basis: Tensor | None) -> Correspondences:
    """The correspondences with a status per sample; nothing that is not finite gets any further, forward or backward."""
    b, n = positions.shape[:2]
    if weights is None:
        weights = positions.new_ones(b, n)
    finite = _are_usable(positions) & _are_usable(weights) & (weights.amin(dim=1) >= 0)
    if template.ndim == 3:
        of_shape = _are_usable(template)
        template = torch.where(of_shape[:, None, None], template, _harmless(n, template))
    else:
        of_shape = _are_usable(template[None])[0]
        of_shape = of_shape if basis is None else of_shape & _are_usable(basis[None])[0]
        template = torch.where(of_shape, template, _harmless(n, template))
        basis = None if basis is None else torch.where(of_shape, basis, torch.zeros_like(basis))
    finite = finite & of_shape
    enough = (weights > 0).sum(dim=1) >= LEAST_POINTS
    status = torch.where(enough, Status.CONVERGED, Status.TOO_FEW_POINTS)
    status = torch.where(finite, status, Status.NOT_FINITE)
    usable = status == Status.CONVERGED
    positions = torch.where(usable[:, None, None], positions, _harmless(n, positions)[:, :2])
    weights = torch.where(usable[:, None], weights, torch.ones_like(weights))
    return Correspondences(positions, weights, template, basis, status)


def degenerate(moments: Moments, status: Tensor, spread: Tensor) -> Tensor:
    """The status with flat shapes and collapsed positions entered.

    Args:
        moments: of the samples.
        status: int64 [B].
        spread: float64 [B, 3], eigenvalues of the template's second moments, ascending.
    """
    magnitude = moments.image + moments.image_mean.square().sum(dim=1)
    collapsed = moments.image <= COLLAPSED * magnitude
    flat = spread[:, 0] <= FLAT * spread[:, 2]
    usable = status == Status.CONVERGED
    status = torch.where(usable & flat, Status.FLAT_SHAPE, status)
    return torch.where(usable & collapsed, Status.COLLAPSED_POSITIONS, status)


def settled(local: Derivatives, status: Tensor, coefficients: Tensor, last_step: float = LAST_STEP) -> Tensor:
    """The status after solving: a strict minimum, a valley, or not there yet.

    Args:
        local: derivatives at the solution.
        status: int64 [B].
        coefficients: float64 [B, K].
        last_step: greatest Newton step left at convergence.
    """
    diagonal = local.gauss_newton.diagonal(dim1=1, dim2=2)
    diagonal = torch.maximum(diagonal, 1e-12 * diagonal.amax(dim=1, keepdim=True)).clamp_min(1e-200)
    root = diagonal.rsqrt()
    scaled = root[:, :, None] * local.hessian * root[:, None]
    finite = scaled.flatten(1).isfinite().all(1) & local.gradient.isfinite().all(1)
    unit = torch.eye(scaled.shape[1], dtype=scaled.dtype, device=scaled.device)
    values, vectors = torch.linalg.eigh(torch.where(finite[:, None, None], scaled, unit))
    strict = finite & (values[:, 0] > VALLEY)
    turned = (vectors.transpose(1, 2) @ (root * local.gradient)[..., None])[..., 0] / values.clamp_min(VALLEY)
    step = root * (vectors @ turned[..., None])[..., 0]
    if coefficients.shape[1]:
        size = 1 + coefficients.abs().amax(dim=1, keepdim=True)
        step = torch.cat([step[:, :4], step[:, 4:] / size], dim=1)
    arrived = step.abs().amax(dim=1) <= last_step
    usable = status == Status.CONVERGED
    status = torch.where(usable & ~arrived, Status.NOT_CONVERGED, status)
    return torch.where(usable & ~strict, Status.AMBIGUOUS, status)


def _are_usable(values: Tensor) -> Tensor:
    """bool [B], whether all values [B, ...] of a sample are finite and not too large."""
    return values.detach().flatten(1).abs().amax(dim=1) <= LARGEST  # False for NaN


def _harmless(n: int, like: Tensor) -> Tensor:
    """[n, 3] points in general position."""
    index = torch.arange(n, dtype=like.dtype, device=like.device)
    return torch.stack([index.cos(), (1.7 * index).sin(), (0.6 * index * index).cos()], dim=1)
