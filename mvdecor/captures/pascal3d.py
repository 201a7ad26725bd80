"""Photographs of PASCAL3D+ with their viewpoints, and its CAD models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.captures.image_files import image_header, read_mask
from mvdecor.captures.matlab import field, numbers, read_matlab, structs
from mvdecor.captures.photographs import Photograph, make_photograph, mirror_by_name
from mvdecor.errors import InputError
from mvdecor.files import text_of
from mvdecor.shapes import Shape
from mvdecor.shapes.annotations import check_split
from mvdecor.views.cameras import Cameras

HALF = 0.5  # MATLAB calls the centre of the first pixel 1, we 0.5
SUFFIXES = (".jpg", ".JPEG", ".png")


class Pascal3D:
    """Objects of one category: `Annotations/CATEGORY_SOURCE/NAME.mat`, `Images/CATEGORY_SOURCE/`, `CAD/CATEGORY.mat`.

    The id of a photograph is NAME, with .2, .3 ... for further objects of the category in its image. PASCAL3D+ has no masks of
    its own: they are read from `masks`, by id. Keypoints are the anchors of the category's CAD models. Cameras are pinholes in
    the frame of the CAD models; objects whose distance is 0 were not annotated and have none.

    Args:
        root: the folder `PASCAL3D+_release1.1`.
        category: for example aeroplane or car.
        sources: some of "pascal" and "imagenet".
        masks: folder of ID.png; None: no masks.
        whole: leave out truncated, occluded and difficult objects.
        splits: {"train": FILE, "val": FILE}: lists of names, one per line, as `Image_sets` has them.

    Raises:
        InputError: a missing folder or list, or no annotation.
    """

    def __init__(
        self,
        root: str | Path,
        category: str,
        sources: tuple[str, ...] = ("pascal", "imagenet"),
        masks: str | Path | None = None,
        whole: bool = True,
        splits: dict[str, str | Path] | None = None,
    ) -> None:
        self.root, self.category = Path(root), category
        self._masks = None if masks is None else Path(masks)
        self._objects: dict[str, tuple[Path, Any]] = {}
        names: list[str] = []
        for source in sources:
            for path in sorted((self.root / "Annotations" / f"{category}_{source}").glob("*.mat")):
                for id, struct in self._read(path, whole):
                    self._objects[id] = (path, struct)
                    names += [name for name in _anchors(struct) if name not in names]
        if not self._objects:
            raise InputError(
                f"{self.root}: has no annotation of category {category} in Annotations/{category}_{{{','.join(sources)}}}: set "
                "root to the folder that holds Annotations, Images and CAD"
            )
        self.keypoint_names = tuple(sorted(names))
        self.mirror = mirror_by_name(self.keypoint_names)
        self._splits = {split: self._list(Path(path)) for split, path in (splits or {}).items()}

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        if split == "all" or not self._splits:
            return list(self._objects)
        if split == "unlabelled":
            held_out = {*self._splits.get("val", []), *self._splits.get("test", [])}
            return [id for id in self._objects if id not in held_out]
        if split not in self._splits:
            raise InputError(f"{self.root}: no list of split {split!r} was given; there are {', '.join(self._splits)}")
        return list(self._splits[split])

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._objects:
            raise InputError(f"{self.root}: has no {self.category} {id!r}; correct the id")
        annotation, struct = self._objects[id]
        path = self._image(annotation)
        height, width, _ = image_header(path)
        mask = None
        if self._masks is not None:
            file = self._masks / f"{id}.png"
            if not file.is_file():
                raise InputError(f"{file}: {id} has no mask: put it there, or leave the photograph out")
            mask = read_mask(file) > 127
        left, top, right, bottom = numbers(struct, "bbox", (4,), annotation)
        box = (left - 1, top - 1, right, bottom)
        return make_photograph(
            id, path, mask, box, self._keypoints(struct), camera_of(struct, height, width, annotation)
        )

    def cad_index(self, id: str) -> int:
        """Which of `cads` the annotators chose, from 0."""
        annotation, struct = self._objects[id]
        return int(numbers(struct, "cad_index", (), annotation)) - 1

    def cads(self) -> list[Shape]:
        """The CAD models of the category, in the frame of the cameras. Raises InputError if the file is bad."""
        path = self.root / "CAD" / f"{self.category}.mat"
        shapes = []
        for number, cad in enumerate(structs(read_matlab(path, self.category))):
            source = f"{path}, model {number + 1}"
            vertices, faces = numbers(cad, "vertices", (-1, 3), source), numbers(cad, "faces", (-1, 3), source)
            index = torch.from_numpy(faces.astype(np.int64)) - 1
            shapes.append(Shape(f"{self.category}_{number + 1}", torch.from_numpy(vertices).float(), index))
        return shapes

    def _read(self, path: Path, whole: bool) -> list[tuple[str, Any]]:
        record = read_matlab(path, "record")
        of_category = [x for x in structs(field(record, "objects", path)) if getattr(x, "class", None) == self.category]
        whole_objects = []
        for number, struct in enumerate(of_category):
            hampered = any(np.any(getattr(struct, name, 0)) for name in ("truncated", "occluded", "difficult"))
            if not (whole and hampered):
                whole_objects.append((path.stem if number == 0 else f"{path.stem}.{number + 1}", struct))
        return whole_objects

    def _image(self, annotation: Path) -> Path:
        folder = self.root / "Images" / annotation.parent.name
        for suffix in SUFFIXES:
            if (folder / f"{annotation.stem}{suffix}").is_file():
                return folder / f"{annotation.stem}{suffix}"
        raise InputError(f"{folder}: has no image {annotation.stem} ({', '.join(SUFFIXES)}); put it there")

    def _list(self, path: Path) -> list[str]:
        try:
            names = {line.split()[0] for line in text_of(path.read_bytes()).split("\n") if line.strip()}
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a list of image names") from error
        return [id for id, (annotation, _) in self._objects.items() if annotation.stem in names]

    def _keypoints(self, struct: Any) -> NDArray[np.float32] | None:
        anchors = _anchors(struct)
        if not self.keypoint_names:
            return None
        points = np.zeros((len(self.keypoint_names), 3), dtype=np.float32)
        for name, location in anchors.items():
            if len(location) == 2:
                points[self.keypoint_names.index(name)] = (*(location - HALF), 1)
        return points


def camera_of(struct: Any, height: int, width: int, source: Path) -> Cameras | None:
    """The pinhole camera of an annotated object; None if its distance is 0 (not annotated).

    The camera stands at azimuth a, elevation e and distance d, looks at the origin, and is turned by theta in the image.

    Raises:
        InputError: the viewpoint is missing or malformed.
    """
    viewpoint = getattr(struct, "viewpoint", None)
    if viewpoint is None or not np.any(getattr(viewpoint, "distance", 0)):
        return None
    azimuth, elevation, theta, distance, focal, px, py, viewport = (
        float(numbers(viewpoint, name, (), source))
        for name in ("azimuth", "elevation", "theta", "distance", "focal", "px", "py", "viewport")
    )
    a, e, t = np.radians([azimuth, elevation, theta])
    centre = distance * np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])
    about_z = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.pi / 2 - e
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    turn = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    rotation = np.diag([1.0, -1.0, -1.0]) @ turn @ about_x @ about_z  # theirs has y up and looks along -z
    length = viewport * focal
    intrinsics = np.array([[length, 0, px - HALF], [0, length, py - HALF], [0, 0, 1]])
    values = (rotation[None], -(rotation @ centre)[None], intrinsics[None])
    r, translation, k = (torch.from_numpy(value).float() for value in values)
    return Cameras(r, translation, k, height, width)


def _anchors(struct: Any) -> dict[str, NDArray[np.float64]]:
    """Each anchor's location, empty if it is not seen."""
    anchors = getattr(struct, "anchors", None)
    names = getattr(anchors, "_fieldnames", ())
    return {
        name: np.asarray(getattr(getattr(anchors, name), "location", ()), dtype=np.float64).ravel() for name in names
    }
