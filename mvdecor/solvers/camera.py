"""The scaled orthographic camera of correspondences between image positions and vertices."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.solvers.conditions import checked, degenerate, settled
from mvdecor.solvers.fit import Fit, Status
from mvdecor.solvers.implicit import implicit_step
from mvdecor.solvers.minimize import Pose, cost_of, derivatives, minimize, shift_of
from mvdecor.solvers.moments import Moments, moments_of

STEPS = 60
NO_SOLUTION = (Status.NOT_FINITE, Status.TOO_FEW_POINTS, Status.COLLAPSED_POSITIONS)


def solve_camera(
    positions: Tensor,
    weights: Tensor | None,
    vertices: Tensor,
    steps: int = STEPS,
    damping: float = 0.0,
) -> Fit:
    """Minimise sum_i w_i |u_i - (s R V_i + t)_xy|^2 over rotation R, scale s and shift t, exactly differentiable in u, w and V.

    The weighted affine camera is found in closed form, and the scaled orthographic camera nearest to it (by SVD) starts
    Levenberg-Marquardt. The points enter through their moments alone, so the cost of a step does not depend on their number.

    Args:
        positions: float [B, N, 2], image positions u, x to the right and y down.
        weights: float [B, N], at least 0 (visibility, for example); None: all 1.
        vertices: float [N, 3], or [B, N, 3] for shapes that differ.
        steps: of Levenberg-Marquardt, at most; most samples need about 8.
        damping: of the gradient, see `implicit_step`; 0: exact.

    Returns:
        the `Fit` [B] with K = 0, of the type of `positions`; computed in float64. No sample raises an error: see `Fit.status`.
    """
    inputs = checked(positions, weights, vertices, None)
    moments = moments_of(inputs.positions, inputs.weights, inputs.template)
    constant = moments.detach()
    start, spread = affine_start(constant)
    status = degenerate(constant, inputs.status, spread)
    return finished(moments, minimize(constant, start, 0.0, steps), status, 0.0, damping, positions.dtype)


def affine_start(moments: Moments) -> tuple[Pose, Tensor]:
    """The camera nearest to the affine one, and the eigenvalues [B, 3] (ascending) of the template's second moments."""
    second = moments.shape[:, 0, :, 0]
    spread, axes = torch.linalg.eigh((second + second.transpose(1, 2)) / 2)
    spread = spread.clamp_min(0)
    is_spread = spread > 1e-10 * spread[:, 2:]
    inverse = torch.where(is_spread, 1 / torch.where(is_spread, spread, 1.0), 0.0)
    affine = (moments.mixed[:, :, 0] @ axes * inverse[:, None]) @ axes.transpose(1, 2)
    left, values, right = torch.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    rotation = torch.cat([rows, torch.linalg.cross(rows[:, :1], rows[:, 1:])], dim=1)
    scale = values.mean(dim=1).clamp_min(1e-300)
    return Pose(rotation, scale, rotation.new_zeros(len(rotation), 0)), spread


def finished(moments: Moments, pose: Pose, status: Tensor, gamma: float, damping: float, dtype: torch.dtype) -> Fit:
    """The fit at a minimum, with the gradient to the moments where it converged.

    Args:
        moments: with gradients.
        pose: the minimum, without.
        status: int64 [B] so far.
        gamma: weight of the coefficients.
        damping: see `implicit_step`.
        dtype: of the fit.
    """
    constant = moments.detach()
    status = settled(derivatives(constant, pose, gamma), status, pose.coefficients)
    cost = cost_of(constant, pose, gamma)
    local = derivatives(moments, pose, gamma)
    converged = status == Status.CONVERGED
    unit = torch.eye(local.hessian.shape[1], dtype=cost.dtype, device=cost.device)
    gradient = torch.where(converged[:, None], local.gradient, 0.0)
    hessian = torch.where(converged[:, None, None], local.hessian, unit)
    pose = pose.moved(implicit_step(gradient, hessian, damping))
    shift = shift_of(moments, pose)
    without = (status[:, None] == torch.tensor(NO_SOLUTION, device=status.device)).any(dim=1)
    identity = torch.eye(3, dtype=cost.dtype, device=cost.device)
    return Fit(
        rotation=torch.where(without[:, None, None], identity, pose.rotation).to(dtype),
        scale=torch.where(without, 1.0, pose.scale).to(dtype),
        shift=torch.where(converged[:, None], shift, torch.where(without[:, None], 0.0, shift.detach())).to(dtype),
        coefficients=torch.where(without[:, None], 0.0, pose.coefficients).to(dtype),
        cost=torch.where(without, torch.inf, cost).to(dtype),
        status=status,
    )
