"""Photographs of COCO's JSON files (also AP-10K, Animal-Pose, Horse-10), and of StanfordExtra's list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.image_files import image_header
from mvdecor.captures.masks import decode_mask
from mvdecor.captures.photographs import Box, Photograph, make_photograph, mirror_by_name
from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.annotations import SplitFile, check_split

STANFORD_EXTRA = (
    *(
        f"{side}_{end}_{joint}"
        for side, end in (("left", "front"), ("left", "rear"))
        for joint in ("paw", "middle", "top")
    ),
    *(
        f"{side}_{end}_{joint}"
        for side, end in (("right", "front"), ("right", "rear"))
        for joint in ("paw", "middle", "top")
    ),
    *("tail_start", "tail_end", "left_ear_base", "right_ear_base", "nose", "chin", "left_ear_tip", "right_ear_tip"),
    *("left_eye", "right_eye", "withers", "throat"),
)
"""The 24 keypoints of StanfordExtra in the order of its file `keypoint_definitions.csv`."""


class CocoPhotographs:
    """Annotations of one category of a file in COCO's format; each annotation is a photograph.

    Keypoints are taken as visible where the file says 2, or 1 (labelled, but hidden) if `hidden` is True. They are pixel
    indices, so 0.5 is added. Crowds are left out. The id of a photograph is that of its annotation.

    Args:
        annotations: the JSON file.
        images: the folder of its images.
        category: the category's name; None if the file has only one.
        splits: JSON file {"train": [ids], "test": [ids]}; None: all are in every split, as COCO has one file per split.
        require_masks: False: annotations without segmentation have no mask.
        hidden: see above.

    Raises:
        InputError: a malformed file, an unknown category, no annotation of it.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path,
        category: str | None = None,
        splits: str | Path | None = None,
        require_masks: bool = True,
        hidden: bool = False,
    ) -> None:
        self.path, self.images = Path(annotations), Path(images)
        self.require_masks, self.hidden = require_masks, hidden
        content = read_json(self.path, "give a file in COCO's format")
        try:
            of_name = self._category(content["categories"], category)
            pictures = {image["id"]: image for image in content["images"]}
            self._annotations = {
                str(annotation["id"]): (annotation, pictures[annotation["image_id"]])
                for annotation in content["annotations"]
                if annotation["category_id"] == of_name["id"] and not annotation.get("iscrowd", 0)
            }
            self.keypoint_names = tuple(of_name.get("keypoints", ()))
        except (KeyError, TypeError) as error:
            raise InputError(f"{self.path}: is not in COCO's format: {error!r} is missing") from error
        if not self._annotations:
            raise InputError(f"{self.path}: has no annotation of category {of_name['name']!r}")
        self.mirror = mirror_by_name(self.keypoint_names)
        self._splits = None if splits is None else SplitFile(Path(splits), required=True)

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        return _ids(self._splits, list(self._annotations), split)

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._annotations:
            raise InputError(
                f"{self.path}: has no annotation {id!r} of this category; correct the id in the split file"
            )
        annotation, picture = self._annotations[id]
        source, path = f"{self.path}, annotation {id}", self.images / str(picture.get("file_name"))
        height, width, _ = image_header(path)
        segmentation = annotation.get("segmentation")
        if not segmentation and self.require_masks:
            raise InputError(f"{source}: has no segmentation, so no mask: set require_masks=false, or leave it out")
        mask = decode_mask(segmentation, height, width, source) if segmentation else None
        box = _box(annotation.get("bbox"), source)
        return make_photograph(id, path, mask, box, self._keypoints(annotation, source))

    def _category(self, categories: list[dict], name: str | None) -> dict:
        names = [category["name"] for category in categories]
        if name is None and len(names) == 1:
            return categories[0]
        if name not in names:
            raise InputError(f"{self.path}: category={name}: choose one of {', '.join(sorted(names))}")
        return categories[names.index(name)]

    def _keypoints(self, annotation: dict, source: str) -> NDArray[np.float32] | None:
        if not self.keypoint_names or "keypoints" not in annotation:
            return None
        return _points(annotation["keypoints"], len(self.keypoint_names), 1 if self.hidden else 2, 0.5, source)


class StanfordExtra:
    """Dogs of StanfordExtra (Biggs et al. 2020): `StanfordExtra_v12.json` or its sample, with Stanford Dogs' images.

    Args:
        annotations: the JSON file, a list.
        images: the folder of Stanford Dogs' images, which holds a folder per breed.
        splits: JSON file {"train": [ids], "test": [ids]}; None: all are in every split. An id is an image's path without its
            suffix.
        single: leave out pictures of several dogs.

    Raises:
        InputError: a malformed file.
    """

    keypoint_names = STANFORD_EXTRA
    mirror = mirror_by_name(STANFORD_EXTRA)

    def __init__(
        self, annotations: str | Path, images: str | Path, splits: str | Path | None = None, single: bool = False
    ) -> None:
        self.path, self.images = Path(annotations), Path(images)
        content = read_json(self.path, "give StanfordExtra's list of dogs")
        if not isinstance(content, list) or not all(isinstance(dog, dict) and "img_path" in dog for dog in content):
            raise InputError(f"{self.path}: should be a list of dogs with img_path, seg, joints and img_bbox")
        self._dogs = {
            str(Path(dog["img_path"]).with_suffix("")): dog
            for dog in content
            if not (single and dog.get("is_multiple_dogs"))
        }
        self._splits = None if splits is None else SplitFile(Path(splits), required=True)

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        return _ids(self._splits, list(self._dogs), split)

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._dogs:
            raise InputError(f"{self.path}: has no dog {id!r}; correct the id in the split file")
        dog, source = self._dogs[id], f"{self.path}, {id}"
        if missing := [name for name in ("img_width", "img_height", "seg", "joints", "img_bbox") if name not in dog]:
            raise InputError(f"{source}: {missing[0]} is missing")
        mask = decode_mask(dog["seg"], dog["img_height"], dog["img_width"], source)
        joints = dog["joints"]
        flat = [value for joint in joints for value in joint] if isinstance(joints, list) else joints
        keypoints = _points(flat, len(STANFORD_EXTRA), 1, 0.5, source)
        return make_photograph(id, self.images / dog["img_path"], mask, _box(dog["img_bbox"], source), keypoints)


def _ids(splits: SplitFile | None, ids: list[str], split: str) -> list[str]:
    if splits is None or split == "all":
        return ids
    return [id for id in ids if id not in splits.held_out] if split == "unlabelled" else splits.ids(split)


def _box(values: Any, source: str) -> Box:
    """Left, top, right, bottom of left, top, width, height."""
    try:
        left, top, width, height = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: the box must be left, top, width, height, not {values}") from error
    return left, top, left + width, top + height


def _points(values: Any, count: int, visible: int, offset: float, source: str) -> NDArray[np.float32]:
    """float32 [count, 3] of x, y, v in a row; what is less than visible becomes 0 0 0."""
    try:
        points = np.array(values, dtype=np.float32).reshape(count, 3)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: must have {count} keypoints x, y, visibility") from error
    seen = points[:, 2:] >= visible
    shifted = np.concatenate([points[:, :2] + np.float32(offset), np.ones((count, 1), np.float32)], axis=1)
    return np.where(seen, shifted, np.float32(0))
