"""Camera and deformation of correspondences, solved for together."""

from __future__ import annotations

from torch import Tensor

from mvdecor.solvers.camera import affine_start, finished
from mvdecor.solvers.conditions import checked, degenerate
from mvdecor.solvers.fit import Fit
from mvdecor.solvers.minimize import Pose, minimize
from mvdecor.solvers.moments import moments_of

STEPS = 120


def solve_deformation(
    positions: Tensor,
    weights: Tensor | None,
    template: Tensor,
    basis: Tensor,
    gamma: float = 1e-4,
    steps: int = STEPS,
    damping: float = 0.0,
) -> Fit:
    """Minimise sum_i w_i |u_i - pi(T_i + sum_k c_k B_ki)|^2 + gamma |c|^2 over the camera and c (To The Point, section 3).

    Weights are divided by their sum, so gamma means the same for any number of vertices. The camera of the rigid template
    starts Levenberg-Marquardt over all 6 + K unknowns. Exactly differentiable in u, w, T and B.

    Args:
        positions: float [B, N, 2], image positions u.
        weights: float [B, N], at least 0; None: all 1.
        template: float [N, 3].
        basis: float [K, N, 3].
        gamma: above 0. A small one lets the shape bend to explain what the camera should.
        steps: of Levenberg-Marquardt, at most; most samples need about 16.
        damping: of the gradient, see `implicit_step`; 0: exact.

    Returns:
        the `Fit` [B], of the type of `positions`; computed in float64. No sample raises an error: see `Fit.status`.
    """
    assert gamma > 0, "gamma must be above 0"
    inputs = checked(positions, weights, template, basis)
    moments = moments_of(inputs.positions, inputs.weights, inputs.template, inputs.basis)
    constant = moments.detach()
    rigid = constant.template_only()
    start, spread = affine_start(rigid)
    status = degenerate(rigid, inputs.status, spread)
    camera = minimize(rigid, start, 0.0, steps)
    start = Pose(camera.rotation, camera.scale, camera.rotation.new_zeros(len(camera.scale), len(basis)))
    return finished(moments, minimize(constant, start, gamma, steps), status, gamma, damping, positions.dtype)
