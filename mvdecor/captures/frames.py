"""From frames, as each file format describes them, to a capture: sizes, lenses, reduction and checks in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.capture import Capture, PixelMemory, Pixels
from mvdecor.captures.distortion import PINHOLE, Distortion, Undistortion
from mvdecor.captures.image_files import image_header, read_image, read_label_map, read_mask
from mvdecor.captures.reduced import reduce_pixels
from mvdecor.errors import InputError
from mvdecor.views.cameras import HUGE, Cameras


@dataclass(frozen=True)
class Frame:
    """One posed image.

    Attributes:
        image: its file.
        pose: float64 [4, 4], camera to world, in the axes of the format.
        intrinsics: float64 [3, 3], in pixels of a picture of `size`.
        source: where pose and intrinsics come from (file and place), for messages.
        size: (height, width) that `intrinsics` is for; None: that of the file. A picture of another size and the same
            proportions was reduced, and its intrinsics with it.
        distortion: of the lens.
        mask: picture of the object's pixels; None: the alpha channel, if there is one.
        labels: label map, see `read_label_map`; None if there is none.
        bounds: camera z (near, far); None if not known.
    """

    image: Path
    pose: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    source: str
    size: tuple[int, int] | None = None
    distortion: Distortion = PINHOLE
    mask: Path | None = None
    labels: Path | None = None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Reading:
    """How the readers read.

    Attributes:
        memory: where pixels are remembered.
        reduce: average blocks of `reduce` x `reduce` pixels into one.
        bounds: camera z (near, far) for frames that have none.
        white_background: what is exactly white in pictures without alpha channel and mask is background.
    """

    memory: PixelMemory
    reduce: int = 1
    bounds: tuple[float, float] | None = None
    white_background: bool = False


@dataclass(frozen=True)
class FileViews:
    """Reads the `Pixels` of a view from its files."""

    id: str
    frames: tuple[Frame, ...]
    size: tuple[int, int]
    lenses: tuple[Undistortion | None, ...]
    label_names: tuple[str, ...]
    has_alpha: bool
    reading: Reading

    def __call__(self, view: int) -> Pixels:
        pixels = self.reading.memory.get(self.id, view)
        if pixels is None:
            pixels = reduce_pixels(self._pinhole(self._read(view), self.lenses[view]), self.reading.reduce)
            self.reading.memory.put(self.id, view, pixels)
        return pixels

    def _read(self, view: int) -> Pixels:
        frame = self.frames[view]
        image, alpha = read_image(frame.image)
        self._check(image, frame.image)
        if frame.mask is not None:
            alpha = read_mask(frame.mask)
            self._check(alpha, frame.mask)
        elif alpha is None and self.reading.white_background:
            alpha = np.where((image == 255).all(axis=-1), 0, 255).astype(np.uint8)
        labels = None
        if frame.labels is not None:
            labels = read_label_map(frame.labels, self.label_names)
            self._check(labels, frame.labels)
        return Pixels(image, alpha if self.has_alpha else None, labels)

    def _pinhole(self, pixels: Pixels, lens: Undistortion | None) -> Pixels:
        if lens is None:
            return pixels
        alpha = None if pixels.alpha is None else lens.image(pixels.alpha[..., None])[..., 0]
        return Pixels(lens.image(pixels.image), alpha, None if pixels.labels is None else lens.labels(pixels.labels))

    def _check(self, values: NDArray, path: Path) -> None:
        if values.shape[:2] != self.size:
            raise InputError(
                f"{path}: has {values.shape[1]}x{values.shape[0]} pixels, but the images of {self.id} have "
                f"{self.size[1]}x{self.size[0]}: give all the same size"
            )


def capture_of(
    id: str, frames: Sequence[Frame], axes: str, label_names: tuple[str, ...], reading: Reading, source: Path
) -> Capture:
    """A capture of frames from files. Headers of pictures are read here, pixels when they are asked for.

    Args:
        id: of the capture.
        frames: N posed images.
        axes: of their poses, a name of `CAMERA_AXES`.
        label_names: name of each label.
        reading: settings.
        source: file or folder that lists the frames, for messages.

    Raises:
        InputError: fewer than two frames, a missing picture, mixed sizes, some pictures with alpha and some without, bounds
            for some frames only, a pose that is no rotation, a size that cannot be reduced.
    """
    if len(frames) < 2:
        raise InputError(f"{source}: holds {len(frames)} posed image(s): a capture needs at least 2 views")
    size, has_alpha = _headers(frames)
    if reading.reduce < 1 or size[0] % reading.reduce or size[1] % reading.reduce:
        raise InputError(
            f"{source}: images of {size[1]}x{size[0]} pixels cannot be reduced by {reading.reduce}: set capture.reduce to a "
            "divisor of both sides"
        )
    intrinsics = [_scaled(frame, size) for frame in frames]
    lenses = [_lens(frame, matrix, size) for frame, matrix in zip(frames, intrinsics, strict=True)]
    for matrix, lens in zip(intrinsics, lenses, strict=True):
        if lens is not None:
            matrix[[0, 1], [0, 1]] *= lens.zoom
    poses = np.stack([frame.pose for frame in frames])
    cameras = Cameras.from_poses(poses, np.stack(intrinsics), *size, axes, [frame.source for frame in frames])
    near, far = _bounds(frames, reading)
    return Capture(
        id=id,
        cameras=cameras.reduced(reading.reduce),
        read=FileViews(
            id, tuple(frames), size, tuple(lenses), label_names, has_alpha or reading.white_background, reading
        ),
        has_alpha=has_alpha or reading.white_background,
        labelled=tuple(i for i, frame in enumerate(frames) if frame.labels is not None),
        label_names=label_names,
        near=near,
        far=far,
    )


def check_pairs(images: Sequence[Path], others: Mapping[str, Path], what: str) -> None:
    """Check that every picture has its file (of its pose, say) and every file its picture, by name without suffix.

    Raises:
        InputError: naming the first that lacks its partner, or two pictures of one name.
    """
    stems: dict[str, Path] = {}
    for image in images:
        if image.stem in stems:
            raise InputError(f"{image}: {stems[image.stem].name} has the same name; which of the two is it? Remove one")
        stems[image.stem] = image
    if without := sorted(stems.keys() - others.keys()):
        raise InputError(f"{stems[without[0]]}: has no {what} named {without[0]}: add it, or remove the image")
    if without := sorted(others.keys() - stems.keys()):
        raise InputError(
            f"{others[without[0]]}: this {what} has no image named {without[0]}: add it, or remove the file"
        )


def _headers(frames: Sequence[Frame]) -> tuple[tuple[int, int], bool]:
    """Size of all pictures, and whether all have alpha or a mask."""
    first: tuple[int, int, bool] | None = None
    for frame in frames:
        height, width, alpha = image_header(frame.image)
        header = (height, width, alpha or frame.mask is not None)
        first = first or header
        if header[:2] != first[:2]:
            raise InputError(
                f"{frame.image}: has {width}x{height} pixels, but {frames[0].image.name} has {first[1]}x{first[0]}: "
                "give all images of a capture the same size"
            )
        if header[2] != first[2]:
            verb = "has" if header[2] else "has no"
            raise InputError(
                f"{frame.image}: {verb} alpha channel or mask, unlike {frames[0].image.name}: give one to all or none"
            )
    assert first is not None
    return first[:2], first[2]


def _scaled(frame: Frame, size: tuple[int, int]) -> NDArray[np.float64]:
    """Intrinsics for pictures of `size`."""
    matrix = np.array(frame.intrinsics, dtype=np.float64)
    if not (np.abs(matrix) < HUGE).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise InputError(
            f"{frame.source}: its focal lengths must be above 0, and all finite; estimate the camera again"
        )
    if frame.size is None or frame.size == size:
        return matrix
    scale = (size[0] / frame.size[0], size[1] / frame.size[1])
    off = max(abs(frame.size[0] * scale[1] - size[0]), abs(frame.size[1] * scale[0] - size[1]))
    if off > 1:  # more than a pixel that rounding of a reduced size explains
        raise InputError(
            f"{frame.image}: has {size[1]}x{size[0]} pixels, but {frame.source} is for {frame.size[1]}x{frame.size[0]}: "
            "give the images that the cameras were estimated from, or reduced ones of the same proportions"
        )
    return np.array([[scale[1]], [scale[0]], [1.0]]) * matrix


def _lens(frame: Frame, matrix: NDArray[np.float64], size: tuple[int, int]) -> Undistortion | None:
    if not frame.distortion:
        return None
    focal, center = (float(matrix[0, 0]), float(matrix[1, 1])), (float(matrix[0, 2]), float(matrix[1, 2]))
    return Undistortion(focal, center, size, frame.distortion, frame.source)


def _bounds(frames: Sequence[Frame], reading: Reading) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    bounds = [frame.bounds or reading.bounds for frame in frames]
    present = [pair for pair in bounds if pair is not None]
    if not present:
        return None, None
    if len(present) < len(bounds):
        raise InputError(
            f"{frames[bounds.index(None)].source}: has no near and far bound, others have: set capture.bounds"
        )
    for frame, (near, far) in zip(frames, present, strict=True):
        if not 0 < near < far < HUGE:
            raise InputError(
                f"{frame.source}: its bounds are {near:g} and {far:g}; give 0 < near < far, or set capture.bounds"
            )
    low, high = torch.tensor(np.array(present), dtype=torch.float32).unbind(1)
    return low, high
