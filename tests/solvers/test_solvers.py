"""Cameras and deformations from correspondences, against SciPy, other starts, finite differences and each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from mvdecor.solvers import Fit, Status, deform, implicit_gradient, solve_camera, solve_deformation, solve_released

K = 16


def rotations(count: int, seed: int) -> Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


def template(vertices: int = 60) -> Tensor:
    """Points of an ellipsoid with a bump, so that no two views of it look the same."""
    points = torch.nn.functional.normalize(
        torch.randn(vertices, 3, generator=torch.Generator().manual_seed(3)).double()
    )
    return points * torch.tensor([0.4, 0.5, 1.0]) + 0.3 * (points[:, 2:] > 0.5) * torch.tensor([0.2, 1.0, 0.3])


def basis(points: Tensor, count: int = K) -> Tensor:
    """Smooth random deformations."""
    noise = torch.randn(count, len(points), 3, generator=torch.Generator().manual_seed(4)).double()
    near = torch.exp(-torch.cdist(points, points).square() / 0.1)
    smooth = torch.einsum("nm,kmd->knd", near / near.sum(1, keepdim=True), noise)
    return 0.05 * smooth / smooth.std()


def problem(batch: int, noise: float, seed: int = 0, deformed: bool = False) -> tuple[Tensor, ...]:
    """Positions [B, N, 2], weights, template, basis, and the true rotation."""
    generator = torch.Generator().manual_seed(seed)
    points, rotation = template(), rotations(batch, seed)
    vectors = basis(points)
    coefficients = torch.randn(batch, K, generator=generator).double() * deformed
    scale = 0.5 + torch.rand(batch, 1, 1, generator=generator).double()
    shift = 0.3 * torch.randn(batch, 1, 2, generator=generator).double()
    exact = scale * (deform(points, vectors, coefficients) @ rotation.transpose(1, 2))[..., :2] + shift
    positions = exact + noise * torch.randn(exact.shape, generator=generator).double()
    return positions, torch.rand(batch, len(points), generator=generator).double(), points, vectors, rotation


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Degrees between rotations, also of less than a thousandth."""
    return 2 * torch.rad2deg(torch.asin((first - second).flatten(1).norm(dim=1) / math.sqrt(8)))


def slow_cost(fit: Fit, positions: Tensor, weights: Tensor, points: Tensor, vectors: Tensor, gamma: float) -> Tensor:
    """The definition, by loops over samples and vertices."""
    costs = []
    for b in range(len(fit)):
        cost, total = gamma * float(fit.coefficients[b].square().sum()), float(weights[b].sum())
        for i in range(len(points)):
            vertex = points[i] + sum(c * vector[i] for c, vector in zip(fit.coefficients[b], vectors, strict=False))
            projected = float(fit.scale[b]) * (fit.rotation[b] @ vertex)[:2] + fit.shift[b]
            cost += float(weights[b, i] / total * (positions[b, i] - projected).square().sum())
        costs.append(cost)
    return torch.tensor(costs, dtype=torch.float64)


def by_scipy(
    positions: Tensor, weights: Tensor, points: Tensor, vectors: Tensor, start: np.ndarray, gamma: float
) -> float:
    """The least cost that SciPy reaches from a start: rotation vector, scale, shift, coefficients."""
    u, v, b = positions.numpy(), points.numpy(), vectors.numpy()
    root = np.sqrt((weights / weights.sum()).numpy())[:, None]

    def residuals(y: np.ndarray) -> np.ndarray:
        rows = y[3] * Rotation.from_rotvec(y[:3]).as_matrix()[:2]
        shape = v + np.tensordot(y[6:], b, 1)
        return np.concatenate([(root * (shape @ rows.T + y[4:6] - u)).ravel(), math.sqrt(gamma) * y[6:]])

    return 2 * least_squares(residuals, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).cost


def test_exact_correspondences_give_the_camera_exactly() -> None:
    positions, weights, points, _, rotation = problem(64, noise=0.0)
    for dtype, most in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        fit = solve_camera(positions.to(dtype), weights.to(dtype), points.to(dtype))
        assert fit.rotation.dtype == dtype and bool(fit.converged.all())
        assert float(angles(fit.rotation.double(), rotation).max()) < most
        torch.testing.assert_close(fit.project(points.to(dtype))[..., :2], positions.to(dtype), rtol=0, atol=1e-5)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_no_other_start_finds_a_better_camera(noise: float) -> None:
    positions, weights, points, vectors, _ = problem(24, noise, seed=1)
    fit = solve_camera(positions, weights, points)
    torch.testing.assert_close(
        fit.cost, slow_cost(fit, positions, weights, points, vectors, 0.0), rtol=1e-9, atol=1e-12
    )
    starts = Rotation.random(24, random_state=2).as_rotvec()
    for b in range(0, len(fit), 4):
        costs = [
            by_scipy(positions[b], weights[b], points, vectors[:0], np.array([*start, 1.0, 0.0, 0.0]), 0.0)
            for start in starts
        ]
        assert float(fit.cost[b]) <= min(costs) * (1 + 1e-6)


def test_joint_solution_is_scipys() -> None:
    positions, weights, points, vectors, rotation = problem(32, 0.05, seed=5, deformed=True)
    fit = solve_deformation(positions, weights, points, vectors, gamma=1e-4)
    assert bool(fit.converged.all())
    slow = slow_cost(fit, positions, weights, points, vectors, 1e-4)
    torch.testing.assert_close(fit.cost, slow, rtol=1e-9, atol=1e-12)
    within = 0
    for b in range(len(fit)):
        camera = np.array([*Rotation.from_matrix(rotation[b].numpy()).as_rotvec(), 1.0, 0.0, 0.0])
        truth = by_scipy(positions[b], weights[b], points, vectors, np.concatenate([camera, np.zeros(K)]), 1e-4)
        within += float(fit.cost[b]) <= 1.001 * truth
    assert within >= 0.97 * len(fit)


def test_shapes_that_differ_are_solved_each() -> None:
    positions, weights, points, _, _ = problem(6, 0.1, seed=7)
    shapes = points + 0.1 * torch.randn(6, *points.shape, generator=torch.Generator().manual_seed(0)).double()
    together = solve_camera(positions, weights, shapes)
    for b in range(6):
        alone = solve_camera(positions[b : b + 1], weights[b : b + 1], shapes[b])
        torch.testing.assert_close(together.rotation[b], alone.rotation[0])
        torch.testing.assert_close(together.shift[b], alone.shift[0])


def outputs(fit: Fit) -> tuple[Tensor, ...]:
    return fit.rotation, fit.scale, fit.shift, fit.coefficients


def joined(fit: Fit) -> Tensor:
    return torch.cat([x.flatten() for x in outputs(fit)])


def test_gradients_are_exact() -> None:
    positions, weights, points, vectors, _ = problem(1, 0.1, seed=8, deformed=True)
    some = slice(0, 6)
    u, w, t, b = (
        x.clone().requires_grad_() for x in (positions[:, some], weights[:, some], points[some], vectors[:2, some])
    )
    assert torch.autograd.gradcheck(lambda *x: joined(solve_camera(*x)), (u, w, t), atol=1e-6)
    assert torch.autograd.gradcheck(
        lambda *x: joined(solve_deformation(*x, gamma=1e-2)), (u, w, t, b), atol=1e-6, fast_mode=True
    )


def test_argmin_of_any_objective() -> None:
    """Of a quartic whose minimum is known: sum (y - x^3)^4 + (y - x^3)^2 has its minimum at x^3."""
    x = torch.tensor([[0.5, -1.0], [1.5, 2.0]], dtype=torch.float64, requires_grad=True)
    minimum = implicit_gradient(lambda y: ((y - x**3) ** 4 + (y - x**3) ** 2).sum(1), x.detach() ** 3)
    (gradient,) = torch.autograd.grad(minimum.sum(), x)
    torch.testing.assert_close(minimum.detach(), x.detach() ** 3)
    torch.testing.assert_close(gradient, 3 * x.detach() ** 2)


def test_damping_bounds_the_gradient_of_a_valley() -> None:
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    curvature = torch.tensor([1.0, 1e-9], dtype=torch.float64)

    def objective(y: Tensor) -> Tensor:
        return (0.5 * curvature * y.square() - x * y).sum(1)

    def slope(damping: float) -> Tensor:
        return torch.autograd.grad(implicit_gradient(objective, torch.zeros(1, 2).double(), damping).sum(), x)[0][0]

    torch.testing.assert_close(slope(0.0), 1 / curvature)
    torch.testing.assert_close(slope(1e-3), torch.tensor([1.0, 1e3], dtype=torch.float64))


def faulty_samples() -> dict[str, tuple[Tensor, Tensor, Tensor, int]]:
    """Name: positions [N, 2], weights [N], vertices [N, 3], and the status that they must have."""
    positions, weights, points, _, _ = problem(1, 0.1, seed=9)
    u, w, v = positions[0], weights[0], points
    nan, line = u.clone(), u.clone()
    nan[3, 1] = math.nan
    line[:, 1] = 0.3 * line[:, 0]
    three = torch.zeros_like(w)
    three[:3] = 1
    flat = v * torch.tensor([1.0, 1.0, 0.0])
    return {
        "right": (u, w, v, Status.CONVERGED),
        "nan": (nan, w, v, Status.NOT_FINITE),
        "huge": (u * 1e20, w, v, Status.NOT_FINITE),
        "negative weight": (u, w - 0.5, v, Status.NOT_FINITE),
        "infinite vertex": (u, w, v / (v[:, :1] != v[0, 0]), Status.NOT_FINITE),
        "nothing seen": (u, w * 0, v, Status.TOO_FEW_POINTS),
        "three points": (u, three, v, Status.TOO_FEW_POINTS),
        "flat": (u, w, flat, Status.FLAT_SHAPE),
        "one vertex": (u, w, v * 0 + 2, Status.FLAT_SHAPE),
        "one position": (u * 0 + 0.7, w, v, Status.COLLAPSED_POSITIONS),
    }


def test_each_sample_is_judged_alone() -> None:
    samples = faulty_samples()
    u, w, v = (torch.stack([sample[i] for sample in samples.values()]) for i in range(3))
    leaves = [x.clone().requires_grad_() for x in (u, w, v)]
    fit = solve_camera(*leaves)
    assert dict(zip(samples, fit.status.tolist())) == {name: int(sample[3]) for name, sample in samples.items()}
    alone = solve_camera(u[:1], w[:1], v[:1])
    torch.testing.assert_close(fit.rotation[:1], alone.rotation)
    sum(x.sum() for x in outputs(fit)).backward()  # type: ignore[union-attr]
    for leaf in leaves:
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all())
        assert bool((leaf.grad[1:] == 0).all()) and bool((leaf.grad[0] != 0).any())


def test_deformations_are_judged_alone_too() -> None:
    samples = [
        sample for name, sample in faulty_samples().items() if name not in ("infinite vertex", "flat", "one vertex")
    ]
    u, w = (torch.stack([sample[i] for sample in samples]).requires_grad_() for i in range(2))
    points, vectors = template(), basis(template()).requires_grad_()
    fit = solve_deformation(u, w, points, vectors)
    assert fit.status.tolist() == [int(sample[3]) for sample in samples]
    sum(x.sum() for x in outputs(fit)).backward()  # type: ignore[union-attr]
    for leaf in (u, w, vectors):
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all()) and bool((leaf.grad != 0).any())
    assert set(solve_deformation(u, w, points, vectors / 0).status.tolist()) == {int(Status.NOT_FINITE)}


def test_twenty_thousand_random_and_degenerate_samples() -> None:
    """No exception, no NaN; what says that it converged cannot be improved by small turns; what is right converged."""
    generator = torch.Generator().manual_seed(11)
    batch, n = 20_000, 12
    v = torch.randn(batch, n, 3, generator=generator).double()
    u = torch.randn(batch, n, 2, generator=generator).double()
    w = torch.rand(batch, n, generator=generator).double()
    kind = torch.arange(batch) % 10
    v[kind == 1, :, 2] *= 1e-9  # flat
    v[kind == 2] = v[kind == 2][:, :1]  # a point
    u[kind == 3] = u[kind == 3][:, :1]  # a point
    u[kind == 4, :, 1] = u[kind == 4, :, 0]  # a line
    w[kind == 5] *= torch.rand(2000, n, generator=generator) < 0.3
    u[kind == 6] *= 10 ** (30 * torch.rand(2000, 1, 1, generator=generator).double() - 15)
    u[kind == 7, 0, 0] = math.nan
    v[kind == 8, -1] = math.inf
    fit = solve_camera(u, w, v)
    for values in outputs(fit):
        assert bool(values.isfinite().all())
    ok = fit.converged
    assert float(ok[kind == 0].double().mean()) > 0.999
    for k, status in ((1, Status.FLAT_SHAPE), (2, Status.FLAT_SHAPE), (3, Status.COLLAPSED_POSITIONS)):
        assert set(fit.status[kind == k].tolist()) == {int(status)}
    assert not bool(ok[(kind == 7) | (kind == 8)].any())
    plain = ok & (kind != 6)
    base = costs_at(fit.rotation, u, w, v)[plain]
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        turn = torch.from_numpy(Rotation.from_rotvec(1e-3 * axis).as_matrix())
        assert bool((costs_at(fit.rotation @ turn, u, w, v)[plain] >= base - 1e-12).all())


def costs_at(rotation: Tensor, u: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """The cost at a rotation, with the best scale and shift."""
    w = (w / w.sum(1, keepdim=True))[..., None]
    u, p = u - (w * u).sum(1, keepdim=True), (v - (w * v).sum(1, keepdim=True)) @ rotation[:, :2].transpose(1, 2)
    scale = (w * u * p).sum((1, 2)) / (w * p * p).sum((1, 2))
    return (w * (u - scale[:, None, None] * p).square()).sum((1, 2))


def test_released_way_reaches_ours_with_its_faults_mended() -> None:
    positions, _, points, vectors, rotation = problem(8, 0.0, seed=12)
    ones = torch.ones(8, len(points)).double()
    mended = solve_released(positions, ones, points, scale="free", start="affine")
    assert float(angles(mended.rotation, rotation).max()) < 0.01 and bool(mended.converged.all())
    generator = torch.Generator().manual_seed(0)
    released = solve_released(positions, ones, points, generator=generator)
    assert float(angles(released.rotation, rotation).median()) > 3, "the deviation is no camera's scale"
    u = positions.clone().requires_grad_()
    deformed = solve_released(u, ones, points, vectors, rounds=2, scale="free", start="affine")
    deformed.coefficients.sum().backward()
    assert u.grad is not None and bool(u.grad.isfinite().all()) and deformed.coefficients.shape == (8, K)


def test_released_gradient_misses_the_vertices() -> None:
    """Where nothing is cut off it is the exact gradient by positions, for the scale free; to the vertices there is none."""
    positions, _, points, _, _ = problem(2, 0.05, seed=13)
    ones = torch.ones(2, len(points)).double()
    gradients = []
    for solve in (solve_camera, lambda *x: solve_released(*x, scale="free", start="affine")):
        u, v = positions.clone().requires_grad_(), points.clone().requires_grad_()
        fit = solve(u, ones, v)
        by_u, by_v = torch.autograd.grad(fit.rotation[:, 0].sum(), (u, v), allow_unused=True)
        gradients.append((by_u, by_v))
    torch.testing.assert_close(gradients[1][0], gradients[0][0], rtol=1e-3, atol=1e-5)
    assert gradients[0][1] is not None and gradients[1][1] is None
