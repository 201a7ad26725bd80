"""Calibration of a fine-tuned model on new views of its labelled shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.evaluation import fit_temperature
from mvdecor.lifting import Calibration, seen_faces
from mvdecor.networks import Model
from mvdecor.seeds import seed_of
from mvdecor.shapes import Shape
from mvdecor.shapes.shape import UNDETERMINED
from mvdecor.systems.mvdecor.batches import LabelledSource
from mvdecor.systems.mvdecor.predict import predict_views
from mvdecor.systems.mvdecor.setup import make_rendering, make_shape_views, seed_of_calibration_views
from mvdecor.views import labels_at_pixels

VIEWS = 16
"""New views of each shape, at most."""
PIXELS = 2000
"""Labelled pixels sampled from each of them, at most."""


def calibrate(cfg: DictConfig, fabric: Fabric, model: Model, labelled: LabelledSource) -> Calibration:
    """Fit the temperature of the confidence, and take the evidence that other meshes are compared with.

    The views are seen by cameras that the training did not have, but show shapes that it had: what the temperature finds
    is a part of the overconfidence on other shapes, never more than that. So a temperature below 1 is not taken.

    Only labels that the labelled views show are used: of a shape with v labelled views no more is known.

    Args:
        cfg: the configuration of the fine-tuning.
        fabric: precision; the model's device.
        model: fine-tuned; left in evaluation mode.
        labelled: what it was trained on.
    """
    model.eval()
    shapes = [labelled_part(labelled, number) for number in range(len(labelled.shape_views))]  # k of them
    shape_views = make_shape_views(cfg, shapes, fabric.device, seed_of_calibration_views, keep=False)
    rendering, generator = make_rendering(cfg), torch.Generator().manual_seed(seed_of(cfg.seed, cfg.run, "calibration"))
    logits, labels, evidence, foreground = [], [], 0.0, 0
    for shape in shape_views:
        index = some_views(shape_views.num_views(shape))
        for views, scores in predict_views(
            fabric, model, shape_views, shape, rendering, cfg.evaluation.batch_size, index
        ):
            pixels = scores.permute(0, 1, 3, 4, 2)
            truth = labels_at_pixels(shape, views)
            seen = pixels[views.face_ids >= 0].float()
            evidence, foreground = (
                evidence + float(seen.logsumexp(dim=-1).sum(dtype=torch.float64)),
                foreground + len(seen),
            )
            for image in range(len(views)):
                sampled = _sample(truth[image], generator)
                logits.append(pixels[image][sampled].float())
                labels.append(truth[image][sampled])
    mean, true_labels = evidence / max(foreground, 1), torch.cat(labels)
    temperature = max(1.0, fit_temperature(torch.cat(logits), true_labels)) if len(true_labels) else 1.0
    return Calibration(temperature, mean)


def some_views(count: int) -> list[int]:
    """Up to `VIEWS` of `count` views, evenly out of all, so that close-ups have their share."""
    return np.linspace(0, count - 1, min(VIEWS, count)).round().astype(int).tolist()


def labelled_part(labelled: LabelledSource, number: int) -> Shape:
    """Shape `number` of a source, undetermined where none of its labelled views sees it."""
    shape = labelled.shape_views[number]
    views = labelled.shape_views.views(shape, labelled.views[number])
    assert shape.face_labels is not None, "a labelled source has labelled shapes"
    seen = seen_faces(shape, views)
    return replace(shape, face_labels=torch.where(seen, shape.face_labels, UNDETERMINED))


def _sample(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Places of up to `PIXELS` labelled pixels of labels [L, H, W]."""
    places = (labels >= 0).nonzero()
    if len(places) > PIXELS:
        places = places[torch.randperm(len(places), generator=generator)[:PIXELS].to(places.device)]
    return places.unbind(dim=1)
