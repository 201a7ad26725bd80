"""Rows of To The Point: solvers and silhouette."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from omegaconf import DictConfig
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from torch import Tensor

from mvdecor.apps.benchmark.measure import Row, device_name, processor_seconds, time_both
from mvdecor.apps.benchmark.shapes import Shapes
from mvdecor.errors import InputError
from mvdecor.solvers import Fit, deform, solve_camera, solve_deformation, solve_released
from mvdecor.solvers.minimize import Pose, cost_of, minimize
from mvdecor.solvers.moments import moments_of
from mvdecor.views import Cameras, blur_radius, soft_silhouette

VERTICES = 642
BASIS = 16
GAMMA = 1e-4
LBFGS_BATCH = 32  # samples that L-BFGS solves at once; in larger batches the slowest sample decides for more of them
SCIPY_SAMPLES = 64
STARTS = 24
ROUNDING = 1e-6  # relative, of costs in float32 that are compared


def camera(cfg: DictConfig, shapes: Shapes, device: torch.device, noise: float, goal: float = 75.0) -> Row:
    """Cameras of noisy correspondences, against the released code's L-BFGS with the scale free.

    Ours is compared with the best of many starts by the share of samples in which it ends at a greater cost.
    """
    u, w, template, _, _ = correspondences(cfg.samples, noise, device, deformed=False)
    fit = solve_camera(u, w, template)
    best = best_of_starts(u, w, template)
    worse = float((fit.cost > best * (1 + ROUNDING) + 1e-14).double().mean())
    assert worse <= (0.01 if noise > 0.1 else 0.0), (
        f"{worse:.2%} of the cameras cost more than the best of {STARTS} starts"
    )
    batch = (u[:LBFGS_BATCH], w[:LBFGS_BATCH], template)
    generator = torch.Generator().manual_seed(0)
    by_lbfgs = partial(solve_released, *batch, scale="free", generator=generator)
    wrong = (_cost(by_lbfgs(), *batch) > fit.cost[:LBFGS_BATCH] * 1.001 + 1e-6).double().mean()
    by_moments = partial(solve_camera, u, w, template)
    our_times, slow_times = time_both(by_moments, by_lbfgs, cfg.slow_repeats, device, cfg.samples / 1e3)
    processor = 1e3 * processor_seconds(by_moments) / cfg.samples
    return Row(
        f"camera_noise_{noise:g}" if noise else "camera_exact",
        our_times,
        slow_times.scaled(cfg.samples / batch[0].shape[0]),
        "ms per sample",
        f"{VERTICES} vertices, noise {noise:g}, batches of {cfg.samples} and {len(batch[0])}; {worse:.2%} of ours cost more "
        f"than the best of {STARTS} starts, {float(wrong):.0%} of L-BFGS end at another minimum; {processor:.3f} ms of "
        "processor time",
        device_name(device),
        goal,
    )


def deformation(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """Camera and 16 coefficients together, against the released alternation of 4 rounds; the optimum is SciPy's."""
    u, w, template, basis, rotation = correspondences(cfg.samples, 0.03, device, deformed=True)
    fit = solve_deformation(u, w, template, basis, GAMMA)
    on_cpu = [x.cpu().double() for x in (u, w, rotation, template, basis)]
    within = [
        float(fit.cost[b]) <= 1.001 * scipy_cost(*(x[b] for x in on_cpu[:3]), *on_cpu[3:])
        for b in range(min(SCIPY_SAMPLES, len(fit)))
    ]
    share = sum(within) / len(within)
    assert share >= 0.97, f"only {share:.1%} of the joint solutions are within 1.001 of SciPy's"
    batch = (u[:LBFGS_BATCH], w[:LBFGS_BATCH], template, basis)
    generator = torch.Generator().manual_seed(0)
    by_turns = partial(
        solve_released, *batch, ridge=GAMMA * VERTICES, scale="free", start="affine", generator=generator
    )
    angles = [float(_degrees(x.rotation, rotation[: len(x)]).median()) for x in (fit, by_turns())]
    together = partial(solve_deformation, u, w, template, basis, GAMMA)
    our_times, slow_times = time_both(together, by_turns, cfg.slow_repeats, device, cfg.samples / 1e3)
    processor = 1e3 * processor_seconds(together) / cfg.samples
    return Row(
        "deformation",
        our_times,
        slow_times.scaled(cfg.samples / batch[0].shape[0]),
        "ms per sample",
        f"{VERTICES} vertices, {BASIS} coefficients, noise 0.03, gamma {GAMMA:g}; {share:.0%} of {len(within)} within 1.001 "
        f"of SciPy's optimum; cameras {angles[0]:.1f} degrees off (median), by 4 rounds of turns {angles[1]:.1f}; "
        f"{processor:.2f} ms of processor time",
        device_name(device),
        1,
    )


def silhouette(cfg: DictConfig, shapes: Shapes, device: torch.device, backward: bool) -> Row:
    """The soft silhouette, against PyTorch3D's: its backward pass, or both passes."""
    size, count, sigma = min(64, cfg.size), min(8, cfg.samples), 1e-4
    template, faces = ellipsoid(device)
    rotation = torch.from_numpy(Rotation.random(count, random_state=0).as_matrix()).float().to(device)
    scale, middle = torch.full((count,), 0.38 * size, device=device), torch.full((count, 2), size / 2.0, device=device)
    cameras = Cameras.scaled_orthographic(rotation, scale, middle, size, size)
    cotangent = torch.randn(count, size, size, generator=torch.Generator().manual_seed(0)).to(device)

    def by_pairs(vertices: Tensor) -> Tensor:
        return soft_silhouette(cameras.project(vertices.expand(count, -1, -1))[0], faces, size, size, sigma)

    def by_pytorch3d(vertices: Tensor) -> Tensor:
        return _by_pytorch3d(vertices, faces, cameras, sigma)

    our_run, slow_run = (
        _silhouette_run(function, template, cotangent, backward) for function in (by_pairs, by_pytorch3d)
    )
    cosine = float(torch.cosine_similarity(our_run().flatten(), slow_run().flatten(), dim=0))
    assert cosine > 0.99999, f"the gradients' cosine is {cosine}"
    return Row(
        "silhouette_backward" if backward else "silhouette",
        *time_both(our_run, slow_run, cfg.slow_repeats, device, 1e-3),
        "ms",
        f"{count} images of {size}x{size}, {len(faces)} faces, {'backward' if backward else 'forward and backward'}; cosine of "
        f"the gradients {cosine:.6f}",
        device_name(device),
        20 if device.type == "cpu" else 1,
    )


def correspondences(batch: int, noise: float, device: torch.device, deformed: bool) -> tuple[Tensor, ...]:
    """Float32: positions [B, N, 2], weights [B, N], template [N, 3], basis [K, N, 3], true rotations [B, 3, 3]."""
    generator = torch.Generator().manual_seed(0)
    template, _ = ellipsoid(torch.device("cpu"))
    near = torch.exp(-torch.cdist(template, template).square() / 0.1)
    smooth = near / near.sum(1, keepdim=True) @ torch.randn(BASIS, VERTICES, 3, generator=generator)
    basis = 0.05 * smooth / smooth.std()
    coefficients = deformed * torch.randn(batch, BASIS, generator=generator)
    rotation = torch.from_numpy(Rotation.random(batch, random_state=0).as_matrix()).float()
    scale = 0.5 + 0.5 * torch.rand(batch, 1, 1, generator=generator)
    exact = scale * (deform(template, basis, coefficients) @ rotation.transpose(1, 2))[..., :2]
    exact = exact + 0.1 * torch.randn(batch, 1, 2, generator=generator)
    positions = exact + noise * torch.randn(exact.shape, generator=generator)
    weights = torch.rand(batch, VERTICES, generator=generator)
    return tuple(x.to(device) for x in (positions, weights, template, basis, rotation))


def ellipsoid(device: torch.device) -> tuple[Tensor, Tensor]:
    """A lumpy ellipsoid of 642 vertices [N, 3] and 1280 faces [F, 3]."""
    from pytorch3d.utils import ico_sphere

    vertices, faces = ico_sphere(3).get_mesh_verts_faces(0)
    lumps = 1 + 0.3 * (vertices[:, 2:] > 0.5) * torch.tensor([0.2, 1.0, 0.3])
    return (vertices * lumps * torch.tensor([0.4, 0.5, 1.0])).to(device), faces.to(device)


def best_of_starts(u: Tensor, w: Tensor, template: Tensor) -> Tensor:
    """[B], the least cost of a camera that is reached from any of 24 random rotations."""
    moments = moments_of(u, w, template)
    best = torch.full_like(moments.image, torch.inf)
    for seed in range(STARTS):
        rotation = torch.from_numpy(Rotation.random(len(u), random_state=seed).as_matrix()).to(moments.image)
        start = Pose(rotation, torch.ones_like(moments.image), rotation.new_zeros(len(u), 0))
        best = torch.minimum(best, cost_of(moments, minimize(moments, start, 0.0, 60), 0.0))
    return best


def scipy_cost(u: Tensor, w: Tensor, rotation: Tensor, template: Tensor, basis: Tensor) -> float:
    """The cost of one sample that SciPy reaches from the true camera and the undeformed template."""
    root = np.sqrt((w / w.sum()).numpy())[:, None]
    positions, vertices, vectors = u.numpy(), template.numpy(), basis.numpy()

    def residuals(y: np.ndarray) -> np.ndarray:
        rows = y[3] * Rotation.from_rotvec(y[:3]).as_matrix()[:2]
        shape = vertices + np.tensordot(y[6:], vectors, 1)
        return np.concatenate([(root * (shape @ rows.T + y[4:6] - positions)).ravel(), math.sqrt(GAMMA) * y[6:]])

    start = np.concatenate([Rotation.from_matrix(rotation.numpy()).as_rotvec(), [1, 0, 0], np.zeros(len(vectors))])
    return 2 * least_squares(residuals, start).cost


def _cost(fit: Fit, u: Tensor, w: Tensor, template: Tensor) -> Tensor:
    """[B], the cost that `solve_camera` minimises."""
    error = (fit.project(template)[..., :2] - u).square().sum(dim=2)
    return (w * error).sum(dim=1) / w.sum(dim=1)


def _degrees(first: Tensor, second: Tensor) -> Tensor:
    return 2 * torch.rad2deg(torch.asin(((first - second).flatten(1).norm(dim=1) / math.sqrt(8)).clamp_max(1)))


def _by_pytorch3d(vertices: Tensor, faces: Tensor, cameras: Cameras, sigma: float) -> Tensor:
    from pytorch3d.renderer import BlendParams, MeshRasterizer, RasterizationSettings, SoftSilhouetteShader
    from pytorch3d.structures import Meshes

    settings = RasterizationSettings(
        (cameras.height, cameras.width), blur_radius(sigma), 100, bin_size=0, perspective_correct=False
    )
    meshes = Meshes([vertices] * len(cameras), [faces] * len(cameras))
    fragments = MeshRasterizer(cameras=cameras.to_pytorch3d(), raster_settings=settings)(meshes)
    if bool((fragments.pix_to_face[..., -1] >= 0).any()):
        raise InputError("benchmark: more than 100 faces are near a pixel; PyTorch3D would leave some out")
    return SoftSilhouetteShader(BlendParams(sigma=sigma))(fragments, meshes)[..., 3]


def _silhouette_run(
    function: Callable[[Tensor], Tensor], template: Tensor, cotangent: Tensor, backward: bool
) -> Callable[[], Tensor]:
    """Gives the gradient by the vertices; if `backward`, of a graph that is there already."""
    leaf = template.clone().requires_grad_()
    graph = (function(leaf) * cotangent).sum() if backward else None

    def run() -> Tensor:
        value = graph if graph is not None else (function(leaf) * cotangent).sum()
        return torch.autograd.grad(value, leaf, retain_graph=graph is not None)[0]

    return run


ROWS: dict[str, Callable[[DictConfig, Shapes, torch.device], Row]] = {
    "camera_exact": partial(camera, noise=0.0),
    "camera_noise_0.1": partial(camera, noise=0.1),
    "camera_noise_0.3": partial(camera, noise=0.3),
    "deformation": deformation,
    "silhouette_backward": partial(silhouette, backward=True),
    "silhouette": partial(silhouette, backward=False),
}
"""The rows of this file."""
