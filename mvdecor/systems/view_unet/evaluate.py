"""Evaluation of a U-Net: label maps of true or rendered views of unseen captures, and their pixels' votes on the meshes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import Capture, CaptureSet, RenderedCaptures, bounded_rays, measured_views
from mvdecor.engine.stage import Job
from mvdecor.evaluation import capture_summary
from mvdecor.fields import ConditionalField, load_field, render_rays
from mvdecor.lifting import LiftingSettings, fill_unseen, vote
from mvdecor.networks import Model
from mvdecor.shapes import Shape
from mvdecor.systems.capture_evaluation import CaptureEvaluation
from mvdecor.systems.semantic_srn.settings import check_source
from mvdecor.systems.view_unet.checkpoint import load_unet
from mvdecor.systems.view_unet.finetune import network_input


def open_field(cfg: DictConfig, device: torch.device | str = "cpu") -> tuple[ConditionalField | None, str]:
    """The frozen field whose renderings are labelled, and the hash of its weights; None and nothing for true views.

    Raises:
        InputError: no such field, or one that cannot infer codes from what is given.
    """
    settings = cfg.evaluation
    if settings.sees == "views":
        return None, ""
    field, record = load_field(settings.field, device)
    check_source(settings.source, field.head_kind if field.head is not None else None)
    return field.requires_grad_(False), record["weights_sha256"]


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`; writes `out/figures`."""
    cfg, device = job.cfg, job.open_device().device
    model, checkpoint = load_unet(cfg.checkpoint, device)
    evaluation = CaptureEvaluation(job, checkpoint)
    field, weights = open_field(cfg, device)

    def measure_block(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The record of each capture of a block that has none yet."""
        codes = {} if field is None else evaluation.codes(field, block)
        for id in missing:
            capture = evaluation.loaded[id]
            views = measured_views(len(capture), cfg.evaluation.measured)
            if field is None:
                images, rendered = capture.images(views).float() / 255, None
            else:
                images = rendered = rendered_images(field, codes[id], capture, views)
            logits = label_views(model, images.to(device)).cpu()
            labels = logits.argmax(dim=1)
            label_faces = partial(vote_on_mesh, cfg, evaluation.captures, capture, views, logits)
            if id in evaluation.pictured:
                evaluation.save_views(capture, views, images, labels)
            yield id, evaluation.metrics().add(capture, views, labels, label_faces, rendered)

    result = evaluation.result(evaluation.measure(measure_block, "labelling views", weights))
    print(capture_summary(result), flush=True)
    return evaluation.close(result, None)


def vote_on_mesh(
    cfg: DictConfig, captures: CaptureSet, capture: Capture, views: Sequence[int], logits: Tensor, shape: Shape
) -> Tensor:
    """int64 [F], the labels that the logits [n, C, H, W] of views of a capture give the faces of its shape."""
    assert isinstance(captures, RenderedCaptures), "captures with shapes are rendered from them"
    settings = LiftingSettings.of(cfg.lifting, "lifting")
    seen = captures.rasterizer([shape], [capture.cameras[list(views)]])[0]
    of_parts = logits[:, None, : len(shape.label_names)]  # the background, the last label, is no part
    votes = vote(shape, seen, of_parts, settings.rule, settings.layer_order, settings.power)
    return fill_unseen(shape, votes, settings.fill, settings.smooth, settings.crease).labels


@torch.no_grad()
def label_views(model: Model, images: Tensor) -> Tensor:
    """Images float32 [n, H, W, 3] in [0, 1] to logits [n, C, H, W]."""
    return model(network_input(images))


def rendered_images(field: ConditionalField, code: Tensor, capture: Capture, views: Sequence[int]) -> Tensor:
    """float32 [n, H, W, 3] in [0, 1], on the CPU: what a field with a code [Z] shows through the cameras of some views."""
    height, width = capture.cameras.height, capture.cameras.width
    rays, _ = bounded_rays(capture, views, torch.arange(len(views) * height * width))
    origins, directions, near, far = (values.to(code.device) for values in rays)
    rendered = render_rays(field, code, (origins, directions, near, far))
    return rendered.rgb[0].clamp(0, 1).cpu().view(len(views), height, width, 3)
