"""`Photograph`: one image of one object with a mask, and what else is known; and sets of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.image_files import read_image
from mvdecor.errors import InputError
from mvdecor.views.cameras import Cameras

Box = tuple[float, float, float, float]

OUTSIDE = 1.0  # pixels by which a keypoint may lie outside its image: whole numbers in files are rounded


@dataclass(frozen=True)
class Photograph:
    """One object in one image.

    Positions are in pixels, (x, y) = (j + 0.5, i + 0.5) at the centre of the pixel in row i and column j.

    Attributes:
        id: name, unique within its set.
        image: uint8 [H, W, 3], RGB.
        mask: bool [H, W], True on the object; None if the set has no masks.
        box: left, top, right, bottom of the object.
        keypoints: float32 [K, 3], x, y, and 1 where visible, else 0 (then x and y may be anything finite); None if not known.
        cameras: the one camera of the image; None if not known.

    Raises:
        InputError: at construction: an empty mask or one of another size, a box that is empty or outside, keypoints that are
            not finite or visible outside the image.
    """

    id: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    box: Box
    keypoints: NDArray[np.float32] | None = None
    cameras: Cameras | None = None

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        assert self.image.dtype == np.uint8 and self.image.shape[2:] == (3,), "image must be uint8 [H, W, 3]"
        if self.mask is not None:
            self._check_mask(height, width)
        left, top, right, bottom = self.box
        if not (left < right and top < bottom and left < width and top < height and right > 0 and bottom > 0):
            raise InputError(
                f"photograph {self.id}: its box {_short(self.box)} is empty or outside its {width}x{height} image"
            )
        if self.keypoints is not None:
            self._check_keypoints(height, width)

    def _check_mask(self, height: int, width: int) -> None:
        assert self.mask is not None and self.mask.dtype == np.bool_, "mask must be bool [H, W]"
        if self.mask.shape != (height, width):
            raise InputError(
                f"photograph {self.id}: its mask has {self.mask.shape[1]}x{self.mask.shape[0]} pixels and its image "
                f"{width}x{height}: export the mask at the image's size"
            )
        if not self.mask.any():
            raise InputError(f"photograph {self.id}: its mask is empty: correct the mask, or leave the photograph out")

    def _check_keypoints(self, height: int, width: int) -> None:
        points = self.keypoints
        assert points is not None and points.ndim == 2 and points.shape[1] == 3, "keypoints must be float32 [K, 3]"
        visible = points[points[:, 2] > 0]
        if not np.isfinite(points).all():
            raise InputError(f"photograph {self.id}: a keypoint is NaN or infinite: give 0 0 0 where it is not seen")
        if not np.isin(points[:, 2], (0, 1)).all():
            raise InputError(f"photograph {self.id}: the visibility of a keypoint is neither 0 nor 1")
        outside = (visible[:, :2] < -OUTSIDE).any(1) | (visible[:, :2] > np.array([width, height]) + OUTSIDE).any(1)
        if outside.any():
            raise InputError(
                f"photograph {self.id}: a visible keypoint at {_short(visible[outside][0, :2])} is outside the "
                f"{width}x{height} image: set its visibility to 0, or correct it"
            )


class PhotographSet(Protocol):
    """What all readers of photographs have in common; a reader of your own needs no more than this."""

    keypoint_names: tuple[str, ...]
    """Name of each keypoint; () if there are none."""
    mirror: tuple[int, ...]
    """For each keypoint the one that it becomes in the mirrored image, as a permutation; () if it is not known."""

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "val", "test", "unlabelled" or "all"."""
        ...

    def load(self, id: str) -> Photograph:
        """The photograph. Raises InputError if it is bad."""
        ...


def load_photographs(source: PhotographSet, ids: Sequence[str]) -> tuple[list[Photograph], dict[str, str]]:
    """The good photographs, and for each bad one why it was left out.

    Raises:
        InputError: none is good; the message is that of the first.
    """
    photographs, refused = [], {}
    for id in ids:
        try:
            photographs.append(source.load(id))
        except InputError as error:
            refused[id] = str(error)
    if ids and not photographs:
        raise InputError(f"none of {len(ids)} photographs can be used; the first: {refused[ids[0]]}")
    return photographs, refused


def make_photograph(
    id: str,
    path: Path,
    mask: NDArray[np.bool_] | None,
    box: Box | None = None,
    keypoints: NDArray[np.float32] | None = None,
    cameras: Cameras | None = None,
) -> Photograph:
    """A photograph of an image file; without a box, the box of its mask, or the whole image."""
    image, _ = read_image(path)
    if box is None:
        box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0])) if mask is None else box_of(mask)
    return Photograph(id, image, mask, box, keypoints, cameras)


def box_of(mask: NDArray[np.bool_]) -> Box:
    """Left, top, right, bottom of the pixels of a mask; the whole image if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0, 0.0, float(mask.shape[1]), float(mask.shape[0])
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def check_mirror(mirror: Sequence[int], names: Sequence[str], source: Path | str) -> tuple[int, ...]:
    """A permutation that swaps keypoints in pairs. Raises InputError if it is none."""
    if sorted(mirror) != list(range(len(names))) or any(mirror[other] != i for i, other in enumerate(mirror)):
        raise InputError(
            f"{source}: mirror must swap the {len(names)} keypoints in pairs (left eye and right eye) or leave them: "
            f"{list(mirror)} does not"
        )
    return tuple(int(i) for i in mirror)


def mirror_by_name(names: Sequence[str]) -> tuple[int, ...]:
    """The permutation that swaps names that differ by left and right (also L_, R_, Left, Right) alone."""
    swapped = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    index = {name: i for i, name in enumerate(names)}

    def other(name: str) -> str:
        for side, opposite in swapped.items():
            if side in name:
                return name.replace(side, opposite, 1)
        return {"L_": "R_", "R_": "L_"}.get(name[:2], name[:2]) + name[2:]

    return tuple(index.get(other(name), i) for i, name in enumerate(names))


def _short(values: Sequence[float] | NDArray) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
