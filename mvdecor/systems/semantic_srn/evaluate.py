"""Evaluation: codes of unseen captures, their other views, label maps and labelled points, and the parts of their meshes.

The captures are divided among all processes by blocks whose codes move together; each has a record, so that a kill loses none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors.torch import save
from torch import Tensor

from mvdecor.captures import Capture, CaptureSet, make_capture_set
from mvdecor.engine.distributed import rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.fields import ConditionalField, load_field, render_views
from mvdecor.figures.cloud import write_cloud
from mvdecor.files import write_atomically
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


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`.

    Writes `out/codes.safetensors`, a code per capture by its id, and `out/clouds` and `out/figures`.
    """
    cfg, settings, out = job.cfg, job.cfg.evaluation, job.out
    field, checkpoint = load_field(cfg.checkpoint, job.open_device().device)
    field.requires_grad_(False)
    captures = make_capture_set(cfg.capture)
    check_labels(checkpoint, captures, cfg.checkpoint)
    check_source(settings.source, field.head_kind)
    ids = captures.ids(settings.split)[: settings.limit]
    loaded = {id: captures.load(id) for id in ids}
    inputs = {id: given_views(cfg, capture) for id, capture in loaded.items()}
    pictured = set(ids[: settings.clouds])

    def measure_block(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        codes = infer(cfg, field, [loaded[id] for id in block], [inputs[id] for id in block])
        for id, code in zip(block, codes, strict=True):
            if id in missing:
                yield id, measure(cfg, field, captures, loaded[id], inputs[id], code, id in pictured)

    records = make_records(job, captures, ids, checkpoint["weights_sha256"])
    by_id = measure_missing(records, blocks_of(cfg, ids), measure_block, job.cost, "inferring codes")
    inferred, mean = (Measured(cfg, captures, {} if settings.count_given else inputs) for _ in range(2))
    for id, record in by_id.items():
        inferred.restore(id, record["inferred"])
        if settings.mean_code:
            mean.restore(id, record["mean"])
    if rank() == 0:
        codes = {id: torch.tensor(record["code"]) for id, record in by_id.items()}
        write_atomically(out / "codes.safetensors", save(codes))
    result = {
        **inferred.result(),
        "mean_code": mean.result() if settings.mean_code else None,
        **about_evaluation(cfg, captures, ids, inputs, checkpoint),
    }
    rows = {"inferred code": result, "mean code": result["mean_code"]}
    print("\n".join(f"{name}: {summary(row)}" for name, row in rows.items() if row is not None), flush=True)
    outcome = {"part_miou": result["part_miou"], "psnr": result["images"]["psnr"]}
    log_outcome(out / "log", cfg, {f"evaluation/{name}": x for name, x in outcome.items() if x is not None})
    return result


def measure(
    cfg: DictConfig,
    field: ConditionalField,
    captures: CaptureSet,
    capture: Capture,
    input_views: list[int],
    code: Tensor,
    pictured: bool,
) -> dict[str, Any]:
    """Render a capture by its code and by the mean code, and count it; gives its record. `pictured`: write cloud and figure."""
    settings, out = cfg.evaluation, cfg.out
    counted = {} if settings.count_given else {capture.id: input_views}
    views = measured_views(len(capture), settings.measured)
    codes = {"inferred": code} | ({"mean": field.mean_code()} if settings.mean_code else {})
    record: dict[str, Any] = {"code": code.tolist()}
    for way, code_of_way in codes.items():
        measured = Measured(cfg, captures, counted)
        rendered = render_views(field, code_of_way, capture, views, measured.background)
        record[way] = measured.add_rendered(capture, views, rendered)
        if way == "inferred" and pictured:
            cloud = rendered.points, rendered.point_labels, rendered.confidence
            write_cloud(Path(out, "clouds", f"{capture.id}.ply"), *cloud, captures.label_names)
            save_views(Path(out), capture, input_views, views, rendered.images, rendered.labels, captures.label_names)
    return record
