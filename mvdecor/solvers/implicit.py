"""The gradient of an argmin by the implicit function theorem, written so that plain autograd finds it.

At a minimum y* of f(y, x), the gradient g(y*, x) = df/dy is 0, and dy*/dx = -H^-1 dg/dx with the Hessian H. The expression
y* - H^-1 g(y*, x), in which y* and H are constants, has the value y* and just this derivative (Gould et al. 2019,
"Deep Declarative Networks", proposition 4.6). It is one Newton step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def implicit_step(gradient: Tensor, hessian: Tensor, damping: float = 0.0) -> Tensor:
    """[B, P], the step -H^-1 g to add to a minimum: of value 0 there, with the minimum's derivative.

    Args:
        gradient: [B, P], the objective's gradient at the minimum, as a differentiable function of whatever the minimum
            depends on.
        hessian: [B, P, P], the objective's exact Hessian at the minimum, taken as constant; positive definite if damping is 0.
        damping: eigenvalues of the Hessian below this share of the greatest are raised to it, so that the gradient stays
            bounded where the minimum is nearly a valley. 0: exact.
    """
    hessian = hessian.detach()
    if damping == 0:
        return -torch.linalg.solve(hessian, gradient[..., None])[..., 0]
    values, vectors = torch.linalg.eigh(hessian)
    floor = damping * values[:, -1:].abs().clamp_min(torch.finfo(values.dtype).tiny)
    turned = (vectors.transpose(1, 2) @ gradient[..., None])[..., 0] / torch.maximum(values, floor)
    return -(vectors @ turned[..., None])[..., 0]


def implicit_gradient(objective: Callable[[Tensor], Tensor], minimum: Tensor, damping: float = 0.0) -> Tensor:
    """[B, P], the minimum with its exact gradient to whatever the objective depends on; for any objective.

    Args:
        objective: takes [B, P] and gives [B], each value a twice differentiable function of its own row; closes over tensors
            that need gradients.
        minimum: [B, P], a minimum of each row, found by any means.
        damping: see `implicit_step`.
    """
    point = minimum.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(objective(point).sum(), point, create_graph=True)
    units = torch.eye(point.shape[1], dtype=point.dtype, device=point.device)
    rows = [torch.autograd.grad(gradient, point, unit.expand_as(gradient), retain_graph=True)[0] for unit in units]
    return minimum.detach() + implicit_step(gradient, torch.stack(rows, dim=1), damping)
