"""Photographs of single objects, and folders of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdecor.captures import (
    Photograph,
    PhotographFolder,
    load_photographs,
)
from mvdecor.captures.cub import CUB_KEYPOINTS
from mvdecor.captures.photographs import mirror_by_name
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_birds
from tests.photo_files import HEIGHT, WIDTH, image, mask, save


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros((HEIGHT, WIDTH), bool)}, "its mask is empty"),
        ({"mask": np.ones((WIDTH, HEIGHT), bool)}, "its mask has 12x16 pixels and its image 16x12"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "is empty or outside"),
        ({"box": (20.0, 0.0, 30.0, 9.0)}, "is empty or outside"),
        ({"keypoints": np.array([[3, np.nan, 0]], np.float32)}, "NaN or infinite"),
        ({"keypoints": np.array([[30, 3, 1]], np.float32)}, "is outside the 16x12"),
        ({"keypoints": np.array([[3, 3, 0.5]], np.float32)}, "neither 0 nor 1"),
    ],
)
def test_bad_photographs_say_what_is_wrong(change: dict, message: str) -> None:
    right = {"mask": mask(), "box": (4.0, 3.0, 11.0, 9.0), "keypoints": np.array([[30, 3, 0]], np.float32)}
    Photograph("a", image(), **right)
    with pytest.raises(InputError, match=f"photograph a: .*{message}"):
        Photograph("a", image(), **(right | change))


def test_sides_are_swapped_by_name() -> None:
    names = ("L_Eye", "R_Eye", "Nose", "left_paw", "right_paw", "Leftover", "neck")
    assert mirror_by_name(names) == (1, 0, 2, 4, 3, 5, 6)
    assert mirror_by_name(CUB_KEYPOINTS) == (0, 1, 2, 3, 4, 5, 10, 11, 12, 9, 6, 7, 8, 13, 14)


# --- a folder ------------------------------------------------------------------------------------------------------


def test_made_up_birds_are_a_folder_of_photographs(tmp_path: Path) -> None:
    root = write_birds(tmp_path / "birds", count=4, seed=1, test_fraction=0.25, size=32)
    source = PhotographFolder(root)
    assert [len(source.ids(split)) for split in ("train", "test", "all", "unlabelled")] == [3, 1, 4, 3]
    assert source.keypoint_names == CUB_KEYPOINTS and source.mirror == mirror_by_name(CUB_KEYPOINTS)
    photographs, refused = load_photographs(source, source.ids("all"))
    assert not refused
    for photograph in photographs:
        assert photograph.mask is not None and photograph.keypoints is not None and photograph.cameras is not None
        left, top, right, bottom = map(int, photograph.box)
        assert photograph.mask[top:bottom, left:right].sum() == photograph.mask.sum()
        assert photograph.cameras.orthographic and photograph.keypoints.shape == (15, 3)


def test_a_folder_says_which_photograph_is_bad(tmp_path: Path) -> None:
    for name in "abcd":
        save(tmp_path / "images" / f"{name}.png", image())
        save(tmp_path / "masks" / f"{name}.png", 255 * mask().astype(np.uint8))
    save(tmp_path / "masks" / "b.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "masks" / "c.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images" / "d.png").unlink()
    Image.fromarray(image()).save(tmp_path / "images" / "d.jpg", exif=exif)
    photographs, refused = load_photographs(PhotographFolder(tmp_path), list("abcd"))
    assert [photograph.id for photograph in photographs] == ["a"]
    assert "its mask is empty" in refused["b"] and "has no mask" in refused["c"] and "EXIF" in refused["d"]
    assert PhotographFolder(tmp_path, require_masks=False).load("c").mask is None
    with pytest.raises(InputError, match=r"none of 2 photographs can be used; the first: .*mask is empty"):
        load_photographs(PhotographFolder(tmp_path), ["b", "c"])
    faulty = {
        "no keypoints": ({"names": ["a"]}, "should be"),
        "mirror": ({"names": ["a", "b"], "mirror": [1, 1], "keypoints": {}}, "mirror must swap"),
    }
    for content, message in faulty.values():
        (tmp_path / "keypoints.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            PhotographFolder(tmp_path)
    (tmp_path / "keypoints.json").write_text(json.dumps({"names": ["a"], "keypoints": {"a": [[1, 2]]}}))
    with pytest.raises(InputError, match=r"a must have 1 keypoints"):
        PhotographFolder(tmp_path).load("a")
    (tmp_path / "cameras.json").write_text(json.dumps({"a": {"scale": 2}}))
    (tmp_path / "keypoints.json").unlink()
    with pytest.raises(InputError, match="the camera of a needs"):
        PhotographFolder(tmp_path).load("a")


# --- CUB -----------------------------------------------------------------------------------------------------------
