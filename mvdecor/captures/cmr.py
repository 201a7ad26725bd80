"""Photographs of CMR's cleaned MATLAB files, of CUB or of PASCAL3D+."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.cub import CUB_KEYPOINTS, HALF
from mvdecor.captures.matlab import numbers, read_matlab, structs
from mvdecor.captures.photographs import Box, Photograph, check_mirror, make_photograph, mirror_by_name
from mvdecor.errors import InputError
from mvdecor.shapes.annotations import check_split
from mvdecor.views.cameras import Cameras


@dataclass(frozen=True)
class _Row:
    """One image of CMR's file; the mask in bits, since a file holds thousands."""

    path: str
    box: Box
    keypoints: NDArray[np.float32]
    mask: NDArray[np.uint8]
    size: tuple[int, int]
    cameras: Cameras | None


class CMR:
    """Photographs of CMR's MATLAB files (Kanazawa et al. 2018) of CUB or PASCAL3D+.

    A file holds a struct array `images`: rel_path, bbox (x1 y1 x2 y2), parts [3, K], mask; all positions are from 1. A second
    file, if it is there, holds `sfm_anno` in the same order: rot, scale, trans of scaled orthographic cameras.

    Args:
        images: the folder that rel_path is below.
        files: the MATLAB file of each split, for example {"train": "data/train_cub_cleaned.mat"}.
        cameras: the file of cameras of each split, or none.
        keypoints: the file of `kp_names` and `kp_perm_inds`, as PASCAL3D+ has one per category; None: CUB's 15.
        doubled: False: an image of test is taken out of val; CUB's files have one in both.

    Raises:
        InputError: a missing or malformed file.
    """

    def __init__(
        self,
        images: str | Path,
        files: dict[str, str | Path],
        cameras: dict[str, str | Path] | None = None,
        keypoints: str | Path | None = None,
        doubled: bool = True,
    ) -> None:
        self.images = Path(images)
        self.keypoint_names: tuple[str, ...] = CUB_KEYPOINTS
        self.mirror = mirror_by_name(CUB_KEYPOINTS)
        if keypoints is not None:
            self.keypoint_names = tuple(str(name) for name in np.ravel(read_matlab(Path(keypoints), "kp_names")))
            permutation = np.ravel(read_matlab(Path(keypoints), "kp_perm_inds")).astype(int) - 1
            self.mirror = check_mirror(permutation.tolist(), self.keypoint_names, Path(keypoints))
        self._rows: dict[str, _Row] = {}
        self._splits: dict[str, list[str]] = {}
        for split, path in files.items():
            rows = self._read(Path(path), Path(cameras[split]) if cameras and split in cameras else None)
            self._rows |= rows
            self._splits[split] = list(rows)
        if not doubled and "val" in self._splits:
            self._splits["val"] = [id for id in self._splits["val"] if id not in self._splits.get("test", [])]

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        if split == "all":
            return list(self._rows)
        if split == "unlabelled":
            held_out = {*self._splits.get("val", []), *self._splits.get("test", [])}
            return [id for id in self._rows if id not in held_out]
        if split not in self._splits:
            raise InputError(
                f"{self.images}: no file of split {split!r} was given; there are {', '.join(self._splits)}"
            )
        return list(self._splits[split])

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._rows:
            raise InputError(f"{self.images}: has no image {id!r}; correct the id")
        row = self._rows[id]
        height, width = row.size
        mask = np.unpackbits(row.mask, count=height * width).reshape(height, width).astype(bool)
        return make_photograph(id, self.images / row.path, mask, row.box, row.keypoints, row.cameras)

    def _read(self, path: Path, cameras: Path | None) -> dict[str, _Row]:
        images = structs(read_matlab(path, "images"))
        poses = structs(read_matlab(cameras, "sfm_anno")) if cameras is not None else [None] * len(images)
        if len(poses) != len(images):
            raise InputError(f"{cameras}: has {len(poses)} cameras for the {len(images)} images of {path}")
        rows = {}
        for number, (image, pose) in enumerate(zip(images, poses, strict=True)):
            source = f"{path}, image {number + 1}"
            name = str(getattr(image, "rel_path", ""))
            mask = np.asarray(getattr(image, "mask", np.zeros(0))) > 0
            if not name or mask.ndim != 2:
                raise InputError(f"{source}: needs rel_path and a mask [H, W]; is it CMR's file?")
            corners = [
                float(numbers(getattr(image, "bbox", None), corner, (), source)) for corner in ("x1", "y1", "x2", "y2")
            ]
            box = (corners[0] - 1, corners[1] - 1, corners[2], corners[3])
            parts = numbers(image, "parts", (3, len(self.keypoint_names)), source, finite=False).T  # NaN where unseen
            seen = parts[:, 2:] > 0
            points = np.where(seen, np.column_stack([parts[:, :2] - HALF, np.ones(len(parts))]), 0).astype(np.float32)
            packed = np.packbits(mask)
            rows[name.rsplit(".", 1)[0]] = _Row(
                name, box, points, packed, mask.shape, _camera(pose, mask.shape, source)
            )
        return rows


def _camera(pose: object, size: tuple[int, ...], source: str) -> Cameras | None:
    if pose is None:
        return None
    rotation, scale = numbers(pose, "rot", (3, 3), source), numbers(pose, "scale", (1,), source)
    trans = numbers(pose, "trans", (2,), source) - HALF
    values = [torch.from_numpy(value).float() for value in (rotation[None], scale, trans[None])]
    return Cameras.scaled_orthographic(values[0], values[1], values[2], size[0], size[1])
