"""Rows of fields and captures: rays per second of both renderers, and memory that does not grow with the captures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from PIL import Image

from mvdecor.apps.benchmark.many import GROWTH, Stretched, folder_of_process
from mvdecor.apps.benchmark.measure import Row, Spread, device_name, peak_memory, time_runs
from mvdecor.apps.benchmark.references import march_by_loop, volume_by_loop
from mvdecor.apps.benchmark.shapes import Shapes
from mvdecor.captures import SRN, Capture, CaptureSet, RaySource, RenderedCaptures
from mvdecor.engine.cli import compose_config
from mvdecor.fields import ConditionalField, FieldSettings, LossWeights, LSTMMarcher
from mvdecor.systems.semantic_srn.pretrain import step

CPU = torch.device("cpu")
VIEWS, SIZE = 8, 64  # of a capture
MEMORY = 1.0  # MB of pixels that a set of captures remembers
BATCH, RAYS = 16, 128  # captures per step, rays per capture


def rays(cfg: DictConfig, shapes: Shapes, device: torch.device, renderer: str) -> Row:
    """Rays per second of a renderer without gradients, against a loop over rays; both end at the same points."""
    experiment = "srn_chairs" if device.type == "cuda" else "srn_chairs_cpu"
    settings = FieldSettings.of(compose_config([f"experiment={experiment}", f"field.renderer={renderer}"]).field)
    torch.manual_seed(0)
    field = ConditionalField(settings, cfg.field_objects).to(device).eval()
    torch.nn.init.normal_(field.codes.weight)  # functions that differ
    origins = torch.nn.functional.normalize(torch.randn(cfg.field_objects, cfg.field_rays, 3, device=device), dim=-1)
    near, far = (torch.full(origins.shape[:2], distance, device=device) for distance in (0.5, 3.0))
    directions = torch.nn.functional.normalize(0.3 * torch.randn_like(origins) - origins, dim=-1)
    arrays = (2 * origins, directions, near, far)
    loop_arrays = [array[0, : cfg.field_loop_rays] for array in arrays]
    if isinstance(field.renderer, LSTMMarcher):
        by_loop: Callable = partial(march_by_loop, field.renderer)
    else:
        by_loop = partial(volume_by_loop, field.renderer)
    with torch.no_grad():
        functions, first = field.function(field.codes.weight), field.function(field.codes.weight[:1])
        hits = field.renderer(functions, *arrays)
        points, features = by_loop(first, *loop_arrays)
        for of_renderer, of_loop in ((hits.points, points), (hits.features, features)):
            torch.testing.assert_close(of_renderer[0, : len(of_loop)], of_loop, rtol=1e-2, atol=1e-3)
        seconds = time_runs(lambda: field.renderer(functions, *arrays), cfg.slow_repeats, device)
        reference = time_runs(lambda: by_loop(first, *loop_arrays), cfg.slow_repeats, device)
    count = cfg.field_objects * cfg.field_rays
    evaluations = settings.steps + 1 if renderer == "lstm" else settings.samples
    return Row(
        "marcher_rays" if renderer == "lstm" else "volume_rays",
        seconds.rate(count),
        reference.rate(len(points)),
        "rays per second",
        f"field of experiment={experiment}, {evaluations} points per ray, {cfg.field_rays} rays of each of "
        f"{cfg.field_objects} objects; the loop on {len(points)} rays, equal points and features",
        device_name(device),
        20,
        "rate",
    )


def memory(cfg: DictConfig, shapes: Shapes, device: torch.device, stored: bool) -> Row:
    """Peak memory on the host of some steps of Semantic SRN's pretraining, against that with a tenth of the captures."""
    counts = 10 * cfg.few_captures, cfg.few_captures
    folder = folder_of_process()
    if stored:
        for count in counts:
            _write_captures(folder / f"{count} stored captures", count)
    of_many, of_few = (peak_memory(_steps_run, CPU, folder, count, stored, cfg.steps) for count in counts)
    return Row(
        "memory_stored_10x" if stored else "memory_rendered_10x",
        Spread.of([of_many]),
        Spread.of([of_few]),
        "MB at the peak",
        f"{counts[0]} made-up captures of {VIEWS} views of {SIZE}x{SIZE}, {'in files' if stored else 'rendered'}, "
        f"against {counts[1]}; "
        f"{cfg.steps} steps of {BATCH} captures and {RAYS} rays of each, {MEMORY:g} MB of pixels remembered",
        device_name(CPU),
        GROWTH,
        "growth",
    )


def _captures(folder: Path, count: int, stored: bool) -> CaptureSet:
    if stored:
        return SRN(folder / f"{count} stored captures", bounds=(1.0, 3.0), memory=MEMORY)
    return RenderedCaptures(Stretched(folder / f"{count} shapes", count), VIEWS, SIZE, memory=MEMORY)


def _steps_run(device: torch.device, folder: Path, count: int, stored: bool, steps: int) -> Callable[[], None]:
    """What `peak_memory` measures: the captures are opened, and some steps done."""

    def run() -> None:
        """Open the captures, and do the steps."""
        captures = _captures(folder, count, stored)
        source = RaySource(captures, captures.ids("all"), BATCH, RAYS, foreground=0.5)
        field = ConditionalField(FieldSettings(code_size=64, width=64, hypernetwork_width=64, steps=8), count)
        fabric = Fabric(accelerator="cpu")
        model, optimizer = fabric.setup(field, torch.optim.Adam(field.parameters(), 1e-4))
        weights = LossWeights(rgb=1.0, code=0.001, negative_distance=0.01, mask=0.05, depth=0.0)
        for number in range(steps):
            for loss, _ in step(model, {"rays": source.sample(0, number)}, fabric, weights):
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()

    return run


def _write_captures(root: Path, count: int) -> None:
    """Made-up captures in SRN's layout."""
    captures = _captures(root.parent, count, stored=False)
    for id in captures.ids("all"):
        _write_capture(root / id, captures.load(id))


def _write_capture(folder: Path, capture: Capture) -> None:
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cameras, images, alpha = capture.cameras, capture.images(), capture.alpha()
    assert alpha is not None
    focal, x, y = (float(cameras.intrinsics[0, i, j]) for i, j in ((0, 0), (0, 2), (1, 2)))
    (folder / "intrinsics.txt").write_text(f"{focal} {x} {y} 0.\n0. 0. 0.\n1.\n{SIZE} {SIZE}\n")
    for view in range(len(capture)):
        pixels = torch.cat([images[view], alpha[view][..., None]], dim=-1)
        Image.fromarray(pixels.numpy(), "RGBA").save(folder / "rgb" / f"{view:06}.png")
        pose = np.eye(4)
        pose[:3, :3] = cameras.rotation[view].T.double().numpy()
        pose[:3, 3] = cameras.centers[view].double().numpy()
        np.savetxt(folder / "pose" / f"{view:06}.txt", pose.reshape(1, 16))
