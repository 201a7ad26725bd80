"""Animations: GIF, and MP4 where the package imageio-ffmpeg is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.files import write_atomically

SUFFIXES = (".gif", ".mp4")


def save_animation(path: Path | str, frames: Sequence[NDArray[np.uint8]], seconds: float = 0.12) -> None:
    """Write frames uint8 [H, W, 3] of one size that follow each other in a loop; the suffix of the file says the format.

    Args:
        path: NAME.gif or NAME.mp4; it appears complete or not at all.
        frames: at least one.
        seconds: per frame.

    Raises:
        InputError: another suffix, MP4 without imageio-ffmpeg, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: an animation is written as {' or '.join(SUFFIXES)}: choose one of them")
    content = _gif(frames, seconds) if path.suffix == ".gif" else _mp4(frames, seconds)
    write_atomically(path, content)


def check_animation(format: str) -> None:
    """Raise InputError if a format ("gif", "mp4") cannot be written here, before any work is done for it."""
    if format == "mp4":
        _ffmpeg()


def _gif(frames: Sequence[NDArray[np.uint8]], seconds: float) -> bytes:
    images, buffer = [Image.fromarray(frame) for frame in frames], BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 * seconds), loop=0, disposal=2
    )
    return buffer.getvalue()


def _mp4(frames: Sequence[NDArray[np.uint8]], seconds: float) -> bytes:
    ffmpeg = _ffmpeg()
    height, width = (side + side % 2 for side in frames[0].shape[:2])  # the codec takes even sides only
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "animation.mp4")
        writer = ffmpeg.write_frames(str(file), (width, height), fps=1 / seconds, macro_block_size=2)
        writer.send(None)
        for frame in frames:
            page = np.full((height, width, 3), 255, dtype=np.uint8)
            page[: frame.shape[0], : frame.shape[1]] = frame
            writer.send(page.tobytes())
        writer.close()
        return file.read_bytes()


def _ffmpeg():  # type: ignore[no-untyped-def]
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise InputError(
            "MP4 needs imageio-ffmpeg, which is not installed: pip install imageio-ffmpeg, or choose gif"
        ) from error
    return imageio_ffmpeg
