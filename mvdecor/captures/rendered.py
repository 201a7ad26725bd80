"""Shapes of any data set as captures: pictures, exact label maps and exact depth, rendered when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from mvdecor.captures.capture import BACKGROUND_NAME, Capture, PixelMemory, Pixels
from mvdecor.captures.reduced import reduce_pixels
from mvdecor.errors import InputError
from mvdecor.recent import Recent
from mvdecor.seeds import seed_of
from mvdecor.shapes.loading import ShapeSet
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.channels import render_channels
from mvdecor.views.placement import sphere_cameras
from mvdecor.views.rasterizers import NEAR, Rasterizer, make_rasterizer
from mvdecor.views.views import face_values_at_pixels, surface_of

LIGHT = (0.4, 0.8, 0.5)
RECENT = 4  # shapes in memory
BLOCK = 16  # views that are rendered together, since the rasterizer prepares a mesh anew at each call


class RenderedCaptures:
    """The shapes of a data set, each seen by cameras on a sphere around it, as a `CaptureSet`.

    A textured shape shows its texture, unshaded; any other is grey, lit by a light that stands still in the world. The
    background is white. Label maps hold the shape's labels, and `BACKGROUND_NAME` as one more, the last.

    Args:
        shapes: the data set, any `ShapeSet`.
        count, size, fov, distance, jitter: cameras of each shape, see `sphere_cameras`.
        seed: of the cameras; each shape has others (with `jitter` 0 and one distance all have the same).
        same_cameras: give all shapes the cameras of the seed.
        light: direction towards the light, world frame.
        supersample: pixels per side that are rendered for each pixel and averaged (labels: the most frequent); 1: a pixel shows
            what its centre does, and outlines are jagged.
        rasterizer: "embree" or "pytorch3d", see `make_rasterizer`; on the CPU.
        memory: pixels that are remembered after rendering, in 10^6 bytes, of all captures together.

    Attributes:
        label_names: those of the data set, and `BACKGROUND_NAME`; () if it has no labels.
    """

    def __init__(
        self,
        shapes: ShapeSet,
        count: int = 24,
        size: int = 64,
        fov: float = 60.0,
        distance: Sequence[float] = (2.0, 2.0),
        jitter: float = 0.0,
        seed: int = 0,
        same_cameras: bool = False,
        light: Sequence[float] = LIGHT,
        supersample: int = 1,
        rasterizer: str = "embree",
        memory: float = 1000.0,
    ) -> None:
        self.shapes, self.seed, self.same_cameras = shapes, seed, same_cameras
        if BACKGROUND_NAME in shapes.label_names:
            raise InputError(
                f"a label of the shapes is called {BACKGROUND_NAME!r}, the name of what is no shape; rename it"
            )
        self.label_names: tuple[str, ...] = (*shapes.label_names, BACKGROUND_NAME) if shapes.label_names else ()
        if count < 2:
            raise InputError(f"capture.count={count}: a capture needs at least 2 views")
        if len(distance) != 2 or distance[0] <= 1:
            raise InputError(f"capture.distance={list(distance)}: give [least, greatest], outside of the unit sphere")
        if len(light) != 3 or not any(light):
            raise InputError(f"capture.light={list(light)}: give a direction [x, y, z]")
        if supersample < 1:
            raise InputError(f"capture.supersample={supersample}: give a whole number of at least 1")
        self.supersample = supersample
        size *= supersample
        self._cameras: dict[str, Any] = dict(count=count, size=size, fov=fov, distance=tuple(distance), jitter=jitter)
        self.light = (float(light[0]), float(light[1]), float(light[2]))
        self.rasterizer = make_rasterizer(rasterizer)
        self.memory = PixelMemory(memory)
        self._recent: Recent[Shape] = Recent(RECENT)

    def ids(self, split: str) -> list[str]:
        """Ids of the data set's split."""
        return self.shapes.ids(split)

    def files(self, id: str) -> list[Path]:
        """The files of the shape, its labels among them; none if the data set does not name them."""
        files: Callable[[str, bool], list[Path]] | None = getattr(self.shapes, "files", None)
        return [] if files is None else files(id, True)

    def load(self, id: str) -> Capture:
        """The views of a shape. Raises InputError if the shape is bad."""
        shape = self.shape(id)
        seed = seed_of(self.seed, "cameras of captures", "" if self.same_cameras else id)
        cameras = sphere_cameras(seed=seed, **self._cameras)
        load = partial(self.shape, id)
        return render_capture(shape, cameras, self.rasterizer, self.light, self.memory, load, self.supersample)

    def shape(self, id: str) -> Shape:
        """The mesh of a capture, in the world frame of its cameras; read again unless it is among the last ones."""
        return self._recent.get(id, lambda: self.shapes.load(id))


@dataclass(frozen=True)
class RenderedViews:
    """Renders the `Pixels` of a view, and of those after it.

    Attributes:
        id: of the capture.
        shape: gives the shape, normalised to the unit sphere.
        cameras: all the cameras.
        rasterizer: finds the faces that pixels see.
        light: direction towards the light.
        memory: where pixels are remembered.
        supersample: pixels per side that are averaged into one.
        shading: how much the light matters on a texture: 0: it is shown as it is; 1: it is black where the surface runs along
            the light.
    """

    id: str
    shape: Callable[[], Shape]
    cameras: Cameras
    rasterizer: Rasterizer
    light: tuple[float, float, float]
    memory: PixelMemory
    supersample: int = 1
    shading: float = 0.0

    def __call__(self, view: int) -> Pixels:
        pixels = self.memory.get(self.id, view)
        if pixels is not None:
            return pixels
        start = view // BLOCK * BLOCK
        block = [reduce_pixels(rendered, self.supersample) for rendered in self._render(start)]
        for i, rendered in enumerate(block):
            self.memory.put(self.id, start + i, rendered)
        return block[view - start]

    def _render(self, start: int) -> list[Pixels]:
        shape, cameras = self.shape(), self.cameras[start : start + BLOCK]
        views = self.rasterizer([shape], [cameras])[0].to("cpu")
        surface = surface_of(shape, views)
        light = normalize(torch.tensor(self.light), dim=0).expand(len(cameras), 3)
        rgb = render_channels(shape, views, surface, ("rgb",), light)[:, 0].permute(0, 2, 3, 1)
        mask = surface.mask[:, 0]
        if self.shading > 0:
            rgb = rgb * (1 - self.shading * (1 - (surface.normals[:, 0] @ light[0]).abs()))[..., None]
        images = torch.where(mask[..., None], rgb * 255, 255.0).round().to(torch.uint8).numpy()
        alpha = (mask * 255).to(torch.uint8).numpy()
        depth = surface.depth[:, 0].numpy()
        labels = None
        if shape.face_labels is not None:
            background = len(shape.label_names)
            labels = face_values_at_pixels(shape.face_labels, views, background)[:, 0].to(torch.int16).numpy()
        return [
            Pixels(images[i].copy(), alpha[i].copy(), None if labels is None else labels[i].copy(), depth[i].copy())
            for i in range(len(cameras))
        ]


def render_capture(
    shape: Shape,
    cameras: Cameras,
    rasterizer: Rasterizer,
    light: tuple[float, float, float] = LIGHT,
    memory: PixelMemory | None = None,
    load: Callable[[], Shape] | None = None,
    supersample: int = 1,
) -> Capture:
    """A capture of one shape by any cameras.

    Args:
        shape: normalised to the unit sphere, on the CPU.
        cameras: on the CPU, outside of the unit sphere.
        rasterizer: finds the faces that pixels see.
        light: direction towards the light, world frame; a texture is shown as it is.
        memory: where pixels are remembered; None: 10^9 bytes of its own.
        load: gives the shape again when it is rendered; None: `shape` is kept in memory.
        supersample: pixels per side of `cameras` that are averaged into one of the capture's.

    Raises:
        InputError: a camera from which part of the unit sphere is not ahead.
    """
    distance = (-cameras.centers * cameras.rotation[:, 2]).sum(dim=-1)  # camera z of the centre
    if not bool((distance > 1).all()):
        raise InputError(
            f"shape {shape.id}: a camera stands in the unit sphere or looks away; place all outside, looking in"
        )
    labelled = shape.face_labels is not None
    load, memory = load or partial(_same, shape), memory or PixelMemory(1000.0)
    return Capture(
        id=shape.id,
        cameras=cameras.reduced(supersample),
        read=RenderedViews(shape.id, load, cameras, rasterizer, light, memory, supersample),
        has_alpha=True,
        has_depth=True,
        labelled=tuple(range(len(cameras))) if labelled else (),
        label_names=(*shape.label_names, BACKGROUND_NAME) if labelled else (),
        near=(distance - 1).clamp_min(NEAR),
        far=distance + 1,
    )


def _same(shape: Shape) -> Shape:
    return shape
