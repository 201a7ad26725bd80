"""Plot of cost against views, faces and shapes (scripts/benchmark.py plot=FILE)."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator
from omegaconf import DictConfig

from mvdecor.apps.benchmark.measure import device_name, synchronize, time_runs
from mvdecor.apps.benchmark.shapes import Shapes, simple_shape, with_faces
from mvdecor.files import write_atomically
from mvdecor.lifting import fill_unseen, vote
from mvdecor.shapes import Shape
from mvdecor.views import make_rasterizer, render_channels, sphere_cameras, surface_of

CLASSES = 12


def plot_scaling(
    cfg: DictConfig, shapes: Shapes, device: torch.device, file: Path
) -> dict[str, list[tuple[int, float]]]:
    """Measure and plot; gives the seconds at each size of each panel.

    What is timed is all of a shape's labelling but the network: building the scene, rendering, channels, the vote, filling.
    """
    base_shape = simple_shape(shapes, cfg.plot_faces[0])
    middle = with_faces(base_shape, cfg.plot_faces[len(cfg.plot_faces) // 2])
    panels: dict[str, list[tuple[int, float]]] = {"views": [], "faces": [], "shapes": []}
    for views in cfg.plot_views:
        panels["views"].append((views, _seconds(cfg, device, [middle], views)))
    for faces in cfg.plot_faces:
        panels["faces"].append((faces, _seconds(cfg, device, [with_faces(base_shape, faces)], cfg.plot_views[0])))
    for count in cfg.plot_shapes:
        panels["shapes"].append((count, _seconds(cfg, device, [middle] * count, cfg.plot_views[0])))
    write_atomically(file, _plot(panels, f"{cfg.size}x{cfg.size} pixels, {device_name(device)}"))
    return panels


def _seconds(cfg: DictConfig, device: torch.device, shapes: list[Shape], views: int) -> float:
    on_device, cameras = [shape.to(device) for shape in shapes], sphere_cameras(views, cfg.size).to(device)
    logits = torch.randn(views, 1, CLASSES, cfg.size, cfg.size, device=device).half()

    def run() -> None:
        for shape in on_device:
            rendered = make_rasterizer("auto", device)([shape], [cameras])[0]
            render_channels(shape, rendered, surface_of(shape, rendered), ("rgb", "depth", "normal"))
            fill_unseen(shape, vote(shape, rendered, logits, "entropy"), "nearest")
        synchronize(device)

    return time_runs(run, cfg.slow_repeats, device).median


def _plot(panels: dict[str, list[tuple[int, float]]], title: str) -> bytes:
    """PNG: a panel each, on logarithmic axes, with the line of cost that doubles as the size doubles."""
    figure = Figure(figsize=(9.6, 3.2), dpi=90, layout="constrained")
    for number, (name, points) in enumerate(panels.items()):
        axis = figure.add_subplot(1, len(panels), number + 1)
        sizes, seconds = zip(*points, strict=True)
        axis.loglog(sizes, seconds, "o-", label="measured")
        axis.loglog(sizes, [seconds[-1] * size / sizes[-1] for size in sizes], ":", color="grey", label="linear")
        axis.set(xlabel=name, ylabel="s" if number == 0 else None)
        axis.set_xticks(sizes, [f"{size:,}".replace(",", " ") for size in sizes], minor=False)
        axis.xaxis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.minorticks_off()
        axis.legend(frameon=False)
    figure.suptitle(f"labelling without the network, {title}", fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream)
    return stream.getvalue()
