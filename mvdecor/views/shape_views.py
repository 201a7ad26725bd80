"""`ShapeViews`: shapes with their cameras and views, from which batches are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.views.cache import CachedViews
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Surface, Views, surface_of

Rasterizer = Callable[..., list[Views]]


class ShapeViews:
    """Shapes on a device, each with its own cameras.

    Args:
        shapes: the shapes.
        cameras: of each shape.
        rasterizer: see `mvdecor.views.make_rasterizer`.
        layers: layers of peeled views.
        device: where shapes and views live.
        keep: True rasterizes each shape's views once and keeps the face ids in memory; False rasterizes the views asked
            for each time.
        cache: gives the file of a shape's views, called as `cache(shape, cameras, layers)`: face ids are read from it
            instead of rasterized, and a file that is missing is written first. None: no files.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        cameras: Sequence[Cameras],
        rasterizer: Rasterizer,
        layers: int = 1,
        device: torch.device | str = "cpu",
        keep: bool = True,
        cache: Callable[[Shape, Cameras, int], CachedViews] | None = None,
    ) -> None:
        if not shapes:
            raise InputError("there are no shapes to render: the split is empty or all its shapes were skipped")
        self.shapes = [s.to(device) for s in shapes]
        self.cameras = [c.to(device) for c in cameras]
        self.layers = layers
        self._rasterizer = rasterizer
        self._keep = keep
        self._views: dict[int, Views] = {}
        self._cache = cache
        self._files: dict[int, CachedViews] = {}

    def __len__(self) -> int:
        return len(self.shapes)

    def num_views(self, shape: int) -> int:
        """Number of cameras of a shape."""
        return len(self.cameras[shape])

    def views(self, shape: int, index: Sequence[int] | None = None) -> Views:
        """The views of a shape at `index` (all if None)."""
        if not self._keep:
            return self._find(shape, index)
        if shape not in self._views:
            self._views[shape] = self._find(shape, None)
        views = self._views[shape]
        return views if index is None else views[list(index)]

    def _find(self, shape: int, index: Sequence[int] | None) -> Views:
        """The views at `index`, from their file or rasterized."""
        cameras = self.cameras[shape] if index is None else self.cameras[shape][list(index)]
        if self._cache is None:
            return self._rasterizer([self.shapes[shape]], [cameras], self.layers)[0]
        if shape not in self._files:  # its key takes a hash of the whole mesh
            self._files[shape] = self._cache(self.shapes[shape], self.cameras[shape], self.layers)
        file = self._files[shape]
        if not file.exists():
            file.write(self._rasterizer([self.shapes[shape]], [self.cameras[shape]], self.layers)[0].face_ids)
        return Views(cameras, file.read(index).to(cameras.rotation.device))

    def surface(self, shape: int, index: Sequence[int]) -> Surface:
        """The surface seen in the views of a shape at `index`."""
        return surface_of(self.shapes[shape], self.views(shape, index))
