"""Scenes whose cameras COLMAP estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.annotations import annotated_names, annotation_files
from mvdecor.captures.capture import Capture
from mvdecor.captures.colmap_files import ColmapCamera, ColmapImage, ColmapModel, read_colmap
from mvdecor.captures.distortion import Distortion
from mvdecor.captures.folders import CaptureFolders
from mvdecor.captures.frames import Frame, capture_of
from mvdecor.captures.image_files import SUFFIXES
from mvdecor.errors import InputError
from mvdecor.views.cameras import HUGE

PLACES = ("sparse/0", "sparse", ".")
FEWEST = 10  # points that a view must see for bounds of its own
QUANTILES = (0.001, 0.999)  # of their depths, as LLFF takes them


class COLMAP(CaptureFolders):
    """A scene with pictures and a sparse model (`cameras`, `images`, `points3D`; `.txt` or `.bin`).

    The model lies in `sparse/0`, `sparse` or the scene's folder. Distortion is undone (`Undistortion`). Near and far of a view
    are the 0.1 % and 99.9 % quantiles of the depths of the points it sees, if it sees at least 10 in all views.

    Args:
        root, splits, reduce, bounds, memory: see `CaptureFolders`.
        images: the folder of pictures: `images`, or one with reduced ones of the same names.
        masks: folder of masks `NAME.png` or `NAME.jpg.png` (as COLMAP takes them); None: there are none.
        annotations: folder of the annotations of LERF-OVS, `NAME.json` for some pictures, relative to that of the scene:
            `../label/figurines`; None: there are none.
        on_error: "raise" on a picture that has no camera (COLMAP could not place it) or a camera without its picture;
            "skip" them, and say how many they are.
    """

    marker = "cameras.bin or cameras.txt (in it, in sparse/ or in sparse/0/)"
    axes = "opencv"

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
        images: str = "images",
        masks: str | None = None,
        annotations: str | None = None,
        on_error: str = "raise",
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise InputError(f"capture.on_error={on_error!r} is unknown; choose raise or skip")
        self.images, self.masks, self.on_error = images, masks, on_error
        self.annotations = annotations
        super().__init__(root, splits, reduce, bounds, memory)

    def is_capture(self, folder: Path) -> bool:
        """A folder with a model."""
        return _model_folder(folder) is not None

    def read(self, id: str, folder: Path) -> Capture:
        """The scene in a folder."""
        place = _model_folder(folder)
        assert place is not None
        model, pictures = read_colmap(place), folder / self.images
        posed: dict[str, ColmapImage] = {}
        for image in model.images.values():
            name = _inside(image.name, place)
            if name in posed:
                raise InputError(f"{place}: names the image {name!r} twice; merge or export the model again")
            posed[name] = image
        if not pictures.is_dir():
            raise InputError(f"{pictures}: no such folder; put the images there, or set capture.images to theirs")
        files = {
            str(path.relative_to(pictures)) for path in sorted(pictures.rglob("*")) if path.suffix.lower() in SUFFIXES
        }
        self._report(
            sorted(posed.keys() - files), pictures, f"the model {place} has a camera for it, but it is not there"
        )
        self._report(sorted(files - posed.keys()), pictures, f"the model {place} has no camera for this image")
        names = sorted(posed.keys() & files)
        bounds = {name: _bounds(posed[name], model) for name in names}
        if self.reading.bounds is not None or None in bounds.values():
            bounds = {}
        labels = {} if self.annotations is None else annotation_files(folder / self.annotations, names)
        frames = [
            Frame(
                image=pictures / name,
                pose=_pose(posed[name]),
                intrinsics=_intrinsics(model.cameras[posed[name].camera]),
                source=f"{place}, image {name}",
                size=(model.cameras[posed[name].camera].height, model.cameras[posed[name].camera].width),
                distortion=_distortion(model.cameras[posed[name].camera].parameters),
                mask=None if self.masks is None else _mask(folder / self.masks, name),
                labels=labels.get(name),
                bounds=bounds.get(name),
            )
            for name in names
        ]
        return capture_of(id, frames, self.axes, annotated_names(labels.values()), self.reading, place)

    def points(self, id: str) -> NDArray[np.float32]:
        """float32 [P, 3], the positions of the model's 3D points, world frame."""
        place = _model_folder(self.folders[id])
        assert place is not None
        points = read_colmap(place).points
        return np.stack([*points.values()]).astype(np.float32) if points else np.empty((0, 3), dtype=np.float32)

    def _report(self, names: Sequence[str], pictures: Path, fault: str) -> None:
        if not names:
            return
        count = f" ({len(names)} such images)" if len(names) > 1 else ""
        if self.on_error == "raise":
            raise InputError(f"{pictures / names[0]}: {fault}{count}: leave such images out with capture.on_error=skip")
        print(f"warning: {pictures / names[0]}: {fault}{count}: left out", flush=True)


def rotation_of(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [3, 3] of a unit quaternion (w, x, y, z); of any other quaternion no rotation."""
    w, x, y, z = np.clip(quaternion, -HUGE, HUGE)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _model_folder(folder: Path) -> Path | None:
    places = [folder / place for place in PLACES]
    return next((p for p in places if (p / "cameras.bin").is_file() or (p / "cameras.txt").is_file()), None)


def _inside(name: str, place: Path) -> str:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise InputError(f"{place}: names the image {name!r}, outside of the folder of images: rename it")
    return str(path)


def _pose(image: ColmapImage) -> NDArray[np.float64]:
    """Camera to world. A quaternion that is not of unit length gives no rotation, which `Cameras.from_poses` refuses."""
    pose, rotation = np.eye(4), rotation_of(image.quaternion)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ np.clip(image.translation, -HUGE, HUGE)
    return pose


def _intrinsics(camera: ColmapCamera) -> NDArray[np.float64]:
    values = camera.parameters
    fx, fy = values.get("fx", values.get("f")), values.get("fy", values.get("f"))
    return np.array([[fx, 0, values["cx"]], [0, fy, values["cy"]], [0, 0, 1]], dtype=np.float64)


def _distortion(parameters: Mapping[str, float]) -> Distortion:
    return Distortion(**{name: value for name, value in parameters.items() if name[0] in "kp"})


def _bounds(image: ColmapImage, model: ColmapModel) -> tuple[float, float] | None:
    ids = [int(id) for id in image.point_ids if int(id) in model.points]
    if len(ids) < FEWEST:
        return None
    depth = np.stack([model.points[id] for id in ids]) @ rotation_of(image.quaternion)[2] + image.translation[2]
    near, far = np.quantile(depth, QUANTILES)
    return (float(near), float(far)) if 0 < near < far else None


def _mask(folder: Path, name: str) -> Path:
    candidates = [folder / f"{name}.png", (folder / name).with_suffix(".png")]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        raise InputError(f"{candidates[0]}: no such mask: every image needs one, or set capture.masks=null")
    return file
