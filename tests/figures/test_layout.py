import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.figures import save_png
from mvdecor.figures.layout import GAP, TEXT_HEIGHT, enlarge, enlarged, legend, sheet


def test_sheet_has_the_cells_at_their_places_and_white_between() -> None:
    red, blue = np.full((5, 7, 3), (255, 0, 0), np.uint8), np.full((9, 3, 3), (0, 0, 255), np.uint8)
    page = sheet([[red, blue], [blue, red]])
    assert page.shape == (9 + GAP + 9, 7 + GAP + 7, 3)
    expected = np.full_like(page, 255)
    expected[:5, :7] = (255, 0, 0)
    expected[:9, 7 + GAP : 10 + GAP] = (0, 0, 255)
    expected[9 + GAP :, :3] = (0, 0, 255)
    expected[9 + GAP : 14 + GAP, 7 + GAP :] = (255, 0, 0)
    np.testing.assert_array_equal(page, expected)


def test_captions_stand_above_and_left_of_the_cells() -> None:
    cell = np.full((40, 60, 3), (0, 200, 0), np.uint8)
    page = sheet([[cell, cell]], columns=["one", "two"], rows=["row"])
    green = (page == (0, 200, 0)).all(-1)
    rows, columns = np.nonzero(green)
    assert page.shape[0] == 40 + TEXT_HEIGHT and rows.min() == TEXT_HEIGHT
    assert green.sum() == 2 * 40 * 60  # no caption runs into a cell
    assert (page[:TEXT_HEIGHT] < 128).any() and (page[:, : columns.min()] < 128).any()


def test_enlarge_repeats_pixels() -> None:
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarge(small, 3)
    assert large.shape == (6, 6, 3)
    np.testing.assert_array_equal(large[1::3, 1::3], small)


@pytest.mark.parametrize(("height", "shown"), [(48, 192), (64, 192), (96, 192), (100, 200), (150, 150), (256, 256)])
def test_small_cells_are_enlarged_by_whole_factors(height: int, shown: int) -> None:
    assert enlarged(np.zeros((height, 2 * height, 3), np.uint8)).shape == (shown, 2 * shown, 3)


def test_legend_shows_each_colour_once_and_wraps() -> None:
    colours = np.array([(255, 0, 0), (0, 0, 255)], np.uint8)
    narrow, wide = (
        legend(["first part", "second part"], colours, 90),
        legend(["first part", "second part"], colours, 400),
    )
    assert narrow.shape[0] == 2 * TEXT_HEIGHT and wide.shape[0] == TEXT_HEIGHT
    for picture in (narrow, wide):
        for colour in colours:
            assert (picture == colour).all(-1).sum() == 12 * 12


@pytest.mark.parametrize("colours", [2, 256, 257])
def test_png_holds_the_exact_picture(tmp_path: Path, colours: int) -> None:
    values = np.random.default_rng(0).permutation(1 << 24)[:colours]
    picture = np.resize(values, (20, 30))[..., None] >> np.array([16, 8, 0]) & 255
    save_png(tmp_path / "new" / "folder" / "a.png", picture.astype(np.uint8))
    with Image.open(tmp_path / "new" / "folder" / "a.png") as image:
        assert image.mode == ("P" if colours <= 256 else "RGB")
        np.testing.assert_array_equal(np.array(image.convert("RGB")), picture)
    assert os.listdir(tmp_path / "new" / "folder") == ["a.png"]


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*a\.png"):
        save_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("picture", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        save_png(tmp_path / "a.png", picture)
