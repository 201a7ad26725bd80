"""Layout of pictures: sheets with captions, legends, files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mvdecor.figures.palette import WHITE
from mvdecor.files import write_atomically

GAP = 4  # white pixels between the cells of a sheet
CELL = 192  # height of a view in a sheet, about; smaller ones are enlarged
TEXT_SIZE = 12
TEXT_HEIGHT = 18  # of a line of text, with its margins


def sheet(cells: Sequence[Sequence[np.ndarray]], columns: Sequence[str] = (), rows: Sequence[str] = ()) -> np.ndarray:
    """Lay pictures out in a table on white, `GAP` pixels apart, each in the top left corner of its cell.

    Args:
        cells: rows of pictures uint8 [h, w, 3]; all rows have as many pictures.
        columns: a caption above each column, or none.
        rows: a caption left of each row, or none.

    Returns:
        uint8 [H, W, 3].
    """
    assert cells and len({len(row) for row in cells}) == 1, "a sheet needs at least one row, and rows of one length"
    assert len(columns) in (0, len(cells[0])) and len(rows) in (0, len(cells)), "one caption a row and a column"
    heights = [max(cell.shape[0] for cell in row) for row in cells]
    widths = [max(row[c].shape[1] for row in cells) for c in range(len(cells[0]))]
    if columns:
        widths = [max(w, text_width(caption)) for w, caption in zip(widths, columns, strict=True)]
    top = TEXT_HEIGHT if columns else 0
    left = max(text_width(caption) for caption in rows) + GAP if rows else 0
    page = blank(top + sum(heights) + GAP * (len(heights) - 1), left + sum(widths) + GAP * (len(widths) - 1))
    xs = [left + sum(widths[:c]) + GAP * c for c in range(len(widths))]
    ys = [top + sum(heights[:r]) + GAP * r for r in range(len(heights))]
    for row, y in zip(cells, ys, strict=True):
        for cell, x in zip(row, xs, strict=True):
            page[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    page = write_text(page, [(x, 2, caption) for x, caption in zip(xs, columns, strict=False)])
    return write_text(page, [(0, y + 2, caption) for y, caption in zip(ys, rows, strict=False)])


def stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [h, w, 3] below each other on white, aligned left."""
    return sheet([[picture] for picture in pictures])


def legend(names: Sequence[str], colours: np.ndarray, width: int) -> np.ndarray:
    """A square of each colour with its name, in as many lines as `width` needs.

    Args:
        names: n names.
        colours: uint8 [n, 3].
        width: width of the picture in pixels; it grows if a single name needs more.

    Returns:
        uint8 [h, w, 3].
    """
    places, x, y, widest = [], 0, 0, width
    for name in names:
        entry_width = TEXT_HEIGHT + text_width(name) + 2 * GAP
        if x and x + entry_width > width:
            x, y = 0, y + TEXT_HEIGHT
        places.append((x, y))
        x += entry_width
        widest = max(widest, x)
    page = blank(y + TEXT_HEIGHT, widest)
    for (x, y), colour in zip(places, colours, strict=True):
        page[y + 3 : y + 15, x + 2 : x + 14] = colour
    return write_text(page, [(x + TEXT_HEIGHT, y + 2, name) for (x, y), name in zip(places, names, strict=True)])


def blank(height: int, width: int) -> np.ndarray:
    """A white picture uint8 [height, width, 3]."""
    return np.full((height, width, 3), WHITE, dtype=np.uint8)


def write_text(picture: np.ndarray, lines: Sequence[tuple[int, int, str]]) -> np.ndarray:
    """A copy of uint8 [h, w, 3] with black texts at (x, y) of their top left corner."""
    if not lines:
        return picture
    image = Image.fromarray(picture)
    canvas = ImageDraw.Draw(image)
    for x, y, text in lines:
        canvas.text((x, y), text, fill=(0, 0, 0), font=_font())
    return np.array(image)


def text_width(text: str) -> int:
    """Width of a line of text in pixels."""
    return int(np.ceil(_font().getlength(text)))


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel of [h, w, ...] as a square of scale x scale pixels."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def enlarged(picture: np.ndarray, height: int = CELL) -> np.ndarray:
    """A picture [h, w, ...] of about `height` pixels or more; a small one grows by a whole factor: pixels stay squares."""
    return enlarge(picture, max(1, round(height / picture.shape[0])))


def save_png(path: Path | str, image: np.ndarray) -> None:
    """Write uint8 [H, W, 3] as a PNG (`png_bytes`).

    Parents are created. The file appears complete or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    write_atomically(path, png_bytes(image))


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as a PNG: with a palette if it has at most 256 colours, which is exact and far smaller."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"a picture must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    packed = image.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    values, index = np.unique(packed, return_inverse=True)
    if len(values) <= 256:
        picture = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        picture.putpalette([int(channel) for v in values for channel in (v >> 16, v >> 8 & 255, v & 255)])
    else:
        picture = Image.fromarray(image)
    buffer = BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=TEXT_SIZE)
