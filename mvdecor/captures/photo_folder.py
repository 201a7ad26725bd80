"""A folder of photographs: images, masks, and if there are any keypoints and cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mvdecor.captures.image_files import image_files, read_mask
from mvdecor.captures.photographs import Photograph, check_mirror, make_photograph, mirror_by_name
from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.annotations import SplitFile, check_split
from mvdecor.views.cameras import Cameras

UPRIGHT = 1  # EXIF's orientation
ORIENTATION = 0x0112
REMEDY = 'it should be {"names": [...], "mirror": [...], "keypoints": {id: [[x, y, visible], ...]}}'


class PhotographFolder:
    """`images/ID.png` (or .jpg ...), `masks/ID.png` (above 127: the object), `keypoints.json`, `cameras.json`, `split.json`.

    The last three are optional. `keypoints.json`: {"names": [...], "mirror": [...], "keypoints": {id: [[x, y, visible], ...]}},
    in pixels with centres at .5; without "mirror", names that differ by left and right are swapped. `cameras.json` is
    {id: {"rotation": 3 x 3, "scale": s, "shift": [x, y]}}, see `Cameras.scaled_orthographic`.

    Args:
        root: the folder.
        require_masks: False: an image without a mask is its whole image, without a mask.

    Raises:
        InputError: a missing folder, no images, or a malformed file.
    """

    def __init__(self, root: str | Path, require_masks: bool = True) -> None:
        self.root, self.require_masks = Path(root), require_masks
        self._images = _by_stem(image_files(self.root / "images"))
        masks = self.root / "masks"
        self._masks = _by_stem(image_files(masks)) if masks.is_dir() or require_masks else {}
        self._splits = SplitFile(self.root / "split.json")
        self.keypoint_names, self.mirror, self._keypoints = self._read_keypoints()
        cameras = self.root / "cameras.json"
        self._cameras = read_json(cameras, "make it again, or remove it") if cameras.exists() else {}

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        if split == "all":
            return list(self._images)
        if split == "unlabelled" or not self._splits.path.exists():
            return [id for id in self._images if id not in self._splits.held_out]
        return self._splits.ids(split)

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._images:
            raise InputError(f"{self.root}: has no image {id!r}; correct the id in the split file")
        if id not in self._masks and self.require_masks:
            raise InputError(f"{self.root}: image {id} has no mask: put it into masks/{id}.png, or leave the image out")
        path = self._images[id]
        with Image.open(path) as image:
            if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT:
                raise InputError(
                    f"{path}: its EXIF tag says that it must be turned: save it upright, and the mask alike"
                )
        mask = read_mask(self._masks[id]) > 127 if id in self._masks else None
        keypoints = self._keypoints_of(id)
        photograph = make_photograph(id, path, mask, None, keypoints)
        return Photograph(id, photograph.image, mask, photograph.box, keypoints, self._camera_of(id, photograph))

    def _read_keypoints(self) -> tuple[tuple[str, ...], tuple[int, ...], dict[str, Any]]:
        path = self.root / "keypoints.json"
        if not path.exists():
            return (), (), {}
        content = read_json(path, REMEDY)
        if not isinstance(content, dict) or not isinstance(content.get("keypoints"), dict) or "names" not in content:
            raise InputError(f"{path}: {REMEDY}")
        names = tuple(content["names"])
        mirror = check_mirror(content["mirror"], names, path) if "mirror" in content else mirror_by_name(names)
        return names, mirror, content["keypoints"]

    def _keypoints_of(self, id: str) -> NDArray[np.float32] | None:
        if id not in self._keypoints:
            return None
        try:
            points = np.array(self._keypoints[id], dtype=np.float32)
        except (TypeError, ValueError):
            points = np.zeros(0, dtype=np.float32)
        if points.shape != (len(self.keypoint_names), 3):
            raise InputError(
                f"{self.root / 'keypoints.json'}: {id} must have {len(self.keypoint_names)} keypoints [x, y, visible]"
            )
        return points

    def _camera_of(self, id: str, photograph: Photograph) -> Cameras | None:
        if id not in self._cameras:
            return None
        try:
            rotation, scale, shift = (
                torch.tensor(self._cameras[id][name], dtype=torch.float32)[None]
                for name in ("rotation", "scale", "shift")
            )
            return Cameras.scaled_orthographic(rotation, scale, shift, *photograph.image.shape[:2])
        except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.root / 'cameras.json'}: the camera of {id} needs rotation, scale and shift"
            ) from error


def _by_stem(files: list[Path]) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for file in files:
        if file.stem in stems:
            raise InputError(f"{file.parent}: {stems[file.stem].name} and {file.name} have one name; rename one")
        stems[file.stem] = file
    return stems
