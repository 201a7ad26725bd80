"""The layout that SRN, NSVF and the semantic scenes data set share: `rgb/`, `pose/`, `seg/` and `intrinsics.txt`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.capture import BACKGROUND_NAME, Capture
from mvdecor.captures.folders import CaptureFolders
from mvdecor.captures.frames import Frame, capture_of, check_pairs
from mvdecor.captures.image_files import image_files
from mvdecor.errors import InputError
from mvdecor.files import read_json, text_of
from mvdecor.shapes.annotations import id_list
from mvdecor.views.cameras import HUGE


class SRN(CaptureFolders):
    """Objects of Scene Representation Networks (`cars_train/ID/...`), and of Semantic SRN (`Chair/Chair.train/ID/...`).

    `rgb/NAME.png`, `pose/NAME.txt` (camera to world, 16 numbers; OpenCV axes), `intrinsics.txt` and, for some or all views,
    `seg/NAME.npy`. Pictures without alpha channel have a white background.

    Args:
        root, splits, reduce, bounds, memory: see `CaptureFolders`.
        labels: names of the values in `seg/`, relative to `root` or absolute: JSON {"labels": [names]}, of values 0, 1, ...,
            or lines "value name kind" as in `Chair-level-1.txt` (0 is then the background). None: the only `*-level-1.txt`
            of the root, or else the label maps are left alone.
    """

    marker = "folder with rgb/, pose/ and intrinsics.txt"
    axes = "opencv"

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
        labels: str | Path | None = None,
    ) -> None:
        super().__init__(root, splits, reduce, bounds, memory)
        self.reading = dataclasses.replace(self.reading, white_background=True)
        levels = sorted(self.root.glob("*-level-1.txt"))
        if labels is None and len(levels) > 1:
            raise InputError(f"{levels[0]} and {levels[1].name} both name labels: set capture.labels to one of them")
        if labels is not None or levels:
            self.label_names = _read_names(self.root / labels if labels is not None else levels[0])

    def is_capture(self, folder: Path) -> bool:
        """A folder with `intrinsics.txt` and `pose/`."""
        return (folder / "intrinsics.txt").is_file() and (folder / "pose").is_dir()

    def read(self, id: str, folder: Path) -> Capture:
        """The object in a folder, with its label maps if their labels have names."""
        matrix, size, world_to_camera = read_intrinsics(folder / "intrinsics.txt")
        images, poses = self.images(folder), {path.stem: path for path in self.poses(folder)}
        check_pairs(images, poses, "pose")
        maps = {path.stem: path for path in (folder / "seg").glob("*.npy")} if self.label_names else {}
        check_pairs([image for image in images if image.stem in maps], maps, "label map")
        frames = []
        for image in images:
            path = poses[image.stem]
            pose = read_matrix(path)
            pose = _inverse(pose) if world_to_camera else pose
            frames.append(Frame(image, pose, matrix, str(path), size, labels=maps.get(image.stem)))
        frames = self.with_bounds(folder, frames)
        return capture_of(id, frames, self.axes, self.label_names if maps else (), self.reading, folder)

    def images(self, folder: Path) -> list[Path]:
        """The pictures to be read."""
        return image_files(folder / "rgb")

    def poses(self, folder: Path) -> list[Path]:
        """The files of their poses."""
        return sorted((folder / "pose").glob("*.txt"))

    def with_bounds(self, folder: Path, frames: list[Frame]) -> list[Frame]:
        """The frames with near and far bounds, where the format has them."""
        return frames


def read_intrinsics(path: Path) -> tuple[NDArray[np.float64], tuple[int, int] | None, bool]:
    """Intrinsics float64 [3, 3], the (height, width) they are for, and whether poses are world to camera.

    The first line is `f cx cy 0`; SRN and NSVF write lines of their own after it; the one of two numbers is `height width`, and
    the number after it, if any, tells whether poses are world to camera. Some files hold a 4 x 4 matrix and nothing else.
    """
    lines = [_numbers(line, path) for line in _text(path).splitlines() if line.strip()]
    if [len(line) for line in lines] == [4, 4, 4, 4]:
        return np.array(lines)[:3, :3], None, False
    sizes = [i for i, line in enumerate(lines) if len(line) == 2]
    if not lines or len(lines[0]) not in (3, 4) or len(sizes) != 1:
        raise InputError(f"{path}: should begin with a line `f cx cy 0.` and have one line `height width`")
    (height, width), after = lines[sizes[0]], lines[sizes[0] + 1 :]
    if not (1 <= height < HUGE and 1 <= width < HUGE and height == int(height) and width == int(width)):
        raise InputError(
            f"{path}: its height and width are {height:g} and {width:g}; both must be whole numbers above 0"
        )
    f, cx, cy = lines[0][:3]
    matrix = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]])
    return matrix, (int(height), int(width)), bool(after and after[0] and after[0][0])


def read_matrix(path: Path) -> NDArray[np.float64]:
    """float64 [4, 4] of a text file with 16 numbers, row by row, on one line or four."""
    numbers = read_numbers(path)
    if len(numbers) != 16:
        raise InputError(f"{path}: holds {len(numbers)} numbers; a pose has 16, the rows of a 4 x 4 matrix")
    return np.array(numbers).reshape(4, 4)


def read_numbers(path: Path) -> list[float]:
    """All numbers of a text file."""
    return _numbers(_text(path), path)


def _inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a rotation and translation; of anything else no rotation either, which `Cameras.from_poses` refuses."""
    inverse = pose.copy()
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _read_names(path: Path) -> tuple[str, ...]:
    """Names by value. Values below the greatest that the file does not list are called "unused VALUE"."""
    if path.suffix.lower() == ".json":
        content = read_json(path, 'it should be {"labels": [names]}')
        if not isinstance(content, dict) or "labels" not in content:
            raise InputError(f'{path}: should be {{"labels": [names]}}, the names of the values 0, 1, ...')
        return tuple(id_list(content["labels"], f"{path}, labels"))
    names = {0: BACKGROUND_NAME}
    for line in _text(path).splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or not words[0].isdecimal() or not 0 < int(words[0]) < 1000 or int(words[0]) in names:
            raise InputError(f"{path}: the line {line!r} should be `value name kind`, with each value above 0 once")
        names[int(words[0])] = words[1]
    return tuple(names.get(value, f"unused {value}") for value in range(max(names) + 1))


def _text(path: Path) -> str:
    try:
        return text_of(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); put it there") from error


def _numbers(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"{path}: holds something that is no number ({error}); write it again") from error
