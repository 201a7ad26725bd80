"""The ceiling: what exact positions of all vertices give, through the solver and the deformation vectors as they begin."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.captures.photo_batches import Crop, crop_photograph, keypoint_columns
from mvdecor.captures.photographs import Photograph, load_photographs
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation.reconstructions import ReconstructionMetrics, summary
from mvdecor.shapes.shape import Shape
from mvdecor.systems.to_the_point.evaluate import measure
from mvdecor.systems.to_the_point.photos import photographs_of
from mvdecor.systems.to_the_point.pretrain import untrained
from mvdecor.systems.to_the_point.truth import TrueShapes


def exact_positions(shape: Shape, photograph: Photograph, crop: Crop) -> Tensor:
    """float [V, 2], where the vertices of a photographed shape are in a crop, in [-1, 1]."""
    assert photograph.cameras is not None, "a made-up bird has a camera"
    xy, _ = photograph.cameras.project(shape.vertices[None])
    return 2 * (xy[0] - torch.tensor(crop.corner)) / crop.side - 1


@torch.no_grad()
def ceiling(job: Job) -> dict:
    """Solve for camera and deformation from the exact positions of made-up pictures, and measure that as an evaluation does."""
    cfg, settings = job.cfg, job.cfg.evaluation
    job.open_device()
    model = untrained(cfg).eval()
    source, ids = photographs_of(cfg, settings.split, settings.limit)
    loaded, skipped = load_photographs(source, ids)
    truths, columns = TrueShapes(cfg.photographs.get("root")), keypoint_columns(source, list(model.template.keypoints))
    metrics = ReconstructionMetrics(settings.threshold, settings.points, cfg.seed)
    for photograph in loaded:
        shape = truths.shape(photograph.id, len(model.vertices))
        if shape is None:
            raise InputError(
                f"photograph {photograph.id}: where the template's vertices lie in it is not known: a ceiling needs made-up "
                "birds, or renders of a template, and that template"
            )
        crop = crop_photograph(photograph, model.settings.size, columns)
        positions = exact_positions(shape, photograph, crop)[None]
        measure(
            metrics,
            model,
            [(photograph, crop)],
            truths,
            model.solve(positions, torch.ones(positions.shape[:2])),
            positions,
        )
    result = metrics.result()
    print(f"exact positions: {summary(result)}", flush=True)
    return {**result, "skipped": skipped}
