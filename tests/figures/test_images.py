import numpy as np
import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.figures import (
    BACKGROUND,
    colours_of,
    embedding_colours,
    label_palette,
    plot_channels,
    plot_matches,
    plot_predictions,
)
from mvdecor.figures.images import RIGHT_COLOUR, WRONG_COLOUR
from mvdecor.figures.layout import GAP, TEXT_HEIGHT
from mvdecor.figures.palette import LIGHT_GREY

SIZE = 192  # large enough to be shown as they are


def _count(picture: np.ndarray, colour: tuple[int, ...] | np.ndarray) -> int:
    return int((picture == np.asarray(colour)).all(-1).sum())


def test_channel_sheet_sizes_and_colours() -> None:
    channels = torch.zeros(2, 7, SIZE, SIZE)
    channels[:, :3, :32] = torch.tensor([1.0, 0.0, 0.5])[:, None, None]
    channels[:, 3, :32] = 0.2
    channels[:, 4:, :32] = torch.tensor([0.0, -1.0, 0.0])[:, None, None]
    picture = plot_channels(channels, ["rgb", "depth", "normal"])
    assert picture.dtype == np.uint8
    assert picture.shape == (TEXT_HEIGHT + 2 * SIZE + GAP, 3 * SIZE + 2 * GAP, 3)
    cells = picture[TEXT_HEIGHT : TEXT_HEIGHT + SIZE]
    np.testing.assert_array_equal(cells[0, 0], [255, 0, 128])
    np.testing.assert_array_equal(cells[0, SIZE + GAP], [51, 51, 51])
    np.testing.assert_array_equal(cells[0, 2 * (SIZE + GAP)], [128, 0, 128])
    assert (cells[32:] == 255).all()  # no surface
    assert (cells[:, SIZE : SIZE + GAP] == 255).all()
    np.testing.assert_array_equal(cells, picture[-SIZE:])  # the second view is the same


def test_metric_depth_is_scaled_over_the_view_and_a_mask_shows_black_surfaces() -> None:
    depth = torch.linspace(1.5, 2.5, SIZE).expand(1, 1, SIZE, SIZE)
    picture = plot_channels(depth, ["depth"])[TEXT_HEIGHT:]
    assert picture[0, 0].tolist() == [0, 0, 0] and picture[0, SIZE - 1].tolist() == [255, 255, 255]
    black = torch.zeros(1, 3, SIZE, SIZE)
    seen = torch.ones(1, SIZE, SIZE, dtype=torch.bool)
    assert (plot_channels(black, ["rgb"])[TEXT_HEIGHT:] == 255).all()
    assert (plot_channels(black, ["rgb"], seen)[TEXT_HEIGHT:, :SIZE] == 0).all()


@pytest.mark.parametrize(("names", "message"), [(["rgb", "heat"], "heat"), (["rgb", "depth"], "4 numbers per pixel")])
def test_channel_names_that_do_not_fit(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plot_channels(torch.zeros(1, 3, 8, 8), names)


def test_match_lines_end_at_the_given_pixels() -> None:
    a, b = np.zeros((32, 40, 3), np.uint8), np.zeros((32, 48, 3), np.uint8)
    xy_a, xy_b = np.array([[8.5, 20.5]]), torch.tensor([[30.25, 4.75]])
    scale = 3
    picture = plot_matches(a, b, xy_a, xy_b, scale=scale).astype(int)
    assert picture.shape == (32 * scale, (40 + 48) * scale + GAP, 3)
    colour = label_palette(1)[0]
    coloured = (picture == colour).all(-1)
    start = (int(20.5 * scale), int(8.5 * scale))
    end = (int(4.75 * scale), 40 * scale + GAP + int(30.25 * scale))
    assert coloured[start] and coloured[end]
    rows, columns = np.nonzero(coloured)
    reach = 2  # radius of the dots
    assert (columns.min(), columns.max()) == (start[1] - reach, end[1] + reach)
    assert (rows.min(), rows.max()) == (end[0] - reach, start[0] + reach)
    middle = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
    assert coloured[middle[0] - 1 : middle[0] + 2, middle[1]].any()


def test_count_limits_the_matches_and_the_seed_chooses_them() -> None:
    image = torch.zeros(64, 64, 3, dtype=torch.uint8)
    rows = torch.arange(8) * 8.0 + 4
    xy = torch.stack([torch.full((8,), 32.0), rows], dim=-1)
    pictures = [plot_matches(image, image, xy, xy, count=3, seed=s, scale=1) for s in (0, 0, 1)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()
    touched = [bool((pictures[0][int(row), 40] > 0).any()) for row in rows]
    assert sum(touched) == 3


def test_small_images_are_enlarged_and_no_matches_are_no_lines() -> None:
    image = np.full((64, 64, 3), 7, np.uint8)
    picture = plot_matches(image, image, np.zeros((0, 2)), np.zeros((0, 2)))
    assert picture.shape == (256, 512 + GAP, 3)
    assert _count(picture, (7, 7, 7)) == 2 * 256 * 256


def test_ends_that_do_not_pair_are_refused() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"\[3, 2\] and \[2, 2\]"):
        plot_matches(image, image, np.zeros((3, 2)), np.zeros((2, 2)))


def test_labels_are_shown_in_the_palette() -> None:
    palette = label_palette(4)
    picture = colours_of(np.array([[3, -1, BACKGROUND]]), palette)
    np.testing.assert_array_equal(picture, [[palette[3], LIGHT_GREY, (255, 255, 255)]])


def test_predictions_show_truth_guess_errors_and_a_legend() -> None:
    truth = torch.full((2, SIZE, SIZE), BACKGROUND)
    truth[:, :32] = 0
    truth[:, 32:40] = -1
    predicted = torch.zeros(2, SIZE, SIZE, dtype=torch.int64)
    predicted[:, :8] = 2
    images = torch.full((2, SIZE, SIZE, 3), 100, dtype=torch.uint8)
    picture = plot_predictions(images, truth, predicted, ["top", "unused", "leg"])
    palette, height = label_palette(3), SIZE + GAP
    table, below = picture[: 4 * height, -(2 * SIZE + GAP) :], picture[4 * height :]
    shown, true, guess, errors = (table[k * height : k * height + SIZE] for k in range(4))
    assert _count(shown, (100, 100, 100)) == 2 * 40 * SIZE == _count(shown[:40], (100, 100, 100))
    assert _count(true[:32], palette[0]) == 2 * 32 * SIZE and _count(true[32:40], LIGHT_GREY) == 2 * 8 * SIZE
    assert _count(guess[:8], palette[2]) == 2 * 8 * SIZE and _count(guess[8:40], palette[0]) == 2 * 32 * SIZE
    assert _count(errors[:8], WRONG_COLOUR) == 2 * 8 * SIZE and _count(errors[8:32], RIGHT_COLOUR) == 2 * 24 * SIZE
    assert _count(errors[32:40], LIGHT_GREY) == 2 * 8 * SIZE
    assert all((row[40:] == 255).all() for row in (shown, true, guess, errors))
    assert [_count(below, colour) for colour in palette] == [144, 0, 144]  # "unused" does not occur


def test_a_mask_tells_background_from_undetermined() -> None:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, :16] = True
    images = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    guess = torch.zeros(1, SIZE, SIZE, dtype=torch.int64)
    with_fill = [plot_predictions(images, torch.where(mask, 0, fill), guess, ["a"], mask) for fill in (-1, BACKGROUND)]
    np.testing.assert_array_equal(*with_fill)


def test_equal_views_have_equal_embedding_colours() -> None:
    generator = torch.Generator().manual_seed(0)
    view = torch.randn(16, 24, 24, generator=generator)
    other = torch.randn(16, 24, 24, generator=generator) * 3
    mask = torch.ones(3, 24, 24, dtype=torch.bool)
    mask[:, :4] = False
    colours = embedding_colours(torch.stack([view, other, view]), mask)
    assert colours.shape == (3, 24, 24, 3) and colours.dtype == np.uint8
    np.testing.assert_array_equal(colours[0], colours[2])
    assert (colours[0] != colours[1]).any()
    assert (colours[:, :4] == 255).all() and (colours[:, 4:] < 255).all()


def test_embedding_colours_ignore_rotation_of_the_embedding_space() -> None:
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(1, 3, 32, 32, generator=generator) * torch.tensor([9.0, 3.0, 1.0])[:, None, None]
    turned = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0][:, :3]
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    plain = embedding_colours(latent, mask).astype(int)
    rotated = embedding_colours(torch.einsum("dk,nkhw->ndhw", turned, latent), mask).astype(int)
    for channel in range(3):  # the direction's sign is free, so a channel may be mirrored
        same = np.abs(plain[..., channel] - rotated[..., channel]).max()
        mirrored = np.abs(255 - plain[..., channel] - rotated[..., channel]).max()
        assert min(same, mirrored) <= 1


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_few_or_constant_embeddings_and_empty_views(dimensions: int) -> None:
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    constant = embedding_colours(torch.ones(1, dimensions, 8, 8), mask)
    assert len(np.unique(constant.reshape(-1, 3), axis=0)) == 1 and constant.max() < 255
    assert (embedding_colours(torch.ones(1, dimensions, 8, 8), ~mask) == 255).all()
