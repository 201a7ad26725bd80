"""NSVF's scenes: SRN's layout with a bounding box, and splits by the beginning of the pictures' names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from mvdecor.captures.frames import Frame
from mvdecor.captures.srn import SRN
from mvdecor.errors import InputError
from mvdecor.views.rasterizers import NEAR

PREFIXES = {"all": "", "train": "0_", "val": "1_", "test": "2_"}


class NSVF(SRN):
    """A scene of Neural Sparse Voxel Fields: `rgb/0_0000.png`, `pose/0_0000.txt`, `intrinsics.txt`, `bbox.txt`.

    Args:
        root, splits, reduce, bounds, memory, labels: see `SRN`. Without `bounds`, near and far are those of the box's corners.
        views: "train", "val" or "test": the pictures whose names begin with 0_, 1_ or 2_; "all": every picture.
    """

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
        labels: str | Path | None = None,
        views: str = "all",
    ) -> None:
        super().__init__(root, splits, reduce, bounds, memory, labels)
        if views not in PREFIXES:
            raise InputError(f"capture.views={views!r} is unknown; choose one of {', '.join(PREFIXES)}")
        self.prefix = PREFIXES[views]

    def images(self, folder: Path) -> list[Path]:
        """The pictures of the chosen views."""
        return [path for path in super().images(folder) if path.name.startswith(self.prefix)]

    def poses(self, folder: Path) -> list[Path]:
        """The poses of the chosen views."""
        return [path for path in super().poses(folder) if path.name.startswith(self.prefix)]

    def with_bounds(self, folder: Path, frames: list[Frame]) -> list[Frame]:
        """Bounds from the box: camera z of its nearest and farthest corner, at least `NEAR` box diagonals before the camera."""
        path = folder / "bbox.txt"
        if self.reading.bounds is not None or not path.exists():
            return frames
        try:
            numbers = np.array([float(word) for word in path.read_text().split()])
            low, high = numbers[:3], numbers[3:6]
            assert len(high) == 3 and (low < high).all()
        except (ValueError, AssertionError, OSError) as error:
            raise InputError(f"{path}: should hold the least and greatest x, y, z (and the size of a voxel)") from error
        corners = np.array(list(product(*zip(low, high))))
        least = NEAR * float(np.linalg.norm(high - low))
        bounded = []
        for frame in frames:
            depth = (corners - frame.pose[:3, 3]) @ frame.pose[:3, 2]
            if depth.max() <= least:
                raise InputError(
                    f"{frame.source}: the camera looks away from the box of {path}: correct the pose or the box"
                )
            bounded.append(dataclasses.replace(frame, bounds=(max(float(depth.min()), least), float(depth.max()))))
        return bounded
