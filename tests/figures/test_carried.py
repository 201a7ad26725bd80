"""Colours carried between views whose embeddings are known."""

import numpy as np
import torch

from mvdecor.figures import EmbeddedView, carry_colours, plot_carried, position_colours
from mvdecor.figures.images import WRONG_COLOUR
from mvdecor.shapes import Shape

SIZE = 8


def view(seed: int, embeddings: torch.Tensor, mask: np.ndarray) -> EmbeddedView:
    rng = np.random.default_rng(seed)
    pictures = [np.where(mask[..., None], rng.integers(0, 200, (SIZE, SIZE, 3)), 255).astype(np.uint8) for _ in "tp"]
    return EmbeddedView(pictures[0], pictures[1], mask, embeddings)


def mirrored_pair() -> tuple[EmbeddedView, EmbeddedView]:
    """Each pixel has an embedding of its own; in b the same ones lie mirrored."""
    embeddings = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[2:7, 1:6] = True
    return view(0, embeddings, mask), view(1, 5 * embeddings.flip(2), mask[:, ::-1].copy())


def test_colours_go_to_the_most_similar_pixel():
    a, b = mirrored_pair()
    texture, position = carry_colours(a, b, threshold=0.99)
    np.testing.assert_array_equal(texture, a.texture[:, ::-1])
    np.testing.assert_array_equal(position, a.position[:, ::-1])
    np.testing.assert_array_equal(carry_colours(b, a)[0], b.texture[:, ::-1])


def test_pixels_like_none_of_the_other_view_are_red():
    a, b = mirrored_pair()
    b.embeddings[:, 3, 4] = 0  # at a right angle to everything
    b.embeddings[0, 3, 4] = 1  # the embedding of a's background
    for threshold, red in ((0.5, True), (-1.0, False)):
        for picture in carry_colours(a, b, threshold):
            assert (picture == WRONG_COLOUR).all(-1).sum() == red
            assert (picture[3, 4] == WRONG_COLOUR).all() == red
            assert (picture[~b.mask] == 255).all()


def test_sheet_holds_both_views_twice():
    a, b = mirrored_pair()
    page = plot_carried(a, b, threshold=0.5)
    assert page.dtype == np.uint8 and page.shape[0] > 2 * 256 and page.shape[1] > 4 * 256
    scale = 256 // SIZE
    colour, place = a.texture[4, 3], a.mask.sum()
    count = int((page == colour).all(-1).sum())
    same = int((a.texture[a.mask] == colour).all(-1).sum())
    assert place == 25 and count >= 2 * same * scale**2, "(a) and (d) show a's texture"


def test_position_colours_fill_the_box():
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 4, 0], [0, 0, 8], [99, 99, 99]])
    shape = Shape("s", vertices, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    points = torch.tensor([[[0.0, 0, 0], [2, 4, 8], [1, 2, 4], [0, 0, 0]]])
    mask = torch.tensor([[True, True, True, False]])
    colours = position_colours(shape, points, mask)
    assert colours.tolist() == [[[15, 15, 15], [240, 240, 240], [128, 128, 128], [255, 255, 255]]]
