"""Masks in COCO's encodings, against slow decoders."""

from __future__ import annotations

import numpy as np
import pytest

from mvdecor.captures.masks import decode_mask
from mvdecor.errors import InputError
from tests.photo_files import HEIGHT, WIDTH, compressed, mask, runs_of


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_both_ways(seed: int) -> None:
    pixels = np.random.default_rng(seed).random((HEIGHT, 40)) < (0.1, 0.5, 0.9, 0.02, 0.98, 0.3)[seed]
    pixels[:, 10:30] |= seed == 3
    runs = runs_of(pixels)
    for counts in (runs, compressed(runs)):
        np.testing.assert_array_equal(decode_mask({"size": [HEIGHT, 40], "counts": counts}, HEIGHT, 40, "x"), pixels)
    np.testing.assert_array_equal(decode_mask(compressed(runs), HEIGHT, 40, "x"), pixels)


def test_polygons_cover_pixels_by_half() -> None:
    pixels = decode_mask([[4, 3, 11, 3, 11, 9, 4, 9], [13, 1, 15, 1, 15, 2, 13, 2]], HEIGHT, WIDTH, "x")
    expected = mask()
    expected[3, 4] = expected[1, 13] = expected[1, 14] = True
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [3, 3], "counts": [9]}, "the mask's size"),
        ({"size": [HEIGHT, WIDTH], "counts": [5]}, "cover 5 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, "neither polygons"),
        ("a\x01b", "does not occur"),
        ("o", "breaks off"),
        ([[1, 2, 3]], "three finite points"),
        ([[0, 0, float("nan"), 1, 2, 2]], "three finite points"),
        (7, "neither polygons"),
    ],
)
def test_damaged_masks(segmentation: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_mask(segmentation, HEIGHT, WIDTH, "annotation 3")


# --- photographs ---------------------------------------------------------------------------------------------------
