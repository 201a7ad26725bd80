import numpy as np
import pytest

from mvdecor.errors import InputError
from mvdecor.figures import BACKGROUND, label_palette
from mvdecor.figures.palette import LIGHT_GREY, WHITE, colours_of


def test_colours_are_distinct_from_each_other_and_from_the_reserved_ones() -> None:
    colours = label_palette(51).astype(int)  # PartNet's Table, the largest label set
    assert colours.shape == (51, 3)
    everything = np.concatenate([colours, [WHITE, LIGHT_GREY, (0, 0, 0)]])
    apart = np.abs(everything[:, None] - everything[None]).sum(-1) + 1000 * np.eye(len(everything), dtype=int)
    assert apart.min() >= 30


def test_all_256_colours_differ() -> None:
    assert len(np.unique(label_palette(256), axis=0)) == 256


@pytest.mark.parametrize("n", [0, 1, 12, 40])
def test_a_colour_does_not_depend_on_how_many_there_are(n: int) -> None:
    palette = label_palette(n)
    assert palette.dtype == np.uint8 and palette.shape == (n, 3)
    np.testing.assert_array_equal(palette, label_palette(100)[:n])


def test_changing_a_palette_does_not_change_the_next_one() -> None:
    first = label_palette(3)
    before = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(label_palette(3), before)


@pytest.mark.parametrize("n", [-1, 257])
def test_impossible_palettes_are_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"palette of {n} colours"):
        label_palette(n)


def test_colours_of_labels() -> None:
    palette = label_palette(3)
    picture = colours_of(np.array([[0, 2], [-1, BACKGROUND]]), palette)
    np.testing.assert_array_equal(picture, [[palette[0], palette[2]], [LIGHT_GREY, WHITE]])


def test_a_label_without_a_colour_is_refused() -> None:
    with pytest.raises(InputError, match=r"label 3 .* palette of 3 colours"):
        colours_of(np.array([0, 3]), label_palette(3))
