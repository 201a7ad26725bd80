"""COLMAP's sparse models, text and binary: cameras, images and 3D points, in COLMAP's own terms.

Both are read here and not through pycolmap: its 4.2.1 cuts the name of a picture at a space, was still busy with some damaged
binary files after 20 seconds, and takes 135 MB. The tests compare the two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.files import text_of

MODELS: dict[str, tuple[int, str]] = {
    "SIMPLE_PINHOLE": (0, "f cx cy"),
    "PINHOLE": (1, "fx fy cx cy"),
    "SIMPLE_RADIAL": (2, "f cx cy k1"),
    "RADIAL": (3, "f cx cy k1 k2"),
    "OPENCV": (4, "fx fy cx cy k1 k2 p1 p2"),
}
"""Camera models that are read: number in binary files, parameters in order."""
NAMES = {number: name for name, (number, _) in MODELS.items()}
REMEDY = "undistort with `colmap image_undistorter` (it writes PINHOLE cameras), or estimate with one of " + ", ".join(
    MODELS
)
AGAIN = "export the model again with `colmap model_converter`"

Content = TypeVar("Content")


@dataclass(frozen=True)
class ColmapCamera:
    """A lens: picture size in pixels, and the model's parameters by name."""

    height: int
    width: int
    parameters: dict[str, float]


@dataclass(frozen=True)
class ColmapImage:
    """A posed picture.

    Attributes:
        name: of its file, with folders.
        camera: id of its camera.
        quaternion: float64 [4], (w, x, y, z), world to camera.
        translation: float64 [3].
        keypoints: float64 [K, 2], (x, y) in pixels, centres at +0.5.
        point_ids: int64 [K], the 3D point of each keypoint, -1 if none.
    """

    name: str
    camera: int
    quaternion: NDArray[np.float64]
    translation: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    point_ids: NDArray[np.int64]


@dataclass(frozen=True)
class ColmapModel:
    """A sparse model: cameras by id, images by id, positions float64 [3] of points by id."""

    cameras: dict[int, ColmapCamera]
    images: dict[int, ColmapImage]
    points: dict[int, NDArray[np.float64]]


def read_colmap(folder: Path) -> ColmapModel:
    """The model in a folder; binary files are taken where both kinds are there, as COLMAP does.

    Raises:
        InputError: a file is missing or damaged, or a camera model is none of `MODELS`.
    """
    suffix = ".bin" if (folder / "cameras.bin").is_file() else ".txt"
    cameras, images, points = (
        (_cameras_binary, _images_binary, _points_binary)
        if suffix == ".bin"
        else (_cameras_text, _images_text, _points_text)
    )
    model = ColmapModel(
        _read(cameras, folder / f"cameras{suffix}"),
        _read(images, folder / f"images{suffix}"),
        _read(points, folder / f"points3D{suffix}"),
    )
    for image in model.images.values():
        if image.camera not in model.cameras:
            raise InputError(
                f"{folder / f'images{suffix}'}: {image.name} has a camera {image.camera} that is not there"
            )
    return model


def _read(reader: Callable[[Path], Content], path: Path) -> Content:
    try:
        return reader(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
    except InputError:
        raise
    except (ValueError, IndexError, struct.error, OverflowError) as error:
        raise InputError(f"{path}: damaged ({error}); {AGAIN}") from error


def _parameters(path: Path, model: str | int, width: int, height: int) -> list[str]:
    """Names of the parameters of a model."""
    name = NAMES.get(model) if isinstance(model, int) else model
    if name not in MODELS:
        raise InputError(f"{path}: camera model {model} cannot be turned into a pinhole camera here: {REMEDY}")
    if width < 1 or height < 1:
        raise ValueError(f"a camera of {width}x{height} pixels")
    return MODELS[name][1].split()


def _lines(path: Path) -> Iterator[str]:
    return (line for line in text_of(path.read_bytes()).split("\n") if not line.startswith("#"))


def _cameras_text(path: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for words in (line.split() for line in _lines(path) if line.strip()):
        width, height = int(words[2]), int(words[3])
        names = _parameters(path, words[1], width, height)
        values = dict(zip(names, map(float, words[4:]), strict=True))
        cameras[int(words[0])] = ColmapCamera(height, width, values)
    return cameras


def _images_text(path: Path) -> dict[int, ColmapImage]:
    """Two lines a picture: its pose and name, then its keypoints (the second may be empty)."""
    images, lines = {}, _lines(path)
    for line in lines:
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        pose = np.array(words[1:8], dtype=np.float64)
        numbers = np.array(next(lines, "").split(), dtype=np.float64).reshape(-1, 3)
        images[int(words[0])] = _image(words[9].strip(), int(words[8]), pose, numbers[:, :2], numbers[:, 2])
    return images


def _image(name: str, camera: int, pose: NDArray[np.float64], keypoints: NDArray, point_ids: NDArray) -> ColmapImage:
    return ColmapImage(name, camera, pose[:4], pose[4:], keypoints, point_ids.astype(np.int64))


def _points_text(path: Path) -> dict[int, NDArray[np.float64]]:
    points = {}
    for line in _lines(path):
        if line.strip():
            id, x, y, z, *_ = line.split(maxsplit=4)
            points[int(id)] = np.array([x, y, z], dtype=np.float64)
    return points


class _Stream:
    """Little-endian values of a file, one after another; nothing is allocated by a count that the file could not hold."""

    def __init__(self, path: Path) -> None:
        self.content, self.at = path.read_bytes(), 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from(f"<{form}", self.content, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def name(self) -> str:
        end = self.content.index(b"\0", self.at)
        name = self.content[self.at : end].decode("utf-8", errors="surrogateescape")
        self.at = end + 1
        return name

    def array(self, kind: np.dtype, count: int) -> NDArray:
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += count * kind.itemsize
        return values

    def skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.content):
            raise ValueError("it is cut short")


def _cameras_binary(path: Path) -> dict[int, ColmapCamera]:
    stream, cameras = _Stream(path), {}
    (count,) = stream.take("Q")
    for _ in range(count):
        id, model, width, height = stream.take("IiQQ")
        names = _parameters(path, model, width, height)
        cameras[id] = ColmapCamera(height, width, dict(zip(names, stream.take(f"{len(names)}d"))))
    return cameras


def _images_binary(path: Path) -> dict[int, ColmapImage]:
    stream, images = _Stream(path), {}
    kind = np.dtype([("xy", "<f8", 2), ("point", "<u8")])
    (count,) = stream.take("Q")
    for _ in range(count):
        id, *pose, camera = stream.take("I7dI")
        name = stream.name()
        keypoints = stream.array(kind, stream.take("Q")[0])
        images[id] = _image(name, camera, np.array(pose), keypoints["xy"], keypoints["point"])  # 2^64 - 1 becomes -1
    return images


def _points_binary(path: Path) -> dict[int, NDArray[np.float64]]:
    stream, points = _Stream(path), {}
    (count,) = stream.take("Q")
    for _ in range(count):
        id, *position = stream.take("Q3d")
        stream.skip(3 + 8)  # colour and error
        stream.skip(8 * stream.take("Q")[0])  # where it was seen
        points[id] = np.array(position)
    return points
