import numpy as np
import pytest

from mvdecor.errors import InputError
from mvdecor.figures import BACKGROUND, label_palette
from mvdecor.figures.palette import LIGHT_GREY, WHITE, ciede2000, colour_difference, colours_of


def test_colours_are_distinct_from_each_other_and_from_the_reserved_ones() -> None:
    colours = label_palette(51).astype(int)  # PartNet's Table, the largest label set
    assert colours.shape == (51, 3)
    everything = np.concatenate([colours, [WHITE, LIGHT_GREY, (0, 0, 0)]])
    apart = np.abs(everything[:, None] - everything[None]).sum(-1) + 1000 * np.eye(len(everything), dtype=int)
    assert apart.min() >= 30


@pytest.mark.parametrize(
    ("count", "flat", "shaded"), [(7, 22, 16), (10, 22, 16), (20, 16, 15), (30, 14, 13), (50, 11, 11)]
)
def test_colours_stay_apart_for_the_eye(count: int, flat: float, shaded: float) -> None:
    """CIEDE2000: 10 is clear at a glance. With a lightness that counts half, so that none is another one in the shade."""
    colours = label_palette(count)
    others = [*(np.delete(colours, k, axis=0) for k in range(count))]
    background = np.array([WHITE, LIGHT_GREY, (0, 0, 0)])
    for weight, least in ((1.0, flat), (2.0, shaded)):
        between = min(
            colour_difference(colour, rest, weight).min() for colour, rest in zip(colours, others, strict=True)
        )
        assert between > least
        assert min(colour_difference(colour, background, weight).min() for colour in colours) > 10


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [  # published pairs of CIELAB colours
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_of_published_pairs(first, second, difference) -> None:
    for a, b in ((first, second), (second, first)):
        assert float(ciede2000(np.array(a, dtype=float), np.array(b, dtype=float))) == pytest.approx(
            difference, abs=1e-4
        )


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
