"""`transforms.json` of Blender (NeRF's synthetic scenes), instant-ngp and nerfstudio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.capture import Capture
from mvdecor.captures.distortion import Distortion
from mvdecor.captures.folders import CaptureFolders
from mvdecor.captures.frames import Frame, capture_of
from mvdecor.captures.image_files import SUFFIXES, image_header
from mvdecor.errors import InputError
from mvdecor.files import named_file, read_json
from mvdecor.shapes.annotations import id_list

REMEDY = "export it again from Blender, instant-ngp's colmap2nerf.py or nerfstudio's ns-process-data"
LENS = {
    "PINHOLE",
    "SIMPLE_PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "PERSPECTIVE",
}  # camera models that can be undone
SIZE = ("w", "h")
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")


class Transforms(CaptureFolders):
    """A scene of a `transforms.json`: pictures, camera-to-world matrices (OpenGL axes), one lens or one per frame.

    Read are `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h`, `camera_angle_x`, `camera_angle_y`, `k1`, `k2`, `k3`, `p1`, `p2`,
    `camera_model` (for the file or a frame; the frame's counts), and of a frame `file_path` (with or without suffix),
    `transform_matrix`, `mask_path` and `label_path`. `labels` of the file names the values of the label maps. Distortion is
    undone (`Undistortion`); fisheye lenses are refused.

    Args:
        root, splits, reduce, bounds, memory: see `CaptureFolders`. NeRF's synthetic scenes lie between 2 and 6.
        file: name of the JSON file: "transforms_train.json", say.
        on_error: "raise" on a frame whose picture is missing and on a picture (in the folders of the others) that no
            `transforms*.json` names; "skip" them, and say how many they are.
    """

    axes = "opengl"

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
        file: str = "transforms.json",
        on_error: str = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise InputError(f"capture.on_error={on_error!r} is unknown; choose raise or skip")
        self.marker, self.on_error = file, on_error
        super().__init__(root, splits, reduce, bounds, memory)

    def is_capture(self, folder: Path) -> bool:
        """A folder with the JSON file."""
        return (folder / self.marker).is_file()

    def read(self, id: str, folder: Path) -> Capture:
        """The scene in a folder."""
        path = folder / self.marker
        content = _content(path)
        names = tuple(id_list(content.get("labels", []), f"{path}, labels"))
        if model := content.get("camera_model"):
            _check_model(model, str(path))
        paths = [_picture(frame, i, path) for i, frame in enumerate(content["frames"])]
        missing = [image for image in paths if not image.is_file()]
        self._report(missing, f"{path} names it, but there is no such image", "put it there")
        self._report(_unnamed(folder, paths), f"no frame of {path} has this image", "remove it")
        present = [(i, image) for i, image in enumerate(paths) if image.is_file()]
        frames = [_frame({**content, **content["frames"][i]}, i, image, path, bool(names)) for i, image in present]
        return capture_of(id, frames, self.axes, names, self.reading, path)

    def _report(self, files: Sequence[Path], what: str, remedy: str) -> None:
        if not files:
            return
        count = f" ({len(files)} of them)" if len(files) > 1 else ""
        if self.on_error == "raise":
            raise InputError(
                f"{files[0]}: {what}{count}: {remedy}, or leave such images out with capture.on_error=skip"
            )
        print(f"warning: {files[0]}: {what}{count}: left out", flush=True)


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path, REMEDY)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{path}: has no list "frames" of objects; {REMEDY}')
    return content


def _picture(frame: dict[str, Any], number: int, path: Path) -> Path:
    """The file of a frame. Blender's script leaves the suffix out."""
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise InputError(f'{path}, frame {number}: has no "file_path"; {REMEDY}')
    if name.lower().endswith(SUFFIXES):
        return named_file(name, path)
    candidates = [named_file(name + suffix, path) for suffix in SUFFIXES]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _unnamed(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Pictures beside those of the frames that no `transforms*.json` of the folder names.

    `r_0_depth_0001.png` beside `r_0.png`, as Blender writes it, is no picture of its own.
    """
    named = {path.resolve() for path in paths}
    for other in sorted(folder.glob("transforms*.json")):
        frames = _content(other)["frames"]
        named |= {_picture(frame, i, other).resolve() for i, frame in enumerate(frames)}
    stems = {(path.parent, path.stem) for path in named}

    def is_companion(path: Path) -> bool:
        parts = path.stem.split("_")
        return any((path.parent, "_".join(parts[:i])) in stems for i in range(1, len(parts)))

    pictures = {
        file
        for at in {path.parent for path in named if path.parent != folder.resolve() and path.parent.is_dir()}
        for file in at.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    }
    return sorted(file for file in pictures - named if not is_companion(file))


def _frame(values: dict[str, Any], number: int, image: Path, path: Path, labelled: bool) -> Frame:
    source = f"{path}, frame {number} ({values['file_path']})"
    if model := values.get("camera_model"):
        _check_model(model, source)
    size = _size(values, image, source)
    lens = Distortion(*(_number(values, key, source, 0.0) for key in ("k1", "k2", "p1", "p2", "k3")))
    if k4 := _number(values, "k4", source, 0.0):
        raise InputError(f"{source}: its lens has a coefficient k4={k4}, of a fisheye: undistort the images first")
    mask, labels = (_named(values, key, path, source) for key in ("mask_path", "label_path"))
    return Frame(
        image,
        _pose(values, source),
        _intrinsics(values, size, source),
        source,
        size,
        lens,
        mask,
        labels if labelled else None,
    )


def _pose(values: dict[str, Any], source: str) -> NDArray[np.float64]:
    try:
        pose = np.array(values.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.zeros(0)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1]])
    if pose.shape != (4, 4):
        raise InputError(f'{source}: "transform_matrix" should be 4 lists of 4 numbers; {REMEDY}')
    return pose


def _size(values: dict[str, Any], image: Path, source: str) -> tuple[int, int]:
    if not any(key in values for key in SIZE):
        return image_header(image)[:2]
    width, height = (_number(values, key, source) for key in SIZE)
    if width < 1 or height < 1:
        raise InputError(f"{source}: w and h are {width:g} and {height:g}; they must be at least 1")
    return round(height), round(width)


def _intrinsics(values: dict[str, Any], size: tuple[int, int], source: str) -> NDArray[np.float64]:
    height, width = size
    if not any(key in values for key in FOCAL):
        raise InputError(f"{source}: has neither fl_x nor camera_angle_x, so its focal length is not known; {REMEDY}")
    fx, fy = (
        _number(values, focal, source) if focal in values else _from_angle(values, angle, side, source)
        for focal, angle, side in (("fl_x", "camera_angle_x", width), ("fl_y", "camera_angle_y", height))
    )
    if fx is None and fy is None:
        raise InputError(f"{source}: its focal length is not known; {REMEDY}")
    fx, fy = (fx or fy), (fy or fx)  # square pixels where one is missing
    cx, cy = _number(values, "cx", source, width / 2), _number(values, "cy", source, height / 2)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def _from_angle(values: dict[str, Any], key: str, side: int, source: str) -> float | None:
    if key not in values:
        return None
    angle = _number(values, key, source)
    if not 0 < angle < math.pi:
        raise InputError(f"{source}: {key} is {angle:g}; it should be an angle in radians, above 0 and below pi")
    return 0.5 * side / math.tan(0.5 * angle)


def _check_model(model: Any, source: str) -> None:
    if str(model).upper() not in LENS:
        raise InputError(
            f"{source}: camera_model {model} cannot be turned into a pinhole camera here: undistort the images first (COLMAP's "
            "image_undistorter), or leave them out"
        )


def _number(values: dict[str, Any], key: str, source: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{source}: {key} is {value!r} instead of a number; {REMEDY}")
    return float(value)


def _named(values: dict[str, Any], key: str, path: Path, source: str) -> Path | None:
    name = values.get(key)
    if name is None:
        return None
    if not isinstance(name, str):
        raise InputError(f"{source}: {key} is {name!r} instead of the name of a file; {REMEDY}")
    file = named_file(name, path)
    if not file.is_file():
        raise InputError(f"{file}: no such file, though {source} names it as {key}: put it there, or take {key} out")
    return file
