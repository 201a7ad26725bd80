"""Rows of the rasterizers: views by the one that is taken on a device, beside PyTorch3D and Embree on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from omegaconf import DictConfig

from mvdecor.apps.benchmark.many import made_up_chair
from mvdecor.apps.benchmark.measure import Row, device_name, time_both, time_runs
from mvdecor.apps.benchmark.shapes import Shapes, simple_shape, with_faces
from mvdecor.shapes import Shape
from mvdecor.views import Cameras, Rasterizer, Surface, make_rasterizer, render_channels, sphere_cameras, surface_of

CPU = torch.device("cpu")


def view(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """A view (face ids, rgb, depth, normals, points), building of the scene included, against PyTorch3D on the CPU."""
    shape = with_faces(simple_shape(shapes, cfg.view_faces), cfg.view_faces)
    cameras = sphere_cameras(cfg.num_views, cfg.size)
    slow_cameras = cameras[:: max(1, cfg.num_views // cfg.slow_views)][: cfg.slow_views]
    slow = partial(_render, make_rasterizer("pytorch3d", CPU), shape, slow_cameras)
    embree_surface, pytorch3d_surface = _render(make_rasterizer("embree"), shape, slow_cameras), slow()
    visible_in_both = embree_surface.mask & pytorch3d_surface.mask
    agree = ((embree_surface.depth - pytorch3d_surface.depth).abs() < 1e-3)[visible_in_both].float().mean()
    same_mask = (embree_surface.mask == pytorch3d_surface.mask).float().mean()
    assert float(same_mask) > 0.999 and float(agree) > 0.99, "the rasterizers disagree"
    return Row(
        "view",
        time_runs(_views_run(cfg, shape, device), cfg.repeats, device, cfg.num_views / 1e3),
        time_runs(slow, cfg.slow_repeats, CPU, len(slow_cameras) / 1e3),
        "ms per view",
        f"{shape.num_faces} faces, {cfg.size}x{cfg.size}, over {cfg.num_views} views ({len(slow_cameras)} by PyTorch3D), "
        "depths agree",
        device_name(device),
        60,
    )


def view_scaling(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """A view of the same surface in many faces, against few."""
    few_faces, many_faces = cfg.scaling_faces
    shape = simple_shape(shapes, few_faces)
    of_many, of_few = (_views_run(cfg, with_faces(shape, count), device) for count in (many_faces, few_faces))
    return Row(
        "view_scaling",
        *time_both(of_many, of_few, cfg.repeats, device, cfg.num_views / 1e3),
        "ms per view",
        f"one surface in {many_faces} faces, against {few_faces}; {cfg.size}x{cfg.size}, over {cfg.num_views} views",
        device_name(device),
        2,
        "growth",
    )


def pytorch3d_rate(cfg: DictConfig, shapes: Shapes, device: torch.device, name: str) -> Row:
    """Views per second that PyTorch3D rasterizes on the device, of a chair in so many faces, beside Embree on the CPU.

    PyTorch3D's CPU path visits every face for every pixel: there both get one small view.
    """
    on_gpu = device.type == "cuda"
    count, size, repeats = (cfg.num_views, cfg.size, cfg.slow_repeats) if on_gpu else (1, cfg.slow_size, 1)
    faces = dict(zip(("few", "more", "many"), cfg.rate_faces, strict=True))[name]
    shape, cameras = with_faces(made_up_chair(), faces), sphere_cameras(count, size)
    on_device, cameras_on_device = shape.to(device), cameras.to(device)
    seconds = time_runs(lambda: make_rasterizer("pytorch3d", device)([on_device], [cameras_on_device]), repeats, device)
    reference = time_runs(lambda: make_rasterizer("embree")([shape], [cameras]), cfg.slow_repeats, CPU)
    return Row(
        f"pytorch3d_{name}",
        seconds.rate(count),
        reference.rate(count),
        "views per second",
        f"made-up chair in {faces} faces, {count} view(s) of {size}x{size}, with the time to build the scene; PyTorch3D beside "
        f"Embree on {device_name(CPU)}",
        device_name(device),
        None,
        "rate",
    )


def _views_run(cfg: DictConfig, shape: Shape, device: torch.device) -> Callable[[], None]:
    """Renders all views of a shape, by a rasterizer that has not seen it before."""
    shape, cameras = shape.to(device), sphere_cameras(cfg.num_views, cfg.size).to(device)

    def run() -> None:
        rasterizer = make_rasterizer("auto", device)
        for start in range(0, cfg.num_views, 8):
            _render(rasterizer, shape, cameras[start : start + 8])

    return run


def _render(rasterizer: Rasterizer, shape: Shape, cameras: Cameras) -> Surface:
    """All that a view can show; the surface is returned."""
    views = rasterizer([shape], [cameras])[0]
    surface = surface_of(shape, views)
    render_channels(shape, views, surface, ("rgb", "depth", "normal", "points"))
    return surface
