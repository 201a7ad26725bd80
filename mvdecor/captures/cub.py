"""Birds of CUB-200-2011 from the official text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.captures.image_files import read_mask
from mvdecor.captures.photographs import Photograph, make_photograph, mirror_by_name
from mvdecor.errors import InputError
from mvdecor.files import read_json, text_of
from mvdecor.shapes.annotations import check_split

CUB_KEYPOINTS = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left_eye", "left_leg", "left_wing", "nape", "right_eye"),
    *("right_leg", "right_wing", "tail", "throat"),
)
HALF = 0.5  # MATLAB calls the centre of the first pixel 1, we 0.5


class CUB:
    """The official files: `images.txt`, `train_test_split.txt`, `bounding_boxes.txt`, `parts/`, `images/`, `segmentations/`.

    The segmentations are an archive of their own. The id of a photograph is its path below `images` without suffix.

    Without `splits`, "train" and "test" are the official ones. With CMR's lists (Kanazawa et al. 2018) of images, among those
    of the official test with at least 7 visible keypoints, "val" and "test" are these, and "train" has the official training
    images with at least 6. CMR's lists have one image in both val and test.

    Args:
        root: the folder `CUB_200_2011`.
        splits: JSON file {"val": [indices], "test": [indices]} of CMR's lists.
        doubled: whether the image that is in both val and test stays in val, as CMR has it; it is always tested.
        threshold: grey levels of a segmentation above this are the bird (255: all annotators agree).

    Raises:
        InputError: a missing or malformed file, or an index beyond the images.
    """

    keypoint_names = CUB_KEYPOINTS
    mirror = mirror_by_name(CUB_KEYPOINTS)

    def __init__(
        self, root: str | Path, splits: str | Path | None = None, doubled: bool = True, threshold: int = 127
    ) -> None:
        self.root, self.threshold = Path(root), threshold
        paths = self._table("images.txt", 2)
        self._paths = {row[1].rsplit(".", 1)[0]: row[1] for row in paths}
        number_of = {row[0]: row[1].rsplit(".", 1)[0] for row in paths}
        boxes = self._table("bounding_boxes.txt", 5)
        self._boxes = {number_of.get(row[0], ""): self._numbers(row[1:], "bounding_boxes.txt") for row in boxes}
        self._keypoints = self._read_keypoints(number_of)
        training = {number_of.get(row[0], ""): row[1] == "1" for row in self._table("train_test_split.txt", 2)}
        for name, table in (("bounding_boxes.txt", self._boxes), ("train_test_split.txt", training)):
            if missing := [id for id in self._paths if id not in table]:
                raise InputError(f"{self.root / name}: has no line of image {missing[0]}")
        self._splits = {
            "train": [id for id in self._paths if training[id]],
            "test": [id for id in self._paths if not training[id]],
        }
        if splits is not None:
            self._splits = self._cmr_splits(Path(splits), doubled)

    def ids(self, split: str) -> list[str]:
        """See `PhotographSet`."""
        check_split(split)
        if split == "all":
            return list(self._paths)
        if split == "unlabelled":
            return list(self._splits["train"])
        if split not in self._splits:
            raise InputError(f"{self.root}: CUB has no split {split!r} of its own: give splits=FILE with CMR's lists")
        return list(self._splits[split])

    def load(self, id: str) -> Photograph:
        """See `PhotographSet`."""
        if id not in self._paths:
            raise InputError(f"{self.root}: has no image {id!r}; correct the id")
        left, top, width, height = self._boxes[id]
        box = (left - 1, top - 1, left - 1 + width, top - 1 + height)
        mask = self.root / "segmentations" / f"{id}.png"
        if not mask.is_file():
            raise InputError(f"{mask}: image {id} has no mask: unpack CUB's segmentations.tgz in {self.root}")
        return make_photograph(
            id, self.root / "images" / self._paths[id], read_mask(mask) > self.threshold, box, self._keypoints[id]
        )

    def _read_keypoints(self, number_of: dict[str, str]) -> dict[str, NDArray[np.float32]]:
        names = [row[1].replace(" ", "_") for row in self._table("parts/parts.txt", 2)]
        if names != list(CUB_KEYPOINTS):
            raise InputError(f"{self.root / 'parts/parts.txt'}: names other parts than CUB's 15")
        keypoints = {id: np.zeros((len(names), 3), dtype=np.float32) for id in number_of.values()}
        for row in self._table("parts/part_locs.txt", 5):
            x, y, visible = self._numbers(row[2:], "parts/part_locs.txt")
            if row[0] not in number_of or not row[1].isdigit() or not 1 <= int(row[1]) <= len(names):
                raise InputError(f"{self.root / 'parts/part_locs.txt'}: image {row[0]} or part {row[1]} does not exist")
            if visible > 0:
                keypoints[number_of[row[0]]][int(row[1]) - 1] = (x - HALF, y - HALF, 1)
        return keypoints

    def _cmr_splits(self, path: Path, doubled: bool) -> dict[str, list[str]]:
        lists = read_json(path, 'it should be {"val": [indices], "test": [indices]}')
        candidates = [id for id in self._splits["test"] if self._keypoints[id][:, 2].sum() >= 7]
        splits = {"train": [id for id in self._splits["train"] if self._keypoints[id][:, 2].sum() >= 6]}
        for name in ("val", "test"):
            indices = lists.get(name) if isinstance(lists, dict) else None
            if not isinstance(indices, list) or not all(
                isinstance(i, int) and 0 <= i < len(candidates) for i in indices
            ):
                raise InputError(
                    f"{path}: {name} must be a list of indices below {len(candidates)}, the images of the official test "
                    "with at least 7 visible keypoints"
                )
            splits[name] = [candidates[i] for i in indices]
        if not doubled:
            splits["val"] = [id for id in splits["val"] if id not in splits["test"]]
        return splits

    def _table(self, name: str, columns: int) -> list[list[str]]:
        """Rows of a text file, split at blanks; the last column takes what is left."""
        path = self.root / name
        try:
            lines = text_of(path.read_bytes()).split("\n")
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); set root to the folder CUB_200_2011"
            ) from error
        rows = [line.split(None, columns - 1) for line in lines if line.strip()]
        if short := [row for row in rows if len(row) != columns]:
            raise InputError(f"{path}: the line {' '.join(short[0])!r} should have {columns} columns")
        return [[column.strip() for column in row] for row in rows]

    def _numbers(self, columns: Sequence[str], name: str) -> list[float]:
        try:
            return [float(column) for column in columns]
        except ValueError as error:
            raise InputError(f"{self.root / name}: {' '.join(columns)!r} should be numbers") from error
