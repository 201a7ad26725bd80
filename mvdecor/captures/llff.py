"""LLFF's `poses_bounds.npy`, and the masks that 3D-OVS adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.capture import Capture
from mvdecor.captures.folders import CaptureFolders
from mvdecor.captures.frames import Frame, capture_of
from mvdecor.captures.image_files import image_files, load_array
from mvdecor.errors import InputError
from mvdecor.files import text_of
from mvdecor.views.cameras import HUGE


class LLFF(CaptureFolders):
    """A scene of LLFF: row i of `poses_bounds.npy` is the camera of the i-th picture by name.

    A row is a 3 x 5 matrix (camera to world with the axes down, right, back; the fifth column is height, width and focal
    length of the original pictures) and the bounds near and far. Of 3D-OVS: `segmentations/classes.txt` (a label per line) and
    `segmentations/VIEW/LABEL.png`, VIEW being the number of a picture.

    Args:
        root, splits, reduce, bounds, memory: see `CaptureFolders`.
        images: the folder of pictures: `images`, or `images_4` with reduced ones.
    """

    marker = "poses_bounds.npy"
    axes = "llff"

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
        images: str = "images",
    ) -> None:
        super().__init__(root, splits, reduce, bounds, memory)
        self.images = images

    def is_capture(self, folder: Path) -> bool:
        """A folder with `poses_bounds.npy`."""
        return (folder / self.marker).is_file()

    def read(self, id: str, folder: Path) -> Capture:
        """The scene in a folder, with its label maps if it has any."""
        path = folder / self.marker
        rows, images = _rows(path), image_files(folder / self.images)
        if len(rows) != len(images):
            extra = images[len(rows)] if len(images) > len(rows) else f"{path}, row {len(images)}"
            raise InputError(
                f"{extra}: {path.name} has {len(rows)} cameras and {folder / self.images} {len(images)} images: row i must be "
                "the camera of the i-th image by name"
            )
        names, maps = _label_maps(folder / "segmentations", len(images))
        frames = []
        for i, (row, image) in enumerate(zip(rows, images)):
            matrix = row[:15].reshape(3, 5)
            height, width, focal = matrix[:, 4]
            intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
            pose = np.vstack([matrix[:, :4], [0, 0, 0, 1]])
            bounds = self.reading.bounds or (float(row[15]), float(row[16]))
            size = (round(float(height)), round(float(width)))
            frames.append(Frame(image, pose, intrinsics, f"{path}, row {i}", size, labels=maps.get(i), bounds=bounds))
        return capture_of(id, frames, self.axes, names, self.reading, path)


def _rows(path: Path) -> NDArray[np.float64]:
    rows = load_array(path, "make it again with LLFF's imgs2poses")
    if rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind != "f" or not (np.abs(rows) < HUGE).all():
        raise InputError(f"{path}: holds {rows.dtype} {list(rows.shape)}; it should be finite numbers [N, 17]")
    if (rows[:, [4, 9, 14]] < 1).any():
        raise InputError(f"{path}: height, width and focal length (numbers 5, 10 and 15 of a row) must be at least 1")
    return rows


def _label_maps(folder: Path, views: int) -> tuple[tuple[str, ...], dict[int, Path]]:
    """Label names, and the folder of masks of each view that has one."""
    classes = folder / "classes.txt"
    if not classes.is_file():
        return (), {}
    names = tuple(line.strip() for line in text_of(classes.read_bytes()).splitlines() if line.strip())
    if len(set(names)) != len(names) or not names:
        raise InputError(f"{classes}: should name each label once, a line each")
    maps = {}
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not path.name.isdecimal() or int(path.name) >= views:
            raise InputError(f"{path}: masks of no view: name the folder by the number of its image, 0 to {views - 1}")
        maps[int(path.name)] = path
    return names, maps
