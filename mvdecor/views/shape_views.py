"""`ShapeViews`: shapes with their cameras and views, from which batches are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mvdecor.errors import InputError
from mvdecor.progress import say_once
from mvdecor.recent import Recent
from mvdecor.shapes import Shape
from mvdecor.shapes.loading import IN_MEMORY
from mvdecor.views.cache import CachedViews
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Surface, Views, surface_of

Rasterizer = Callable[..., list[Views]]
KEPT_BYTES = 2**30
"""Face ids that are kept in memory, at most, in each process."""
TEXTURE_BYTES = 2 * 2**30
"""Textures of the shapes in memory, at most, in each process; but one, if it has more."""


@dataclass(frozen=True)
class _Placed:
    """A shape on the device, its cameras, and the file of its views."""

    shape: Shape
    cameras: Cameras
    file: CachedViews | None


def _texture_bytes(entry: _Placed) -> int:
    return 0 if entry.shape.texture is None else 3 * entry.shape.texture.num_pixels


class ShapeViews:
    """Shapes, each with its own cameras: `shape_views[number]` is a shape on the device, which the methods take.

    What is in memory does not grow with the number of shapes: the `IN_MEMORY` shapes that were used last with their cameras,
    fewer if their textures together take more than `TEXTURE_BYTES`, and face ids of at most `KEPT_BYTES`. Textures stay on the
    host until a channel looks at them.

    Args:
        shapes: the shapes, with ids of their own; they may be read when they are used (`LazyShapes`).
        place: gives the cameras of a shape, the same at every call.
        rasterizer: see `mvdecor.views.make_rasterizer`.
        layers: layers of peeled views.
        device: where shapes and views live.
        keep: True rasterizes all views of a shape once and keeps their face ids, while there is room for them; False
            rasterizes the views asked for each time. On the CPU views that are in a file are not kept: reading them takes no
            longer, and all processes share what the system keeps of the file.
        cache: gives the file of a shape's views, called as `cache(shape, cameras, layers)`: face ids are read from it
            instead of rasterized, and a file that is missing is written first. None: no files.
    """

    def __init__(
        self,
        shapes: Sequence[Shape],
        place: Callable[[Shape], Cameras],
        rasterizer: Rasterizer,
        layers: int = 1,
        device: torch.device | str = "cpu",
        keep: bool = True,
        cache: Callable[[Shape, Cameras, int], CachedViews] | None = None,
    ) -> None:
        if not shapes:
            raise InputError("there are no shapes to render: the split is empty or all its shapes were skipped")
        self.shapes = shapes
        self.layers = layers
        self.device = torch.device(device)
        self._place, self._rasterizer, self._keep, self._cache = place, rasterizer, keep, cache
        self._placed: Recent[_Placed] = Recent(IN_MEMORY, _texture_bytes, TEXTURE_BYTES)
        self._fills = cache is not None  # until an optional file cannot be written
        self._room = KEPT_BYTES if keep else 0
        self._kept: dict[str, Views] = {}

    def __reduce__(self) -> tuple:
        settings = (self.shapes, self._place, self._rasterizer, self.layers, self.device, self._keep, self._cache)
        return ShapeViews, settings  # a worker has shapes and views of its own in memory

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, number: int) -> Shape:
        return self._find(self.shapes[number]).shape

    def __iter__(self) -> Iterator[Shape]:
        return (self[number] for number in range(len(self)))

    def stored(self, shape: Shape) -> bool:
        """Whether a shape's views are, or will be, read again from memory or a file; otherwise each use rasterizes them."""
        return self._has_file(shape) or shape.id in self._kept or self._size(shape) <= self._room

    def _has_file(self, shape: Shape) -> bool:
        file = self._find(shape).file
        return file is not None and (self._fills or file.exists())

    def cameras(self, shape: Shape) -> Cameras:
        """The cameras of a shape, on the device."""
        return self._find(shape).cameras

    def num_views(self, shape: Shape) -> int:
        """Number of cameras of a shape."""
        return len(self.cameras(shape))

    def views(self, shape: Shape, index: Sequence[int] | None = None) -> Views:
        """The views of a shape at `index` (all if None)."""
        if shape.id not in self._kept:
            size = self._size(shape)
            if size > self._room or (self.device.type == "cpu" and self._fill(self._find(shape))):
                return self._make(shape, index)
            self._kept[shape.id] = self._make(shape, None)
            self._room -= size
        views = self._kept[shape.id]
        return views if index is None else views[list(index)]

    def _size(self, shape: Shape) -> int:
        """Bytes of the face ids of all views of a shape."""
        cameras = self.cameras(shape)
        return 4 * len(cameras) * self.layers * cameras.height * cameras.width

    def surface(self, shape: Shape, index: Sequence[int]) -> Surface:
        """The surface seen in the views of a shape at `index`."""
        return surface_of(self._find(shape).shape, self.views(shape, index))

    def _find(self, shape: Shape) -> _Placed:
        def put() -> _Placed:
            cameras = self._place(shape).to(self.device)
            file = None if self._cache is None else self._cache(shape, cameras, self.layers)
            return _Placed(shape.to(self.device), cameras, file)

        return self._placed.get(shape.id, put)

    def _make(self, shape: Shape, index: Sequence[int] | None) -> Views:
        """The views at `index`, from their file or rasterized."""
        entry = self._find(shape)
        cameras = entry.cameras if index is None else entry.cameras[list(index)]
        if entry.file is not None and self._fill(entry):
            try:
                return Views(cameras, entry.file.read(index).to(self.device, non_blocking=True))
            except InputError:
                if not entry.file.optional:
                    raise
                self._fill(entry, again=True)
        return self._rasterizer([entry.shape], [cameras], self.layers)[0]

    def _fill(self, entry: _Placed, again: bool = False) -> bool:
        """Whether the file of a shape's views is there; it is written if need be, or `again`. An optional one may fail."""
        file = entry.file
        if file is None or not (self._fills or file.exists()):
            return False
        if again or not file.exists():
            face_ids = self._rasterizer([entry.shape], [entry.cameras], self.layers)[0].face_ids
            try:
                file.check_room()
                file.write(face_ids)
            except InputError as error:
                if not file.optional:
                    raise
                self._fills = False
                say_once(f"note: {error}. Views are rasterized whenever they are not in memory (views.cache=)")
                return False
        return True
