"""Evaluation of a U-Net: label maps of true or rendered views of unseen captures, and their pixels' votes on the meshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures, bounded_rays, make_capture_set
from mvdecor.engine.distributed import rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.evaluation import PartMetrics, ViewMetrics
from mvdecor.fields import ConditionalField, load_field, render_rays
from mvdecor.figures.layout import save_png
from mvdecor.figures.rendered_views import plot_views
from mvdecor.lifting import LiftingSettings, fill_unseen, vote
from mvdecor.networks import Model
from mvdecor.progress import with_progress
from mvdecor.systems.semantic_srn.evaluate import check_labels, measured_views, summary, trained_with
from mvdecor.systems.semantic_srn.infer import given_views, infer
from mvdecor.systems.view_unet.checkpoint import load_unet
from mvdecor.systems.view_unet.finetune import network_input


class Measured:
    """Metrics of label maps, and of the faces that their pixels vote on.

    Args:
        cfg: the configuration.
        captures: the set.
        input_views: those that do not count, by id.
    """

    def __init__(self, cfg: DictConfig, captures: CaptureSet, input_views: dict[str, list[int]]) -> None:
        names = tuple(captures.label_names)
        background = names.index(BACKGROUND_NAME) if BACKGROUND_NAME in names else None
        self.views = ViewMetrics(names, background, input_views)
        self.captures = captures if isinstance(captures, RenderedCaptures) else None
        self.lifting = LiftingSettings.of(cfg.lifting, "lifting")
        if self.captures is not None:
            settings = cfg.evaluation
            names = self.captures.shapes.label_names
            self.parts = PartMetrics(names, settings.protocol, settings.points, cfg.seed)

    def add(self, capture: Capture, views: Sequence[int], logits: Tensor) -> None:
        """Count the logits [n, C, H, W] of some views of a capture."""
        labelled = [i for i, view in enumerate(views) if view in capture.labelled]
        if labelled:
            numbers = [views[i] for i in labelled]
            answer = logits[labelled].argmax(dim=1)
            self.views.add_labels(capture.id, numbers, answer, capture.labels(numbers).long())
        if self.captures is not None:
            shape = self.captures.shapes.load(capture.id)
            seen = self.captures.rasterizer([shape], [capture.cameras[list(views)]])[0]
            settings = self.lifting
            # pixels vote for parts; the background is the last label
            of_parts = logits[:, None, : len(shape.label_names)]
            votes = vote(shape, seen, of_parts, settings.rule, settings.layer_order, settings.power)
            self.parts.add(shape, fill_unseen(shape, votes, settings.fill).labels)

    def result(self) -> dict[str, Any]:
        """Ready for JSON, with the keys of Semantic SRN's."""
        parts = self.parts.result() if self.captures is not None else {"part_miou": None, "shape_miou": None}
        return parts | {"images": self.views.result()}


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`; writes `out/figures`."""
    cfg, settings, device = job.cfg, job.cfg.evaluation, job.open_device().device
    model, record = load_unet(cfg.checkpoint, device)
    captures = make_capture_set(cfg.capture)
    check_labels(record, captures, cfg.checkpoint)
    field = None if settings.sees == "views" else load_field(settings.field, device)[0].requires_grad_(False)
    ids = captures.ids(settings.split)[: settings.limit]
    loaded = {id: captures.load(id) for id in ids}
    inputs = {id: given_views(cfg, capture) for id, capture in loaded.items()}
    measured = Measured(cfg, captures, {} if settings.count_given else inputs)
    blocks = [ids[i : i + settings.batch_size] for i in range(0, len(ids), settings.batch_size)]
    for block in with_progress(blocks, "labelling views", len(blocks)):
        codes = None
        if field is not None:
            codes = infer(cfg, field, [loaded[id] for id in block], [inputs[id] for id in block])
        for i, id in enumerate(block):
            capture, views = loaded[id], measured_views(len(loaded[id]), settings.measured)
            images = capture.images(views).float() / 255
            if field is not None and codes is not None:
                truth, images = images, rendered_images(field, codes[i], capture, views)
                measured.views.add_images(id, views, images, truth)
            logits = label_views(model, images.to(device)).cpu()
            measured.add(capture, views, logits)
            if rank() == 0 and (settings.clouds is None or ids.index(id) < settings.clouds):
                pictures = (images * 255).round().to(torch.uint8)
                labels = capture.labels(views) if set(views) <= set(capture.labelled) else None
                plot = plot_views(
                    capture.images(inputs[id][:1])[0],
                    views,
                    (capture.images(views), pictures),
                    (logits.argmax(dim=1), labels),
                    captures.label_names,
                    capture.background,
                )
                save_png(job.out / "figures" / f"{id}.png", plot)
    result = {
        **measured.result(),
        "mean_code": None,
        "given": {"kind": settings.source, "views": inputs, "counted": settings.count_given},
        "category": cfg.data.get("category", captures.__class__.__name__),
        "split": {"name": settings.split, "ids": ids},
        "skipped": [],
        "trained_with": trained_with(record),
        "weights_sha256": record["weights_sha256"],
    }
    print(summary(result), flush=True)
    if result["part_miou"] is not None:
        log_outcome(job.out / "log", cfg, {"evaluation/part_miou": result["part_miou"]})
    return result


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
