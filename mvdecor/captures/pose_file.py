"""The camera of a single image from a file: a matrix, or the image's frame in a `transforms.json`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.image_files import image_header, load_array
from mvdecor.captures.srn import read_numbers
from mvdecor.captures.transforms import frame_of
from mvdecor.errors import InputError


class ImagePose(NamedTuple):
    """A camera: pose float64 [4, 4], camera to world, axes as `axes` says; intrinsics float64 [3, 3] or None."""

    pose: NDArray[np.float64]
    axes: str
    intrinsics: NDArray[np.float64] | None


def read_pose(path: Path, image: Path, axes: str) -> ImagePose:
    """The camera of an image.

    Args:
        path: text of 16 or 12 numbers (the rows of a 4 x 4 or 3 x 4 matrix, camera to world), the same as `.npy`, or a
            `.json` of Blender, instant-ngp or nerfstudio, whose frame of the image's name is taken (axes opengl).
        image: its file.
        axes: of a matrix, a name of `CAMERA_AXES`.

    Raises:
        InputError: the file cannot be read, or names the image not or twice; a lens with distortion.
    """
    if path.suffix.lower() == ".json":
        frame = frame_of(path, image)
        if frame.distortion:
            raise InputError(f"{frame.source}: its lens distorts: undistort the image first, and set k1, k2, ... to 0")
        height, width = image_header(image)[:2]
        matrix = np.array(frame.intrinsics, dtype=np.float64)
        if frame.size is not None:
            matrix[0] *= width / frame.size[1]
            matrix[1] *= height / frame.size[0]
        return ImagePose(np.array(frame.pose, dtype=np.float64), "opengl", matrix)
    if path.suffix.lower() == ".npy":
        array = load_array(path, "write it again with numpy.save")
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: holds {array.dtype}; a pose is 16 numbers, or 12")
        numbers = array.astype(np.float64).reshape(-1)
    else:
        numbers = np.array(read_numbers(path))
    if len(numbers) not in (12, 16):
        raise InputError(
            f"{path}: holds {len(numbers)} numbers; a pose has 16, the rows of a 4 x 4 matrix (or the first 12)"
        )
    pose = np.concatenate([numbers, [0, 0, 0, 1]])[:16] if len(numbers) == 12 else numbers
    return ImagePose(pose.reshape(4, 4), axes, None)
