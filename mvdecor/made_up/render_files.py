"""Renders of any template on disk, as a folder of photographs of which masks, keypoints and cameras are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mvdecor.captures.template_renders import RenderSettings, TemplateRenders
from mvdecor.made_up.picture_files import KnownPicture, write_pictures
from mvdecor.seeds import seed_of
from mvdecor.shapes.template import Template


def write_renders(
    folder: Path,
    splits: Mapping[str, Sequence[str]],
    template: Template,
    seed: int,
    size: int,
    settings: RenderSettings,
) -> None:
    """Write renders as `TemplateRenders` samples them; see `write_pictures` for the files.

    A camera belongs to the deformed template in the template's frame (`read_template`: centred, in the unit sphere).

    Args:
        folder: an empty folder.
        splits: names of the renders of each split; a render depends on the seed and its number in all splits together.
        template: what is rendered.
        seed: of everything; no render is one of a pretraining with this seed.
        size: pixels per side.
        settings: what is sampled.
    """
    source = TemplateRenders(template, size, 1, settings)
    ids = [id for part in splits.values() for id in part]
    pictures = ((id, _render(source, seed_of(seed, "renders"), number)) for number, id in enumerate(ids))
    write_pictures(folder, splits, list(template.keypoints), pictures)


def _render(source: TemplateRenders, seed: int, number: int) -> KnownPicture:
    """The render of a number, in pixels."""
    batch, half = source.sample(seed, number), source.size / 2
    vertices = list(source.template.keypoints.values())
    xy = (batch.positions[0, vertices].double().numpy() + 1) * half
    inside = ((xy >= 0) & (xy <= source.size)).all(axis=1)
    return KnownPicture(
        (255 * batch.images[0].permute(1, 2, 0)).round().byte().numpy(),
        batch.masks[0].numpy(),
        np.column_stack([xy, batch.visible[0, vertices].numpy() & inside]),
        batch.rotation[0].double().numpy(),
        float(batch.scale[0]) * half,
        (batch.shift[0].double().numpy() + 1) * half,
    )
