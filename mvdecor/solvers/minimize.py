"""Levenberg-Marquardt over camera and deformation coefficients, on the moments of the correspondences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.solvers.moments import Moments

FIRST_DAMPING = 1e-3
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e12
ROUND = 6  # steps between two looks at which samples still move
STILL = 1e-9  # greatest step (radians, relative scale, coefficients) of a sample that no longer moves
SLACK = 1e-15  # of the positions' second moment: how far rounding may raise the cost of an accepted step
LEAST_FACTOR = 0.1  # a step shrinks the scale to no less than this, so it stays positive


@dataclass(frozen=True)
class Pose:
    """A scaled orthographic camera and deformation coefficients of B samples; the shift follows from them in closed form.

    Attributes:
        rotation: float64 [B, 3, 3], world to camera.
        scale: float64 [B], above 0.
        coefficients: float64 [B, K].
    """

    rotation: Tensor
    scale: Tensor
    coefficients: Tensor

    def moved(self, step: Tensor) -> Pose:
        """After a step [B, 4 + K]: rotation vector in the template's frame, relative change of scale, coefficients."""
        return Pose(
            self.rotation @ rotations(step[:, :3]),
            self.scale * (1 + step[:, 3]).clamp_min(LEAST_FACTOR),
            self.coefficients + step[:, 4:],
        )

    def at(self, index: Tensor) -> Pose:
        """Those of some samples."""
        return Pose(self.rotation[index], self.scale[index], self.coefficients[index])

    def replaced(self, index: Tensor, poses: Pose) -> Pose:
        """With those of some samples replaced."""
        return Pose(
            self.rotation.index_copy(0, index, poses.rotation),
            self.scale.index_copy(0, index, poses.scale),
            self.coefficients.index_copy(0, index, poses.coefficients),
        )

    def where(self, mask: Tensor, alternative: Pose) -> Pose:
        """This where the mask [B] is True, the other elsewhere."""
        return Pose(
            torch.where(mask[:, None, None], self.rotation, alternative.rotation),
            torch.where(mask, self.scale, alternative.scale),
            torch.where(mask[:, None], self.coefficients, alternative.coefficients),
        )


@dataclass(frozen=True)
class Derivatives:
    """Of half the cost with respect to a step [B, P], P = 4 + K, at the step 0; see `Pose.moved`.

    Attributes:
        gradient: float64 [B, P].
        hessian: float64 [B, P, P], exact.
        gauss_newton: float64 [B, P, P], the Hessian without its second derivatives of the residuals; never indefinite.
    """

    gradient: Tensor
    hessian: Tensor
    gauss_newton: Tensor


def cost_of(moments: Moments, pose: Pose, gamma: float) -> Tensor:
    """float64 [B], sum_i w_i |u_i - pi(V_i)|^2 + gamma |c|^2 with the best shift; never below 0."""
    projected, residual = _residual_moments(moments, pose)
    cost = moments.image + ((residual - moments.mixed) * projected).sum(dim=(1, 2, 3))
    return cost.clamp_min(0) + gamma * pose.coefficients.square().sum(dim=1)


def derivatives(moments: Moments, pose: Pose, gamma: float) -> Derivatives:
    """Gradient and Hessian of half the cost; both are differentiable in the moments."""
    scaled = pose.scale[:, None, None] * pose.rotation[:, :2]
    mix = _with_one(pose.coefficients)
    _, residual = _residual_moments(moments, pose)
    pulled = torch.einsum("bia,bikd->bkad", scaled, residual)  # scaled^T of each residual moment
    total = torch.einsum("bk,bkad->bad", mix, pulled)
    gradient = torch.cat([_axial(total), _trace(total)[:, None], _trace(pulled[:, 1:]) + gamma * pose.coefficients], 1)
    gauss_newton = _gauss_newton(moments, scaled, mix, gamma)
    hessian = gauss_newton + _second_order(total, pulled[:, 1:])
    return Derivatives(gradient, hessian, gauss_newton)


def minimize(moments: Moments, start: Pose, gamma: float, steps: int) -> Pose:
    """At most so many Levenberg-Marquardt steps from a start; the cost of a sample never rises beyond rounding.

    The exact Hessian is used where it is positive definite, the Gauss-Newton matrix elsewhere. Every `ROUND` steps the
    samples that no longer move are left alone, so that a few slow ones cost little.
    """
    pose, damping = start, torch.full_like(start.scale, FIRST_DAMPING)
    moving = torch.arange(len(moments), device=damping.device)
    for first in range(0, steps, ROUND):
        of_moving, moving_pose = moments.at(moving), pose.at(moving)
        moving_pose, of_damping, still = _round(
            of_moving, moving_pose, damping[moving], gamma, min(ROUND, steps - first)
        )
        pose, damping = pose.replaced(moving, moving_pose), damping.index_copy(0, moving, of_damping)
        moving = moving[~still]
        if len(moving) == 0:
            break
    return pose


def _round(moments: Moments, pose: Pose, damping: Tensor, gamma: float, steps: int) -> tuple[Pose, Tensor, Tensor]:
    """So many steps; pose, damping, and whether [B] the last step was too short to matter."""
    cost = cost_of(moments, pose, gamma)
    still = torch.zeros_like(cost, dtype=torch.bool)
    for _ in range(steps):
        step = -_damped_solve(derivatives(moments, pose, gamma), damping)
        still = (step.abs().amax(dim=1) <= STILL) & (damping <= FIRST_DAMPING)
        proposal = pose.moved(step)
        new_cost = cost_of(moments, proposal, gamma)
        better = new_cost <= cost + SLACK * moments.image
        pose, cost = proposal.where(better, pose), torch.where(better, new_cost, cost)
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(LEAST_DAMPING, MOST_DAMPING)
    return pose, damping, still


def shift_of(moments: Moments, pose: Pose) -> Tensor:
    """float64 [B, 2], the best shift: it takes the projected mean of the shape to the mean of the positions."""
    mean = torch.einsum("bk,bka->ba", _with_one(pose.coefficients), moments.shape_mean)
    return moments.image_mean - pose.scale[:, None] * torch.einsum("bia,ba->bi", pose.rotation[:, :2], mean)


def rotations(vectors: Tensor) -> Tensor:
    """[B, 3, 3] of rotation vectors [B, 3] (Rodrigues); smooth at 0, where its derivative is the cross product."""
    square = vectors.square().sum(dim=1)
    angle = square.clamp_min(1e-24).sqrt()
    sine, versine = (angle.sin() / angle)[:, None, None], ((1 - angle.cos()) / angle.square())[:, None, None]
    cross = cross_matrices(vectors)
    # 1 - cos cancels at small angles
    versine = torch.where(angle[:, None, None] < 1e-4, 0.5 - square[:, None, None] / 24, versine)
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) + sine * cross + versine * (cross @ cross)


def cross_matrices(vectors: Tensor) -> Tensor:
    """[B, 3, 3] whose product with x is the cross product of a vector [B, 3] with x."""
    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)


def _residual_moments(moments: Moments, pose: Pose) -> tuple[Tensor, Tensor]:
    """[B, 2, J, 3], the camera's factors of the stack, and sum_i w_i r_i X_i^T of the residuals r = pi(V) - u."""
    mix = _with_one(pose.coefficients)
    scaled = pose.scale[:, None, None] * pose.rotation[:, :2]
    projected = scaled[:, :, None] * mix[:, None, :, None]
    b, j = mix.shape
    product = projected.reshape(b, 2, 3 * j) @ moments.shape.reshape(b, 3 * j, 3 * j)
    return projected, product.view(b, 2, j, 3) - moments.mixed


def _gauss_newton(moments: Moments, scaled: Tensor, mix: Tensor, gamma: float) -> Tensor:
    partly = torch.einsum("bj,bjakd->bakd", mix, moments.shape)
    inner = torch.einsum("bakd,bk->bad", partly, mix)
    turns = torch.eye(3, dtype=scaled.dtype, device=scaled.device)
    factors = torch.cat([scaled[:, None] @ cross_matrices(turns), scaled[:, None]], dim=1)  # [B, 4, 2, 3]
    of_camera = torch.einsum("bpia,bad,bqid->bpq", factors, inner, factors)
    if mix.shape[1] == 1:
        return of_camera
    crossed = torch.einsum("bpia,bakd,bid->bpk", factors, partly[:, :, 1:], scaled)
    square = scaled.transpose(1, 2) @ scaled
    of_basis = torch.einsum("bkald,bad->bkl", moments.shape[:, 1:, :, 1:], square)
    of_basis = of_basis + gamma * torch.eye(of_basis.shape[1], dtype=scaled.dtype, device=scaled.device)
    return torch.cat([torch.cat([of_camera, crossed], 2), torch.cat([crossed.transpose(1, 2), of_basis], 2)], 1)


def _second_order(total: Tensor, pulled: Tensor) -> Tensor:
    """The residuals' second derivatives, weighted with the residuals: [B, P, P]."""
    b, k = pulled.shape[:2]
    turn = _axial(total)
    unit = torch.eye(3, dtype=total.dtype, device=total.device)
    turns = (total + total.transpose(1, 2)) / 2 - unit * _trace(total)[:, None, None]
    of_basis = torch.cat([_axial(pulled), _trace(pulled)[..., None]], dim=2)  # [B, K, 4]
    camera = torch.cat(
        [torch.cat([turns, turn[:, :, None]], 2), torch.cat([turn, torch.zeros_like(turn[:, :1])], 1)[:, None]], 1
    )
    if k == 0:
        return camera
    corner = total.new_zeros(b, k, k)
    return torch.cat([torch.cat([camera, of_basis.transpose(1, 2)], 2), torch.cat([of_basis, corner], 2)], 1)


def _damped_solve(local: Derivatives, damping: Tensor) -> Tensor:
    """(H + damping D)^-1 g, D the diagonal of the Gauss-Newton matrix."""
    diagonal = local.gauss_newton.diagonal(dim1=1, dim2=2)
    floor = 1e-12 * diagonal.amax(dim=1, keepdim=True).clamp_min(1e-30)
    ridge = torch.diag_embed(damping[:, None] * diagonal + floor)
    exact, failed = torch.linalg.cholesky_ex(local.hessian + ridge)
    safe, broken = torch.linalg.cholesky_ex(local.gauss_newton + ridge)
    factor = torch.where((failed == 0)[:, None, None], exact, safe)
    usable = (failed == 0) | (broken == 0)
    unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    factor = torch.where(usable[:, None, None], factor, unit)
    step = torch.cholesky_solve(local.gradient[..., None], factor)[..., 0]
    return torch.where(usable[:, None], step, torch.zeros_like(step))


def _with_one(coefficients: Tensor) -> Tensor:
    """[B, J], the factors of the stack: 1 for the template, then the coefficients."""
    return torch.cat([coefficients.new_ones(len(coefficients), 1), coefficients], dim=1)


def _axial(matrix: Tensor) -> Tensor:
    """[..., 3], inner products of [..., 3, 3] with the cross product matrices of the axes."""
    return torch.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        dim=-1,
    )


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
