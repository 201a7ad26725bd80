"""The rows of the table: each a function of the settings (configs/benchmark.yaml) and the shapes, which checks that both
sides say the same and measures both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.apps.benchmark import fields, many, solvers
from mvdecor.apps.benchmark.measure import Row, Spread, device_name, peak_memory, time_both, time_runs
from mvdecor.apps.benchmark.rasterizing import pytorch3d_rate, view, view_scaling
from mvdecor.apps.benchmark.references import RELEASED_BYTES_A_PIXEL, match_by_tree, pixel_votes, vote_by_loop
from mvdecor.apps.benchmark.shapes import Shapes, overlapping_pairs, views_of, with_faces
from mvdecor.apps.benchmark.steps import evaluate_shape_row, finetune_step, pretrain_step
from mvdecor.correspondences import match_views
from mvdecor.errors import InputError
from mvdecor.lifting import vote
from mvdecor.losses import InfoNCE
from mvdecor.losses.infonce import infonce
from mvdecor.views import CachedViews, Surface

CPU = torch.device("cpu")
TOLERANCE = 5e-3  # of a match
POWER = 20.0  # of the vote's weight
TEMPERATURE = 0.07


def match(cfg: DictConfig, shapes: Shapes, device: torch.device, library: str = "sklearn", goal: float = 30.0) -> Row:
    """Matching a batch of pairs of views, half of people and half of PartNet, against a KD-tree a pair."""
    if find_spec(library) is None:
        raise InputError(f"benchmark: {library} is not installed: pip install scikit-learn, or choose other rows=[...]")
    sample_shapes = [shapes.some("people", 2)[0], *shapes.some("partnet", 8)[:3]]
    counts = [cfg.pairs - cfg.pairs // 2, *(len(range(i, cfg.pairs // 2, 3)) for i in range(3))]
    sides = [
        overlapping_pairs(s, n, cfg.num_views, cfg.size) for s, n in zip(sample_shapes, counts, strict=True) if n > 0
    ]
    a, b = (_to(Surface.cat([pair[side] for pair in sides]), device) for side in (0, 1))
    # the released code's rule, so that both answer one question; what is timed is the call that training makes
    matches = match_views(a, b, TOLERANCE, min_cosine=-1.0, unique=False)
    tree_matches = match_by_tree(a, b, TOLERANCE, library)
    missed = [set(t.tolist()) - set(matches.pixel_a[matches.pair == p].tolist()) for p, t in enumerate(tree_matches)]
    recall = 1 - sum(map(len, missed)) / max(1, sum(map(len, tree_matches)))
    assert recall >= 0.95, f"only {recall:.1%} of the pixels matched by the KD-tree are found"
    names = {"sklearn": "scikit-learn's KD-tree", "scipy": "SciPy's bounded KD-tree"}
    by_tree = partial(match_by_tree, a, b, TOLERANCE, library)
    return Row(
        "match" if library == "sklearn" else "match_scipy",
        *time_both(lambda: match_views(a, b, TOLERANCE), by_tree, cfg.repeats, device, cfg.pairs / 1e3),
        "ms per pair",
        f"{cfg.pairs} pairs at once, {cfg.size}x{cfg.size}, {shapes.kind} people and PartNet, "
        f"{float(a.mask.float().mean()):.0%} foreground, {recall:.1%} of the pixels of {names[library]} found",
        device_name(device),
        goal,
    )


def vote_row(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """Voting logits of all views onto the faces, against a loop over faces with a mask over all pixels."""
    shape = min(shapes.some("people", 2), key=lambda s: abs(s.num_faces - cfg.vote_faces))
    if shape.num_faces < cfg.vote_faces:
        shape = with_faces(shape, cfg.vote_faces)
    views = views_of(shape, cfg.num_views, cfg.size)
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(cfg.num_views, 1, cfg.classes, cfg.size, cfg.size, generator=generator)
    logits = logits.half()
    sample = torch.randperm(shape.num_faces, generator=generator)[: cfg.vote_sample].tolist()
    groups = shape.twin_groups[sample].tolist()
    face_ids, on_device = views.face_ids[:, 0].numpy(), (shape.to(device), views.to(device), logits.to(device))

    votes = vote(*on_device, "entropy", power=POWER)
    labels = torch.where(votes.seen, votes.scores.argmax(dim=1), -1).cpu()[sample].tolist()
    assert labels == vote_by_loop(face_ids, pixel_votes(logits, POWER), groups), "the loop votes for other labels"
    ready = time_runs(lambda: pixel_votes(logits, POWER), 1, CPU)
    loop = partial(vote_by_loop, face_ids, pixel_votes(logits, POWER), groups)
    scaled = time_runs(loop, cfg.slow_repeats, CPU, len(sample) / shape.num_faces)
    return Row(
        "vote",
        time_runs(lambda: vote(*on_device, "entropy", power=POWER), cfg.repeats, device),
        Spread(*(x + ready.median for x in (scaled.median, scaled.low, scaled.high))),
        "s per shape",
        f"{cfg.num_views} views, {cfg.size}x{cfg.size}, {shape.num_faces} faces, {cfg.classes} classes, float16 logits; the "
        f"loop timed on {len(sample)} random faces and scaled to all; their labels identical",
        device_name(device),
        200,
    )


def cache(cfg: DictConfig, shapes: Shapes, device: torch.device, name: str, goal: float) -> Row:
    """Bytes of a view in the cache, against the arrays of the released code."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in shapes.some(name, 2 if name == "people" else 8):
            views = views_of(shape, cfg.num_views, cfg.size)
            file = CachedViews(folder, "embree", shape, views.cameras)
            sizes.append(file.write(views.face_ids) / cfg.num_views)
            assert torch.equal(file.read(), views.face_ids), "the cache gives back other face ids"
    mean = sum(sizes) / len(sizes)
    released = float(RELEASED_BYTES_A_PIXEL * cfg.size**2)
    return Row(
        f"cache_{name}",
        Spread(mean, min(sizes), max(sizes)),
        Spread(released, released, released),
        "bytes per view",
        f"{len(sizes)} shapes ({shapes.kind}), {cfg.num_views} views, {cfg.size}x{cfg.size}, read back bit for bit",
        "disk",
        goal,
    )


def infonce_time(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """InfoNCE forward and backward, against whole matrices and autograd; the gradients are equal."""
    args = (cfg.pairs, cfg.points, cfg.dim)
    ours, reference = infonce_ours(device, *args), infonce_reference(device, *args)
    for value, expected in zip(ours(), reference(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    return Row(
        "infonce_time",
        *time_both(ours, reference, cfg.slow_repeats, device, 1e-3),
        "ms",
        f"{cfg.pairs} pairs of {cfg.points} matches, {cfg.dim} dimensions, forward and backward, gradients equal",
        device_name(device),
        1,
    )


def infonce_memory(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """Peak memory of the same above its inputs."""
    args = (cfg.pairs, cfg.points, cfg.dim)
    ours, reference = (peak_memory(make, device, *args) for make in (infonce_ours, infonce_reference))
    return Row(
        "infonce_memory",
        Spread(ours, ours, ours),
        Spread(reference, reference, reference),
        "MB at the peak",
        f"{cfg.pairs} pairs of {cfg.points} matches, {cfg.dim} dimensions, forward and backward",
        device_name(device),
        2,
    )


ROWS: dict[str, Callable[[DictConfig, Shapes, torch.device], Row]] = {
    "match": match,
    "match_scipy": partial(match, library="scipy", goal=8.0),
    "vote": vote_row,
    "view": view,
    "view_scaling": view_scaling,
    "pytorch3d_few": partial(pytorch3d_rate, name="few"),
    "pytorch3d_more": partial(pytorch3d_rate, name="more"),
    "pytorch3d_many": partial(pytorch3d_rate, name="many"),
    "cache_people": partial(cache, name="people", goal=15.0),
    "cache_partnet": partial(cache, name="partnet", goal=50.0),
    "infonce_time": infonce_time,
    "infonce_memory": infonce_memory,
    "pretrain_step": pretrain_step,
    "finetune_step": finetune_step,
    "evaluate_shape": evaluate_shape_row,
    "memory_10x": partial(many.memory, factor=10),
    "memory_100x": partial(many.memory, factor=100),
    "step_10x": partial(many.step, factor=10),
    "step_100x": partial(many.step, factor=100),
    "marcher_rays": partial(fields.rays, renderer="lstm"),
    "volume_rays": partial(fields.rays, renderer="volume"),
    "memory_rendered_10x": partial(fields.memory, stored=False),
    "memory_stored_10x": partial(fields.memory, stored=True),
    **solvers.ROWS,
}
"""All rows, in the order of the table."""


def infonce_ours(device: torch.device, pairs: int, points: int, dim: int) -> Callable[[], tuple[Tensor, ...]]:
    """A run of our loss on random embeddings: its value and its gradients."""
    a, b, xyz, pair = _embeddings(device, pairs, points, dim)
    loss = InfoNCE(TEMPERATURE)

    def run() -> tuple[Tensor, ...]:
        value, _ = loss(a, b, xyz, pair)
        return value.detach(), *torch.autograd.grad(value, (a, b))

    return run


def infonce_reference(device: torch.device, pairs: int, points: int, dim: int) -> Callable[[], tuple[Tensor, ...]]:
    """The same of the plain loss."""
    a, b, xyz, pair = _embeddings(device, pairs, points, dim)

    def run() -> tuple[Tensor, ...]:
        value, _ = infonce(a, b, xyz, pair, TEMPERATURE)
        return value.detach(), *torch.autograd.grad(value, (a, b))

    return run


def _embeddings(device: torch.device, pairs: int, points: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(pairs * points, dim, generator=generator)
    b = a + torch.randn(pairs * points, dim, generator=generator)
    pair = torch.arange(pairs).repeat_interleave(points)
    xyz = torch.rand(pairs * points, 3, generator=generator)
    return a.to(device).requires_grad_(), b.to(device).requires_grad_(), xyz.to(device), pair.to(device)


def _to(surface: Surface, device: torch.device) -> Surface:
    fields = (surface.mask, surface.depth, surface.points, surface.normals)
    return Surface(surface.cameras.to(device), *(field.to(device) for field in fields))
