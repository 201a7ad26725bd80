"""The solver of To The Point's released code, to compare with: L-BFGS from a random rotation, alternating with the deformation.

It differs from `solve_camera` and `solve_deformation` in what it minimises and in how it differentiates:

- the scale is not solved for but set to the standard deviation of all 2 N coordinates of the positions (`scale="deviation"`),
  which no camera of a shape has in general: exact correspondences give a wrong rotation;
- all samples of a batch are one problem of L-BFGS, so one sample's steps depend on the others;
- weights multiply the residuals, so they count squared, and only for the camera;
- camera and coefficients are minimised by turns, a few rounds; the coefficients' cost is a sum over vertices;
- the camera's gradient reaches positions, scale and weights, not the vertices, and each column of its Jacobian is cut off.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from mvdecor.solvers.camera import NO_SOLUTION, affine_start
from mvdecor.solvers.conditions import checked, settled
from mvdecor.solvers.fit import Fit, deform
from mvdecor.solvers.minimize import Derivatives, rotations
from mvdecor.solvers.moments import moments_of

LONGEST_COLUMN = 100.0  # of the Jacobian of the pose
LAST_STEP = 1e-2  # radians and template units that L-BFGS may leave; its own tolerances are on the batch's mean cost
ITERATIONS = 100

Scale = Literal["deviation", "free"]
Start = Literal["random", "affine"]


def solve_released(
    positions: Tensor,
    weights: Tensor | None,
    template: Tensor,
    basis: Tensor | None = None,
    ridge: Tensor | float = 1.0,
    rounds: int = 4,
    scale: Scale = "deviation",
    start: Start = "random",
    generator: torch.Generator | None = None,
) -> Fit:
    """Camera, and coefficients if there is a basis, as the released code finds them.

    Args:
        positions: float [B, N, 2].
        weights: float [B, N]; None: all 1.
        template: float [N, 3].
        basis: float [K, N, 3]; None: the camera alone.
        ridge: weight of |c|^2 against the sum over vertices of the squared residuals; the released code learns its logarithm.
        rounds: camera, then coefficients, so often.
        scale: "free": solved for with the rotation, as it should be.
        start: of the first round: a rotation vector uniform in [0, 1)^3, or the affine camera of `solve_camera`.
        generator: of the random start, on the CPU.

    Returns:
        the `Fit` [B], of the type of `positions`, in which it also computes; `cost` is the mean over vertices of the squared
        weighted residuals.
    """
    inputs = checked(positions, weights, template, basis)
    u, w, t = inputs.positions, inputs.weights.to(positions), inputs.template.to(positions)
    pose = _start(u, w, t, scale, start, generator)
    intrinsics = _intrinsics(u)
    vertices = t.expand(len(u), -1, -1)
    coefficients = u.new_zeros(len(u), 0 if basis is None else len(basis))
    for _ in range(rounds if basis is not None else 1):
        pose = _lbfgs(pose.detach(), u.detach(), intrinsics.detach(), w.detach(), vertices.detach())
        pose = _ReleasedGradient.apply(pose, u, intrinsics, w, vertices.detach())
        if inputs.basis is not None:
            coefficients = _coefficients(pose, u, intrinsics, t, inputs.basis.to(positions), ridge)
            vertices = deform(t, inputs.basis.to(positions), coefficients)
    cost = _costs(pose, u, intrinsics, w, vertices).detach() / u.shape[1]
    status = _status(inputs.status, pose, u, intrinsics, w, vertices)
    rotation, factor, shift = _camera(pose, intrinsics)
    without = (status[:, None] == torch.tensor(NO_SOLUTION, device=status.device)).any(dim=1)
    return Fit(rotation, factor, shift, coefficients, torch.where(without, torch.inf, cost), status)


def _start(u: Tensor, w: Tensor, template: Tensor, scale: Scale, start: Start, generator: Any) -> Tensor:
    """[B, 5] or [B, 6]: rotation vector, shift in template units, logarithm of the scale if that is free."""
    rotation = torch.rand(len(u), 3, generator=generator).to(u)
    columns = [rotation, u.new_zeros(len(u), 2)]
    if start == "affine":
        pose, _ = affine_start(moments_of(u.detach(), w.detach(), template.detach()))
        columns[0] = _rotation_vectors(pose.rotation).to(u)
    if scale == "free":
        columns.append(u.new_zeros(len(u), 1))
    return torch.cat(columns, dim=1)


def _intrinsics(u: Tensor) -> Tensor:
    """[B, 3]: scale and the two means of the positions. A free scale is relative to the deviation."""
    return torch.cat([u.flatten(1).std(dim=1, keepdim=True), u.mean(dim=1)], dim=1)


def _camera(pose: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation [B, 3, 3], scale [B], shift [B, 2]."""
    factor = intrinsics[:, 0] * (pose[:, 5].exp() if pose.shape[1] == 6 else 1.0)
    return rotations(pose[:, :3]), factor, factor[:, None] * pose[:, 3:5] + intrinsics[:, 1:]


def _costs(pose: Tensor, u: Tensor, intrinsics: Tensor, w: Tensor, vertices: Tensor) -> Tensor:
    """[B], sum_i |w_i (pi(V_i) - u_i)|^2."""
    rotation, factor, shift = _camera(pose, intrinsics)
    projected = vertices @ rotation[:, :2].transpose(1, 2) * factor[:, None, None] + shift[:, None]
    return (w[..., None] * (projected - u)).square().sum(dim=(1, 2))


def _lbfgs(pose: Tensor, u: Tensor, intrinsics: Tensor, w: Tensor, vertices: Tensor) -> Tensor:
    pose = pose.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [pose], lr=1.0, max_iter=ITERATIONS, tolerance_grad=1e-7, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            cost = _costs(pose, u, intrinsics, w, vertices).mean()
            cost.backward()
        return cost

    optimizer.step(closure)
    return pose.detach()


def _coefficients(pose: Tensor, u: Tensor, intrinsics: Tensor, template: Tensor, basis: Tensor, ridge: Any) -> Tensor:
    """[B, K], (ridge I + G G^T)^-1 G (u - pi(T)) with G the projected basis; no weights."""
    rotation, factor, shift = _camera(pose, intrinsics)
    rows = factor[:, None, None] * rotation[:, :2]
    residual = (u - template @ rows.transpose(1, 2) - shift[:, None]).flatten(1)
    projected = torch.einsum("bia,kna->bkni", rows, basis).flatten(2)
    unit = torch.eye(len(basis), dtype=u.dtype, device=u.device)
    normal = ridge * unit + projected @ projected.transpose(1, 2)
    return torch.linalg.solve(normal, projected @ residual[..., None])[..., 0]


def _second_derivatives(
    pose: Tensor, u: Tensor, intrinsics: Tensor, w: Tensor, vertices: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Of the costs: gradient [B, P], Hessian [B, P, P], and the gradient's derivatives [B, P, ...] by u, intrinsics and w."""
    pose, u, intrinsics, w = leaves = [x.detach().requires_grad_() for x in (pose, u, intrinsics, w)]
    with torch.enable_grad():
        costs = _costs(pose, u, intrinsics, w, vertices.detach())
        (gradient,) = torch.autograd.grad(costs.sum(), pose, create_graph=True)
        rows = [torch.autograd.grad(column.sum(), leaves, retain_graph=True) for column in gradient.unbind(1)]
    hessian, *mixed = (torch.stack(parts, dim=1) for parts in zip(*rows, strict=True))
    return gradient.detach(), (hessian + hessian.transpose(1, 2)) / 2, mixed


class _ReleasedGradient(torch.autograd.Function):
    """The identity on a pose, whose gradient is that of the minimum by positions, intrinsics and weights, cut off."""

    @staticmethod
    def forward(ctx: Any, pose: Tensor, u: Tensor, intrinsics: Tensor, w: Tensor, vertices: Tensor) -> Tensor:
        ctx.save_for_backward(pose, u, intrinsics, w, vertices)
        return pose.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to u, intrinsics and w by the released code's damped inverse; none to the vertices."""
        _, hessian, mixed = _second_derivatives(*ctx.saved_tensors)
        gradients = []
        for part in mixed:
            jacobian = -torch.linalg.lstsq(hessian, part.flatten(2)).solution.nan_to_num(0.0, 0.0, 0.0)
            norm = jacobian.norm(dim=1, keepdim=True)
            jacobian = jacobian * (LONGEST_COLUMN / (norm + 1e-6)).clamp_max(1.0)
            gradients.append(torch.einsum("bp,bpn->bn", grad_outputs[0], jacobian).view(part[:, 0].shape))
        return None, *gradients, None


def _status(status: Tensor, pose: Tensor, *problem: Tensor) -> Tensor:
    gradient, hessian, _ = _second_derivatives(pose, *problem)
    local = Derivatives(gradient.double(), hessian.double(), hessian.double().abs())
    return settled(local, status, gradient[:, :0], LAST_STEP)


def _rotation_vectors(rotation: Tensor) -> Tensor:
    """[B, 3] of rotations [B, 3, 3], by the quaternion's greatest component."""
    outer = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(len(rotation), 1, 1)
    skew = rotation - rotation.transpose(1, 2)
    trace = rotation.diagonal(dim1=1, dim2=2).sum(dim=1)
    outer[:, 0, 0] = 1 + trace
    outer[:, 1:, 1:] = rotation + rotation.transpose(1, 2) + outer[:, 1:, 1:] * (1 - trace)[:, None, None]
    outer[:, 0, 1:] = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
    outer[:, 1:, 0] = outer[:, 0, 1:]
    values = outer.norm(dim=2)
    row = outer[torch.arange(len(outer), device=outer.device), values.argmax(dim=1)]
    quaternion = row / row.norm(dim=1, keepdim=True)
    quaternion = torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)
    length = quaternion[:, 1:].norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2(length, quaternion[:, :1])
    return quaternion[:, 1:] * torch.where(length > 1e-12, angle / length.clamp_min(1e-300), 2.0)
