"""Evaluation of a U-Net: label maps of true or rendered views of unseen captures, and their pixels' votes on the meshes.

Captures are divided among all processes, and recorded, as those of Semantic SRN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import Capture, CaptureSet, RenderedCaptures, bounded_rays, make_capture_set
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.fields import ConditionalField, load_field, render_rays
from mvdecor.lifting import LiftingSettings, fill_unseen, vote
from mvdecor.networks import Model
from mvdecor.shapes import Shape
from mvdecor.systems.records import measure_missing
from mvdecor.systems.semantic_srn.infer import given_views, infer
from mvdecor.systems.semantic_srn.measured import (
    Measured,
    about_evaluation,
    blocks_of,
    check_labels,
    make_records,
    measured_views,
    save_views,
    summary,
)
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
    cfg, settings, device = job.cfg, job.cfg.evaluation, job.open_device().device
    model, checkpoint = load_unet(cfg.checkpoint, device)
    captures = make_capture_set(cfg.capture)
    check_labels(checkpoint, captures, cfg.checkpoint)
    field, weights = open_field(cfg, device)
    ids = captures.ids(settings.split)[: settings.limit]
    loaded = {id: captures.load(id) for id in ids}
    inputs = {id: given_views(cfg, capture) for id, capture in loaded.items()}
    counted = {} if settings.count_given else inputs
    pictured = set(ids[: settings.clouds])

    def measure_block(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        codes: dict[str, Tensor] = {}
        if field is not None:
            inferred = infer(cfg, field, [loaded[id] for id in block], [inputs[id] for id in block])
            codes = dict(zip(block, inferred, strict=True))
        for id in missing:
            capture, views = loaded[id], measured_views(len(loaded[id]), settings.measured)
            images = capture.images(views).float() / 255
            if field is not None:
                images = rendered_images(field, codes[id], capture, views)
            logits = label_views(model, images.to(device)).cpu()
            measured = Measured(cfg, captures, counted)
            rendered = images if field is not None else None
            if id in pictured:
                save_views(job.out, capture, inputs[id], views, images, logits.argmax(dim=1), captures.label_names)
            yield id, add_logits(measured, cfg, captures, capture, views, logits, rendered)

    records = make_records(job, captures, ids, checkpoint["weights_sha256"] + weights)
    measured = Measured(cfg, captures, counted)
    for id, record in measure_missing(records, blocks_of(cfg, ids), measure_block, job.cost, "labelling views").items():
        measured.restore(id, record)
    result = {
        **measured.result(),
        "mean_code": None,
        **about_evaluation(cfg, captures, ids, inputs, checkpoint),
    }
    print(summary(result), flush=True)
    if result["part_miou"] is not None:
        log_outcome(job.out / "log", cfg, {"evaluation/part_miou": result["part_miou"]})
    return result


def add_logits(
    measured: Measured,
    cfg: DictConfig,
    captures: CaptureSet,
    capture: Capture,
    views: Sequence[int],
    logits: Tensor,
    images: Tensor | None = None,
) -> dict[str, Any]:
    """Count the logits [n, C, H, W] of views of a capture, whose pixels vote on its mesh; gives its record."""

    def label_faces(shape: Shape) -> Tensor:
        assert isinstance(captures, RenderedCaptures), "captures with shapes are rendered from them"
        settings = LiftingSettings.of(cfg.lifting, "lifting")
        seen = captures.rasterizer([shape], [capture.cameras[list(views)]])[0]
        of_parts = logits[:, None, : len(shape.label_names)]  # the background, the last label, is no part
        votes = vote(shape, seen, of_parts, settings.rule, settings.layer_order, settings.power)
        return fill_unseen(shape, votes, settings.fill, settings.smooth, settings.crease).labels

    return measured.add(capture, views, logits.argmax(dim=1), label_faces, images)


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
