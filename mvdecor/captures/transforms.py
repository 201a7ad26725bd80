"""`transforms.json` of Blender (NeRF's synthetic scenes), instant-ngp and nerfstudio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mvdecor.captures.capture import Capture
from mvdecor.captures.distortion import Distortion
from mvdecor.captures.folders import CaptureFolders
from mvdecor.captures.frames import Frame, capture_of
from mvdecor.captures.image_files import SUFFIXES, image_header
from mvdecor.errors import InputError
from mvdecor.files import named_file, read_json
from mvdecor.shapes.annotations import id_list

REMEDY = "export it again from Blender, instant-ngp's colmap2nerf.py or nerfstudio's ns-process-data"
PINHOLES = {"PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE"}
"""Camera models whose distortion can be undone."""
Length = Annotated[float, Field(gt=0)]
Angle = Annotated[float, Field(gt=0, lt=math.pi)]  # radians
Row = Annotated[list[float], Field(min_length=4, max_length=4)]


class FrameValues(BaseModel):
    """What is read of a frame, and of the file where the frame does not say."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    file_path: Annotated[str, Field(min_length=1)]
    transform_matrix: Annotated[list[Row], Field(min_length=3, max_length=4)]
    w: Length | None = None
    h: Length | None = None
    fl_x: Length | None = None
    fl_y: Length | None = None
    camera_angle_x: Angle | None = None
    camera_angle_y: Angle | None = None
    cx: float | None = None
    cy: float | None = None
    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    camera_model: str = "OPENCV"
    mask_path: str | None = None
    label_path: str | None = None


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
        values = [_values(content, i, path) for i in range(len(content["frames"]))]
        paths = [_picture(frame.file_path, path) for frame in values]
        _check_named_once(paths, path)
        missing = [image for image in paths if not image.is_file()]
        self._report(missing, f"{path} names it, but there is no such image", "put it there")
        self._report(_unnamed(folder, paths), f"no frame of {path} has this image", "remove it")
        frames = [
            _frame(frame, image, f"{path}, frame {i} ({frame.file_path})", path, bool(names))
            for i, (frame, image) in enumerate(zip(values, paths))
            if image.is_file()
        ]
        return capture_of(id, frames, self.axes, names, self.reading, path)

    def _report(self, files: Sequence[Path], fault: str, remedy: str) -> None:
        if not files:
            return
        count = f" ({len(files)} of them)" if len(files) > 1 else ""
        if self.on_error == "raise":
            raise InputError(
                f"{files[0]}: {fault}{count}: {remedy}, or leave such images out with capture.on_error=skip"
            )
        print(f"warning: {files[0]}: {fault}{count}: left out", flush=True)


def frame_of(path: Path, image: Path) -> Frame:
    """The frame of a picture in a `transforms.json`, by the picture's name without suffix; axes "opengl".

    Raises:
        InputError: the file is damaged, or has no such frame or several.
    """
    content = _content(path)
    values = [_values(content, i, path) for i in range(len(content["frames"]))]
    numbers = [i for i, frame in enumerate(values) if Path(frame.file_path).stem == image.stem]
    if len(numbers) != 1:
        raise InputError(
            f"{path}: {len(numbers)} of its frames are called {image.stem}: name the image as its frame is named"
        )
    return _frame(
        values[numbers[0]], image, f"{path}, frame {numbers[0]} ({values[numbers[0]].file_path})", path, False
    )


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path, REMEDY)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{path}: has no list "frames" of objects; {REMEDY}')
    return content


def _values(content: dict[str, Any], number: int, path: Path) -> FrameValues:
    frame = content["frames"][number]
    try:
        return FrameValues.model_validate({**content, **frame})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}, frame {number} ({frame.get('file_path')}): {name}: {first['msg']}; {REMEDY}"
        ) from None


def _check_named_once(paths: Sequence[Path], path: Path) -> None:
    frames: dict[Path, int] = {}
    for number, image in enumerate(paths):
        if image in frames:
            raise InputError(
                f"{path}: frames {frames[image]} and {number} both name {image.name}: take one of them out"
            )
        frames[image] = number


def _picture(name: str, path: Path) -> Path:
    """The file of a frame. Blender's script leaves the suffix out."""
    if name.lower().endswith(SUFFIXES):
        return named_file(name, path)
    candidates = [named_file(name + suffix, path) for suffix in SUFFIXES]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _unnamed(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Pictures beside those of the frames that no `transforms*.json` of the folder names.

    `r_0_depth_0001.png` beside `r_0.png`, as Blender writes it, is no picture of its own.
    """
    named_files = {path.resolve() for path in paths}
    for transforms in sorted(folder.glob("transforms*.json")):
        frames = _content(transforms)["frames"]
        named_files |= {
            _picture(name, transforms).resolve() for frame in frames if isinstance(name := frame.get("file_path"), str)
        }
    stems = {(path.parent, path.stem) for path in named_files}

    def is_companion(path: Path) -> bool:
        words = path.stem.split("_")
        return any((path.parent, "_".join(words[:i])) in stems for i in range(1, len(words)))

    folders = {path.parent for path in named_files if path.parent != folder.resolve() and path.parent.is_dir()}
    files = {file for parent in folders for file in parent.iterdir() if file.suffix.lower() in SUFFIXES}
    return sorted(file for file in files - named_files if not file.name.startswith(".") and not is_companion(file))


def _frame(values: FrameValues, image: Path, source: str, path: Path, labelled: bool) -> Frame:
    if values.camera_model.upper() not in PINHOLES or values.k4:
        model = values.camera_model if not values.k4 else f"with k4={values.k4}, of a fisheye,"
        raise InputError(
            f"{source}: camera_model {model} cannot be turned into a pinhole camera here: undistort the images first "
            "(COLMAP's image_undistorter), or leave them out"
        )
    mask, labels = (_named(values, key, path, source) for key in ("mask_path", "label_path"))
    height, width = image_header(image)[:2] if values.w is None or values.h is None else (values.h, values.w)
    size = (round(height), round(width))
    rows = values.transform_matrix if len(values.transform_matrix) == 4 else [*values.transform_matrix, [0, 0, 0, 1]]
    lens = Distortion(values.k1, values.k2, values.p1, values.p2, values.k3)
    return Frame(
        image, np.array(rows), _intrinsics(values, size, source), source, size, lens, mask, labels if labelled else None
    )


def _intrinsics(values: FrameValues, size: tuple[int, int], source: str) -> NDArray[np.float64]:
    height, width = size
    fx = values.fl_x or _from_angle(values.camera_angle_x, width)
    fy = values.fl_y or _from_angle(values.camera_angle_y, height)
    if fx is None and fy is None:
        raise InputError(f"{source}: has neither fl_x nor camera_angle_x: its focal length is not known; {REMEDY}")
    fx, fy = fx or fy, fy or fx  # square pixels where one is missing
    cx, cy = width / 2 if values.cx is None else values.cx, height / 2 if values.cy is None else values.cy
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def _from_angle(angle: float | None, side: int) -> float | None:
    return None if angle is None else 0.5 * side / math.tan(0.5 * angle)


def _named(values: FrameValues, key: str, path: Path, source: str) -> Path | None:
    name = getattr(values, key)
    file = None if name is None else named_file(name, path)
    if file is not None and not file.is_file():
        raise InputError(f"{file}: no such file, though {source} names it as {key}: put it there, or take {key} out")
    return file
