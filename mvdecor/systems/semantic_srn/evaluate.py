"""Evaluation: codes of unseen captures, their other views, label maps and labelled points, and the parts of their meshes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from safetensors.torch import save

from mvdecor.captures import measured_views
from mvdecor.engine.distributed import rank
from mvdecor.engine.stage import Job
from mvdecor.evaluation import capture_summary
from mvdecor.fields import load_field, render_views
from mvdecor.figures.cloud import write_cloud
from mvdecor.files import write_atomically
from mvdecor.systems.capture_evaluation import CaptureEvaluation
from mvdecor.systems.semantic_srn.settings import check_source


def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the captures of `evaluation.split`.

    Writes `out/codes.safetensors`, a code per capture by its id, and `out/clouds` and `out/figures`.
    """
    settings = job.cfg.evaluation
    field, checkpoint = load_field(job.cfg.checkpoint, job.open_device().device)
    field.requires_grad_(False)
    evaluation = CaptureEvaluation(job, checkpoint)
    check_source(settings.source, field.head_kind)

    def measure_block(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The record of each capture of a block that has none yet."""
        inferred = evaluation.codes(field, block)
        for id in missing:
            capture = evaluation.loaded[id]
            views = measured_views(len(capture), settings.measured)
            codes = {"inferred": inferred[id]} | ({"mean": field.mean_code()} if settings.mean_code else {})
            record: dict[str, Any] = {"code": inferred[id].tolist()}
            for name, code in codes.items():
                metrics = evaluation.metrics()
                shown = render_views(field, code, capture, views, metrics.background)
                cloud = shown.points, shown.point_labels
                record[name] = metrics.add_cloud(capture, views, shown.labels, *cloud, shown.images, shown.depth)
                if name == "inferred" and id in evaluation.pictured:
                    file = job.out / "clouds" / f"{id}.ply"
                    write_cloud(file, *cloud, shown.confidence, evaluation.captures.label_names)
                    evaluation.save_views(capture, views, shown.images, shown.labels)
            yield id, record

    records = evaluation.measure(measure_block, "inferring codes")
    if rank() == 0:
        codes = {id: torch.tensor(record["code"]) for id, record in records.items()}
        write_atomically(job.out / "codes.safetensors", save(codes))
    names = {"inferred": "inferred code"} | ({"mean": "mean code"} if settings.mean_code else {})
    results = {name: evaluation.result({id: record[name] for id, record in records.items()}) for name in names}
    for name, result in results.items():
        print(f"{names[name]}: {capture_summary(result)}", flush=True)
    return evaluation.close(results["inferred"], results.get("mean"))
