"""Evaluation: codes of unseen captures, their other views, label maps and labelled points, and the parts of their meshes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import save
from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures, make_capture_set
from mvdecor.engine.distributed import rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, ViewMetrics
from mvdecor.fields import FieldViews, load_field, render_views
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.layout import save_png
from mvdecor.figures.rendered_views import plot_views
from mvdecor.files import write_atomically
from mvdecor.lifting.points import labels_from_points
from mvdecor.progress import with_progress
from mvdecor.systems.semantic_srn.infer import given_views, infer


class Measured:
    """Metrics of one way to give codes: of views, and of the meshes of captures that were rendered from shapes."""

    def __init__(self, cfg: DictConfig, captures: CaptureSet, inputs: Mapping[str, list[int]]) -> None:
        names = tuple(captures.label_names)
        self.background = names.index(BACKGROUND_NAME) if BACKGROUND_NAME in names else None
        self.views = ViewMetrics(names, self.background, inputs)
        self.neighbours = cfg.evaluation.neighbours
        self.shapes = captures.shapes if isinstance(captures, RenderedCaptures) else None
        if self.shapes is not None:
            protocol, points = cfg.evaluation.protocol, cfg.evaluation.points
            self.parts = PartMetrics(self.shapes.label_names, protocol, points, cfg.seed)

    def add(self, capture: Capture, views: Sequence[int], rendered: FieldViews) -> None:
        """Count one object."""
        self.views.add_images(capture.id, views, rendered.images, capture.images(views).float() / 255)
        if (depth := capture.depth(views)) is not None:
            self.views.add_depth(capture.id, views, rendered.depth, depth)
        labelled = [i for i, view in enumerate(views) if view in capture.labelled]
        if labelled:
            labelled_views = [views[i] for i in labelled]
            self.views.add_labels(
                capture.id, labelled_views, rendered.labels[labelled], capture.labels(labelled_views).long()
            )
        if self.shapes is not None:
            shape, count = self.shapes.load(capture.id), len(self.shapes.label_names)
            cloud = rendered.points, rendered.point_labels
            self.parts.add(shape, labels_from_points(shape, *cloud, count, self.neighbours))

    def result(self) -> dict[str, Any]:
        """Ready for JSON: as `PartMetrics` (part mIoU on meshes; null without), and `images` as `ViewMetrics`."""
        parts = self.parts.result() if self.shapes is not None else {"part_miou": None, "shape_miou": None}
        return parts | {"images": self.views.result()}


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`.

    Writes `out/codes.safetensors`, a code per capture by its id, and `out/clouds` and `out/figures`.
    """
    cfg, settings, out = job.cfg, job.cfg.evaluation, job.out
    field, record = load_field(cfg.checkpoint, job.open_device().device)
    captures = make_capture_set(cfg.capture)
    check_labels(record, captures, cfg.checkpoint)
    for weight in field.parameters():
        weight.requires_grad_(False)
    ids = captures.ids(settings.split)[: settings.limit]
    loaded = {id: captures.load(id) for id in ids}
    inputs = {id: given_views(cfg, capture) for id, capture in loaded.items()}
    counted = {} if settings.count_given else inputs
    inferred, mean = Measured(cfg, captures, counted), Measured(cfg, captures, counted)
    blocks = [ids[i : i + settings.batch_size] for i in range(0, len(ids), settings.batch_size)]
    codes_by_id: dict[str, Tensor] = {}
    for block in with_progress(blocks, "inferring codes", len(blocks)):
        codes = infer(cfg, field, [loaded[id] for id in block], [inputs[id] for id in block])
        codes_by_id |= dict(zip(block, codes.cpu(), strict=True))
        for id, code in zip(block, codes, strict=True):
            capture = loaded[id]
            views = measured_views(len(capture), settings.measured)
            rendered = render_views(field, code, capture, views, inferred.background)
            inferred.add(capture, views, rendered)
            if settings.mean_code:
                mean.add(capture, views, render_views(field, field.mean_code(), capture, views, inferred.background))
            if rank() == 0 and (settings.clouds is None or ids.index(id) < settings.clouds):
                write(out, capture, inputs[id], views, rendered, captures.label_names)
    if rank() == 0:
        write_atomically(out / "codes.safetensors", save({id: code.contiguous() for id, code in codes_by_id.items()}))
    result = {
        **inferred.result(),
        "mean_code": mean.result() if settings.mean_code else None,
        "given": {"kind": settings.source, "views": inputs, "counted": settings.count_given},
        "trained_with": trained_with(load_field(cfg.checkpoint)[1]),
        "category": cfg.data.get("category", captures.__class__.__name__),
        "split": {"name": settings.split, "ids": ids},
        "skipped": [],
        "weights_sha256": record["weights_sha256"],
    }
    rows = {"inferred code": result, "mean code": result["mean_code"]}
    print("\n".join(f"{name}: {summary(row)}" for name, row in rows.items() if row is not None), flush=True)
    outcome = {"part_miou": result["part_miou"], "psnr": result["images"]["psnr"]}
    log_outcome(out / "log", cfg, {f"evaluation/{name}": x for name, x in outcome.items() if x is not None})
    return result


def write(
    out: Path,
    capture: Capture,
    input_views: Sequence[int],
    views: Sequence[int],
    rendered: FieldViews,
    names: Sequence[str],
) -> None:
    """Write the labelled points of one object, and a picture of its views."""
    cloud = rendered.points, rendered.point_labels, rendered.confidence
    write_cloud(out / "clouds" / f"{capture.id}.ply", *cloud, names)
    images = capture.images(views), (rendered.images * 255).round().to(torch.uint8)
    truth = capture.labels(views) if set(views) <= set(capture.labelled) else None
    labels = rendered.labels, truth
    plot = plot_views(capture.images(input_views[:1])[0], views, images, labels, names, capture.background)
    save_png(out / "figures" / f"{capture.id}.png", plot)


def check_labels(record: Mapping[str, Any], captures: CaptureSet, checkpoint: str) -> None:
    """Raise InputError if a checkpoint's field labels nothing, or other labels than the captures'."""
    names = record["label_names"]
    if not names:
        raise InputError(f"{checkpoint}: this field was only pretrained: run scripts/finetune.py first")
    if list(captures.label_names) != names:
        raise InputError(
            f"{checkpoint}: the field's labels ({', '.join(names)}) are not those of the captures "
            f"({', '.join(captures.label_names)}): choose those that it was fine-tuned on"
        )


def trained_with(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model's training, which are not those of its evaluation: by group."""
    trained = record["config"]
    groups = {key: trained[key] for key in ("seed", "run", "precision", "network", "training") if key in trained}
    return groups | ({"field": record["field"]} if "field" in record else {})


def measured_views(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` views, spread evenly."""
    return list(range(count)) if limit is None else (np.arange(min(limit, count)) * count // min(limit, count)).tolist()


def summary(result: Mapping[str, Any]) -> str:
    """One line of figures."""
    images, texts = result["images"], []
    if images["psnr"] is not None:
        texts += [f"PSNR {images['psnr']:.2f} dB", f"SSIM {images['ssim']:.3f}"]
    if images["labels"] is not None:
        miou, with_background = images["labels"]["miou"], images["labels"]["miou_with_background"]
        texts.append(f"label mIoU {miou:.1f} ({with_background:.1f} with background)")
    if result["part_miou"] is not None:
        texts.append(f"part mIoU on meshes {result['part_miou']:.1f}")
    return ", ".join(texts) or "every view was given, and given views do not count"
