"""Evaluation: codes of unseen captures, their other views, label maps and labelled points, and the parts of their meshes.

The captures are divided among all processes by blocks whose codes move together; each has a record, so that a kill loses none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig
from safetensors.torch import save
from torch import Tensor

from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures, make_capture_set
from mvdecor.engine.cost import Cost, total_cost
from mvdecor.engine.distributed import barrier, own_part, rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, ShapeRecords, ViewMetrics
from mvdecor.fields import ConditionalField, FieldViews, load_field, render_views
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.layout import save_png
from mvdecor.figures.rendered_views import plot_views
from mvdecor.files import write_atomically
from mvdecor.lifting.points import labels_from_points
from mvdecor.progress import with_progress
from mvdecor.systems.semantic_srn.infer import given_views, infer
from mvdecor.systems.semantic_srn.keys import capture_files
from mvdecor.systems.semantic_srn.settings import check_source

MEASURED = "measured"
"""The folder in `out` of the records of an evaluation under way."""


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

    def add(self, capture: Capture, views: Sequence[int], rendered: FieldViews) -> dict[str, Any]:
        """Count one object; gives its record, plain values that `restore` takes."""
        self.views.add_images(capture.id, views, rendered.images, capture.images(views).float() / 255)
        if (depth := capture.depth(views)) is not None:
            self.views.add_depth(capture.id, views, rendered.depth, depth)
        labelled = [i for i, view in enumerate(views) if view in capture.labelled]
        if labelled:
            labelled_views = [views[i] for i in labelled]
            self.views.add_labels(
                capture.id, labelled_views, rendered.labels[labelled], capture.labels(labelled_views).long()
            )
        parts = None
        if self.shapes is not None:
            shape, count = self.shapes.load(capture.id), len(self.shapes.label_names)
            cloud = rendered.points, rendered.point_labels
            parts = self.parts.add(shape, labels_from_points(shape, *cloud, count, self.neighbours))
        return {"views": self.views.record(capture.id, views), "parts": parts}

    def restore(self, id: str, record: Mapping[str, Any]) -> None:
        """Count an object by its record, perhaps of another process."""
        self.views.restore(id, record["views"])
        if self.shapes is not None:
            self.parts.restore(id, record["parts"])

    def result(self) -> dict[str, Any]:
        """Ready for JSON: as `PartMetrics` (part mIoU on meshes; null without), and `images` as `ViewMetrics`."""
        parts = self.parts.result() if self.shapes is not None else {"part_miou": None, "shape_miou": None}
        return parts | {"images": self.views.result()}


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`.

    Writes `out/codes.safetensors`, a code per capture by its id, and `out/clouds` and `out/figures`.
    """
    cfg, settings, out, fabric = job.cfg, job.cfg.evaluation, job.out, job.open_device()
    field, checkpoint = load_field(cfg.checkpoint, fabric.device)
    captures = make_capture_set(cfg.capture)
    check_labels(checkpoint, captures, cfg.checkpoint)
    check_source(settings.source, field.head_kind)
    for weight in field.parameters():
        weight.requires_grad_(False)
    ids = captures.ids(settings.split)[: settings.limit]
    loaded = {id: captures.load(id) for id in ids}
    inputs = {id: given_views(cfg, capture) for id, capture in loaded.items()}
    counted = {} if settings.count_given else inputs
    records = make_records(job, captures, ids, checkpoint["weights_sha256"])
    measure_missing(job, fabric, field, captures, loaded, inputs, records)
    inferred, mean = Measured(cfg, captures, counted), Measured(cfg, captures, counted)
    codes: dict[str, Tensor] = {}
    for id in ids:
        record = records.read(id)
        if record is None:
            raise InputError(f"capture {id}: its files changed while it was measured: run the same command again")
        codes[id] = torch.tensor(record["code"])
        inferred.restore(id, record["inferred"])
        if settings.mean_code:
            mean.restore(id, record["mean"])
    barrier()  # all have read
    if rank() == 0:
        write_atomically(out / "codes.safetensors", save(codes))
    result = {
        **inferred.result(),
        "mean_code": mean.result() if settings.mean_code else None,
        "given": {"kind": settings.source, "views": inputs, "counted": settings.count_given},
        "trained_with": trained_with(load_field(cfg.checkpoint)[1]),
        "category": cfg.data.get("category", captures.__class__.__name__),
        "split": {"name": settings.split, "ids": ids},
        "skipped": [],
        "weights_sha256": checkpoint["weights_sha256"],
    }
    rows = {"inferred code": result, "mean code": result["mean_code"]}
    print("\n".join(f"{name}: {summary(row)}" for name, row in rows.items() if row is not None), flush=True)
    outcome = {"part_miou": result["part_miou"], "psnr": result["images"]["psnr"]}
    log_outcome(out / "log", cfg, {f"evaluation/{name}": x for name, x in outcome.items() if x is not None})
    return result


def blocks_of(cfg: DictConfig, ids: Sequence[str]) -> list[Sequence[str]]:
    """The captures whose codes move together: the same for any number of processes, so that rounding is the same."""
    return [ids[i : i + cfg.evaluation.batch_size] for i in range(0, len(ids), cfg.evaluation.batch_size)]


def make_records(job: Job, captures: CaptureSet, ids: Sequence[str], weights: str) -> ShapeRecords:
    """What was measured so far, a record per capture; each is of the files of its whole block, see `blocks_of`."""
    sources: dict[str, str] = {}
    for block in blocks_of(job.cfg, ids):
        sources |= dict.fromkeys(block, capture_files(captures, block).identity()["sha256"])
    return ShapeRecords(job.out / MEASURED, job.key["settings"] | {"weights": weights}, sources.__getitem__)


def measure_missing(
    job: Job,
    fabric: Fabric,
    field: ConditionalField,
    captures: CaptureSet,
    loaded: Mapping[str, Capture],
    inputs: Mapping[str, list[int]],
    records: ShapeRecords,
) -> None:
    """Measure the captures without a record, and record them; all processes together, which wait for each other."""
    cfg, ids = job.cfg, list(loaded)
    if earlier := [record for record in map(records.read, ids) if record is not None]:
        print(f"{records.folder}: resuming after {len(earlier)} of {len(ids)} captures", flush=True)
        if rank() == 0:
            job.cost.load_state_dict(total_cost([record["cost"] for record in earlier]))
    barrier()  # the first process is in `out` now, and nobody else
    blocks = own_part(blocks_of(cfg, ids))
    for block in with_progress(blocks, "inferring codes", len(blocks)):
        missing, cost = [id for id in block if records.read(id) is None], Cost()
        if not missing:
            continue
        codes = infer(cfg, field, [loaded[id] for id in block], [inputs[id] for id in block])
        for id, code in zip(block, codes, strict=True):
            if id in missing:
                figures = measure(cfg, field, captures, loaded[id], inputs[id], code, ids.index(id))
                time = cost.here()
                time["wall_seconds"] /= fabric.world_size  # the others measure other captures meanwhile
                records.write(id, {**figures, "code": code.tolist(), "cost": time})
                cost = Cost()
    barrier()


def measure(
    cfg: DictConfig,
    field: ConditionalField,
    captures: CaptureSet,
    capture: Capture,
    input_views: list[int],
    code: Tensor,
    number: int,
) -> dict[str, Any]:
    """Render capture `number` by its code and by the mean code, write and count it; gives its record."""
    settings, counted = cfg.evaluation, {} if cfg.evaluation.count_given else {capture.id: input_views}
    views = measured_views(len(capture), settings.measured)
    record: dict[str, Any] = {}
    for way, code_of_way in ({"inferred": code} | ({"mean": field.mean_code()} if settings.mean_code else {})).items():
        measured = Measured(cfg, captures, counted)
        rendered = render_views(field, code_of_way, capture, views, measured.background)
        record[way] = measured.add(capture, views, rendered)
        if way == "inferred" and (settings.clouds is None or number < settings.clouds):
            write(Path(cfg.out), capture, input_views, views, rendered, captures.label_names)
    return record


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
