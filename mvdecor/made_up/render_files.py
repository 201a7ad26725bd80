"""Renders of any template on disk, as a folder of photographs of which masks, keypoints and cameras are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvdecor.captures.template_renders import PosedMeshes, RenderBatch, RenderSettings, TemplateRenders
from mvdecor.made_up.picture_files import KnownPicture, write_pictures, write_template_files
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
    """Write renders as `TemplateRenders` samples them (see `write_pictures` for the files), and what they show.

    `vertices/ID.npy` are the deformed vertices, float32 [V, 3], in the frame of the template (`read_template`: centred, in the
    unit sphere) that `template/` holds; a camera belongs to these vertices.

    Args:
        folder: an empty folder.
        splits: names of the renders of each split; a render depends on the seed and its number in all splits together.
        template: what is rendered.
        seed: of everything; no render is one of a pretraining with this seed.
        size: pixels per side.
        settings: what is sampled.
    """
    source = TemplateRenders(template, size, 1, settings)
    (folder / "vertices").mkdir()

    def render_all() -> Iterator[tuple[str, KnownPicture]]:
        """All renders with their names."""
        for number, id in enumerate(id for part in splits.values() for id in part):
            batch, posed = source.sample_posed(seed_of(seed, "renders"), number)
            np.save(folder / "vertices" / f"{id}.npy", posed.vertices[0].numpy())
            yield id, _picture(template, batch, posed)

    write_pictures(folder, splits, list(template.keypoints), render_all())
    shape = template.shape
    annotations: dict[str, Any] = {"keypoints": template.keypoints}
    if shape.face_labels is not None:
        annotations |= {"label_names": list(shape.label_names), "face_labels": shape.face_labels.tolist()}
    (folder / "template").mkdir()
    write_template_files(folder / "template", shape.vertices.double().numpy(), shape.faces.numpy(), annotations)


def _picture(template: Template, batch: RenderBatch, posed: PosedMeshes) -> KnownPicture:
    """The one render of a batch, in pixels."""
    size = batch.masks.shape[-1]
    half, vertices = size / 2, list(template.keypoints.values())
    xy = (batch.positions[0, vertices].double().numpy() + 1) * half
    inside = ((xy >= 0) & (xy <= size)).all(axis=1)
    return KnownPicture(
        (255 * batch.images[0].permute(1, 2, 0)).round().byte().numpy(),
        batch.masks[0].numpy(),
        np.column_stack([xy, batch.visible[0, vertices].numpy() & inside]),
        posed.rotation[0].double().numpy(),
        float(posed.scale[0]) * half,
        (posed.shift[0].double().numpy() + 1) * half,
    )
