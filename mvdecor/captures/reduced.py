"""Captures of a smaller size: blocks of pixels averaged into one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mvdecor.captures.capture import Capture, Pixels
from mvdecor.captures.image_files import reduce_colours, reduce_depth, reduce_labels
from mvdecor.errors import InputError


def reduce_pixels(pixels: Pixels, factor: int) -> Pixels:
    """A view with each `factor` x `factor` block as one pixel; both sides must be multiples."""
    if factor == 1:
        return pixels
    return Pixels(
        reduce_colours(pixels.image, factor),
        None if pixels.alpha is None else reduce_colours(pixels.alpha, factor),
        None if pixels.labels is None else reduce_labels(pixels.labels, factor),
        None if pixels.depth is None else reduce_depth(pixels.depth, factor),
    )


def reduced(capture: Capture, factor: int) -> Capture:
    """The same capture with its images and cameras `factor` times smaller.

    Raises:
        InputError: the factor does not divide the images' height and width.
    """
    if factor == 1:
        return capture
    height, width = capture.cameras.height, capture.cameras.width
    if height % factor or width % factor:
        raise InputError(f"capture {capture.id}: {factor} does not divide its {width}x{height} pixels")
    return replace(capture, cameras=capture.cameras.reduced(factor), read=ReducedViews(capture, factor))


@dataclass(frozen=True)
class ReducedViews:
    """Reads the `Pixels` of a view of a larger capture, and reduces them."""

    capture: Capture
    factor: int

    def __call__(self, view: int) -> Pixels:
        return reduce_pixels(self.capture.read(view), self.factor)
