"""`Capture`: posed images of one object or scene, whose pixels are read when they are asked for."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.imports import make_object
from mvdecor.views.cameras import Cameras
from mvdecor.views.rays import Rays, rays_of

Array = TypeVar("Array", bound=NDArray)

BACKGROUND_NAME = "background"
"""Name of the label of pixels that see no part, where a capture's label maps have such a label."""


@dataclass(frozen=True)
class Pixels:
    """What one view shows.

    Attributes:
        image: uint8 [H, W, 3], RGB; what is transparent is over white.
        alpha: uint8 [H, W], 255 = the object, 0 = background; None if not known.
        labels: int16 [H, W], -1 = undetermined; None if the view has no label map.
        depth: float32 [H, W], camera z, 0 on the background; None if not known.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    labels: NDArray[np.int16] | None = None
    depth: NDArray[np.float32] | None = None

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        arrays = (getattr(self, field.name) for field in fields(self))
        return sum(array.nbytes for array in arrays if array is not None)


class PixelMemory:
    """Views of one or many captures that were read lately; the oldest leave when they take more memory than the limit.

    Args:
        megabytes: the limit, in 10^6 bytes.
    """

    def __init__(self, megabytes: float) -> None:
        self._limit = megabytes * 1e6
        self._views: OrderedDict[tuple[str, int], Pixels] = OrderedDict()
        self.bytes = 0

    def __reduce__(self) -> tuple:
        return PixelMemory, (self._limit / 1e6,)  # a worker process begins with none

    def get(self, id: str, view: int) -> Pixels | None:
        """A view of a capture, if it is still there."""
        pixels = self._views.get((id, view))
        if pixels is not None:
            self._views.move_to_end((id, view))
        return pixels

    def put(self, id: str, view: int, pixels: Pixels) -> None:
        """Remember a view, and forget the oldest ones beyond the limit."""
        if (id, view) in self._views:
            self.bytes -= self._views.pop((id, view)).bytes
        self._views[id, view] = pixels
        self.bytes += pixels.bytes
        while self.bytes > self._limit and self._views:
            self.bytes -= self._views.popitem(last=False)[1].bytes


@dataclass(frozen=True)
class Capture:
    """Posed images of one object or scene.

    Attributes:
        id: name, unique within its set.
        cameras: the N cameras (OpenCV axes, see `Cameras`).
        read: gives the `Pixels` of a view. `images`, `alpha`, `labels` and `depth` below call it for the views asked for.
        has_alpha: whether the views have an alpha channel or masks.
        has_depth: whether the views have exact depth.
        labelled: views that have a label map, ascending.
        label_names: name of each label; one may be `BACKGROUND_NAME`.
        near, far: float32 [N], camera z between which each view's content lies; None if not known.

    Raises:
        InputError: at construction, if bounds are not 0 < near < far.
    """

    id: str
    cameras: Cameras
    read: Callable[[int], Pixels]
    has_alpha: bool = False
    has_depth: bool = False
    labelled: tuple[int, ...] = ()
    label_names: tuple[str, ...] = ()
    near: Tensor | None = None
    far: Tensor | None = None

    def __post_init__(self) -> None:
        assert all(0 <= view < len(self) for view in self.labelled), "labelled must be indices of views"
        assert not self.labelled or self.label_names, "label maps need label names"
        assert (self.near is None) == (self.far is None), "near and far must both be there or both be missing"
        if self.near is not None and self.far is not None:
            assert self.near.shape == self.far.shape == (len(self),), "one near and far bound per view"
            if not bool(((self.near > 0) & (self.near < self.far)).all()):
                raise InputError(
                    f"capture {self.id}: each view needs 0 < near < far; correct the bounds, or leave them out"
                )

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def background(self) -> int | None:
        """The label of pixels that see no part, if there is one."""
        return self.label_names.index(BACKGROUND_NAME) if BACKGROUND_NAME in self.label_names else None

    def images(self, views: Sequence[int] | None = None) -> Tensor:
        """uint8 [n, H, W, 3], RGB of the views (all if None)."""
        return _stacked([self.read(view).image for view in self._chosen(views)])

    def alpha(self, views: Sequence[int] | None = None) -> Tensor | None:
        """uint8 [n, H, W], 255 = the object, 0 = background; None if the capture has neither alpha nor masks."""
        if not self.has_alpha:
            return None
        return _stacked([_present(self.read(view).alpha) for view in self._chosen(views)])

    def labels(self, views: Sequence[int] | None = None) -> Tensor:
        """int16 [n, H, W], labels of the views (the `labelled` ones if None), -1 = undetermined.

        Raises:
            InputError: a view has no label map.
        """
        numbers = self.labelled if views is None else self._chosen(views)
        if missing := [view for view in numbers if view not in self.labelled]:
            raise InputError(
                f"capture {self.id}: view {missing[0]} has no label map; labelled are {list(self.labelled)}"
            )
        if not numbers:
            raise InputError(f"capture {self.id}: no view has a label map")
        return _stacked([_present(self.read(view).labels) for view in numbers])

    def depth(self, views: Sequence[int] | None = None) -> Tensor | None:
        """float32 [n, H, W], camera z, 0 on the background; None if not known."""
        if not self.has_depth:
            return None
        return _stacked([_present(self.read(view).depth) for view in self._chosen(views)])

    def rays(self, index: Tensor | None = None) -> Rays:
        """The rays of pixels, int64 [R] into [N, H, W] flattened (all if None), see `rays_of`."""
        return rays_of(self.cameras, index)

    def fingerprint(self) -> str:
        """SHA-256 of cameras, pictures and label maps; reads all of them."""
        digest = hashlib.sha256()
        for tensor in (self.cameras.rotation, self.cameras.translation, self.cameras.intrinsics):
            digest.update(tensor.numpy().tobytes())
        for view in range(len(self)):
            digest.update(self.images([view]).numpy().tobytes())
            if view in self.labelled:
                digest.update(self.labels([view]).numpy().tobytes())
        return digest.hexdigest()

    def _chosen(self, views: Sequence[int] | None) -> Sequence[int]:
        if views is None:
            return range(len(self))
        if outside := [view for view in views if not 0 <= view < len(self)]:
            raise InputError(f"capture {self.id}: there is no view {outside[0]}; it has views 0 to {len(self) - 1}")
        return views


class CaptureSet(Protocol):
    """What all the readers of this package have in common; a reader of your own needs no more than this.

    Those of files also have `files(id) -> list[Path]`, all that a capture is read from.
    """

    label_names: tuple[str, ...]
    """Name of each label; () if the captures have no labels, or each its own."""

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "val", "test", "unlabelled" (what may be seen without labels: not val, not test) or "all"."""
        ...

    def load(self, id: str) -> Capture:
        """The capture. Its pixels are not read yet. Raises InputError if it is bad."""
        ...


def make_capture_set(node: DictConfig) -> CaptureSet:
    """A reader of the `capture` group."""
    return make_object(node, "capture")


def _stacked(arrays: Sequence[NDArray]) -> Tensor:
    """One tensor with its pixels in order: `numpy.stack` alone keeps the order that a reader's arrays have in memory."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(arrays)))


def _present(values: Array | None) -> Array:
    assert values is not None, "`read` left out what the capture says it has"
    return values
