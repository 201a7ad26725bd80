"""Pictures of what the network sees, matches, embeds and predicts. All return uint8 [height, width, 3], RGB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from mvdecor.channels import find_channel, num_channels
from mvdecor.errors import InputError
from mvdecor.figures.layout import GAP, enlarge, enlarged, legend, sheet, stack
from mvdecor.figures.palette import BACKGROUND, LIGHT_GREY, WHITE, colours_of, label_palette
from mvdecor.lifting.embeddings import PrincipalColours, at_pixels, principal_colours

RIGHT_COLOUR, WRONG_COLOUR = (214, 228, 214), (214, 32, 32)
SMALL = 256  # pictures lower than this are enlarged

Picture = Tensor | np.ndarray


def plot_channels(channels: Tensor, names: Sequence[str], mask: Tensor | None = None) -> np.ndarray:
    """The input of the network as a sheet: a row per view, a column per channel group, captions above; small views are
    enlarged (`enlarged`).

    rgb is shown as it is, normals and points as (x + 1) / 2, the others as grey; each group's values are clipped to
    [0, 1], except metric depths (values above 1), which are scaled over the view.

    Args:
        channels: float32 [N, C, H, W], the groups one after another (`render_channels`, of one layer).
        names: channel groups, see `mvdecor.channels`.
        mask: bool [N, H, W], True where a surface is seen; by default where any channel is not 0.

    Raises:
        InputError: if the names are unknown or do not make C channels.
    """
    _check_channels(channels, names)
    values = channels.detach().float().cpu().numpy()
    masks = (values != 0).any(axis=1) if mask is None else _array(mask)
    rows = []
    for view, foreground in zip(values, masks, strict=True):
        row, start = [], 0
        for name in names:
            picture = _group_picture(name, view[start : start + find_channel(name).width], foreground)
            row.append(enlarged(np.where(foreground[..., None], picture, np.uint8(255))))
            start += find_channel(name).width
        rows.append(row)
    return sheet(rows, columns=names)


def plot_matches(
    image_a: Picture,
    image_b: Picture,
    xy_a: Picture,
    xy_b: Picture,
    count: int = 40,
    seed: int = 0,
    scale: int | None = None,
) -> np.ndarray:
    """Two views side by side (A left), with a line and two dots for each of some matches.

    Args:
        image_a: uint8 [H, W, 3].
        image_b: uint8 [H, W, 3].
        xy_a: [M, 2], image positions (x, y) in A in pixels; the centre of the first pixel is (0.5, 0.5).
        xy_b: [M, 2], the same in B.
        count: how many matches are shown, sampled without repeats; all if there are fewer.
        seed: of that choice.
        scale: each pixel is shown as scale x scale pixels; by default as large as makes the picture `SMALL` high.
    """
    a, b, ends_a, ends_b = (_array(x) for x in (image_a, image_b, xy_a, xy_b))
    if ends_a.shape != ends_b.shape or ends_a.ndim != 2 or ends_a.shape[1] != 2:
        raise ValueError(f"matches must be two [M, 2], got {list(ends_a.shape)} and {list(ends_b.shape)}")
    scale = scale or max(1, round(SMALL / max(a.shape[0], b.shape[0])))
    page = sheet([[enlarge(a, scale), enlarge(b, scale)]])
    offset = a.shape[1] * scale + GAP
    sampled = np.random.default_rng(seed).permutation(len(ends_a))[:count]
    colours = label_palette(min(max(len(sampled), 1), 64))
    image = Image.fromarray(page)
    canvas = ImageDraw.Draw(image)
    for k, match in enumerate(sampled):
        colour = tuple(int(c) for c in colours[k % len(colours)])
        start = [int(v) for v in np.floor(ends_a[match] * scale)]
        end = [int(v) for v in np.floor(ends_b[match] * scale)]
        end[0] += offset
        canvas.line([*start, *end], fill=colour)
        for x, y in (start, end):
            canvas.ellipse([x - 2, y - 2, x + 2, y + 2], fill=colour)
    return np.array(image)


def plot_predictions(
    images: Picture, truth: Picture, predicted: Picture, label_names: Sequence[str], mask: Picture | None = None
) -> np.ndarray:
    """Predictions against truth: four rows (input, truth, prediction, errors in red), a column per view, and a legend; small
    views are enlarged (`enlarged`).

    Args:
        images: uint8 [N, H, W, 3]; their background is shown white.
        truth: int [N, H, W], labels; -1 = undetermined, `BACKGROUND` (-2) = no surface.
        predicted: int [N, H, W], labels; what it holds on the background is not shown.
        label_names: name of each label; the legend shows those that occur.
        mask: bool [N, H, W], True where a surface is seen. Needed if `truth` is -1 on the background too.
    """
    views, true, guess = _array(images), _array(truth), _array(predicted)
    foreground = true > BACKGROUND if mask is None else _array(mask)
    views = np.where(foreground[..., None], views, np.uint8(255))
    true = np.where(foreground, true, BACKGROUND)
    guess = np.where(foreground, guess, BACKGROUND)
    palette = label_palette(len(label_names))
    rows = [list(views), list(colours_of(true, palette)), list(colours_of(guess, palette)), list(_errors(true, guess))]
    cells = [[enlarged(cell) for cell in row] for row in rows]
    table = sheet(cells, rows=["input", "truth", "prediction", "errors"])
    present = np.union1d(true, guess)
    present = present[present >= 0]
    colours = np.concatenate([palette[present], np.array([LIGHT_GREY, WRONG_COLOUR], np.uint8)])
    names = [*(label_names[k] for k in present), "undetermined", "wrong"]
    return stack([table, legend(names, colours, table.shape[1])])


def embedding_colours(embeddings: Tensor, mask: Tensor, colours: PrincipalColours | None = None) -> np.ndarray:
    """Embeddings as colours: their three principal directions over all views together as red, green and blue.

    The same embedding has the same colour in every view, so colours that agree across views show that the network
    finds the same point again. Each direction is scaled over its 1st to 99th percentile.

    Args:
        embeddings: float [N, D, H, W].
        mask: bool [N, H, W], True where a surface is seen; elsewhere the picture is white.
        colours: of a larger sample, so that several of these pictures agree; None: of these views.

    Returns:
        uint8 [N, H, W, 3].
    """
    n, _, h, w = embeddings.shape
    pictures = np.full((n, h, w, 3), WHITE, dtype=np.uint8)
    rows = at_pixels(embeddings, mask)
    if len(rows) > 0:
        colours = principal_colours(rows) if colours is None else colours
        pictures[_array(mask)] = colours(rows).numpy()
    return pictures


def _check_channels(channels: Tensor, names: Sequence[str]) -> None:
    width = num_channels(names)
    if channels.ndim != 4 or channels.shape[1] != width:
        raise InputError(
            f"channels {list(names)} are {width} numbers per pixel, but the images are {list(channels.shape)}"
        )


def _group_picture(name: str, values: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of one channel group float [c, H, W] of one view."""
    if name in ("normal", "points"):
        values = (values + 1) / 2
    elif name == "depth" and foreground.any() and values.max() > 1:
        near, far = values[0][foreground].min(), values[0][foreground].max()
        values = (values - near) / max(far - near, 1e-9)
    picture = (values.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return np.broadcast_to(picture, (*foreground.shape, 3))


def _errors(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3]: right pale, wrong red, undetermined light grey, background white."""
    pictures = np.full((*truth.shape, 3), WHITE, dtype=np.uint8)
    pictures[truth == -1] = LIGHT_GREY
    pictures[(truth >= 0) & (truth == predicted)] = RIGHT_COLOUR
    pictures[(truth >= 0) & (truth != predicted)] = WRONG_COLOUR
    return pictures


def _array(values: Picture) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
