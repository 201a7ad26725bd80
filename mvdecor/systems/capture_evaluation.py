"""Evaluations on unseen captures: which captures and views, one record per capture, and what metrics.json says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvdecor.captures import Capture, given_views, make_capture_set
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import CaptureMetrics, ShapeRecords
from mvdecor.fields import ConditionalField, InferenceSettings, codes_of_captures
from mvdecor.figures.layout import save_png
from mvdecor.figures.rendered_views import plot_views
from mvdecor.systems.capture_files import capture_files
from mvdecor.systems.records import Measure, measure_missing

MEASURED = "measured"
"""The folder in `out` of the records of an evaluation under way."""


class CaptureEvaluation:
    """The captures of `cfg.evaluation.split`, and what is given of each.

    They are divided among all processes by blocks whose codes move together.

    Args:
        job: of the stage.
        checkpoint: record of the model.

    Attributes:
        captures: the set.
        ids: of what is measured.
        loaded: the captures.
        inputs: the views of each that are given.
        pictured: ids of those whose pictures are written.

    Raises:
        InputError: the model labels nothing, or other labels than the captures'.
    """

    def __init__(self, job: Job, checkpoint: Mapping[str, Any]) -> None:
        settings = job.cfg.evaluation
        self.job, self.checkpoint = job, checkpoint
        self.captures = make_capture_set(job.cfg.capture)
        self._check_labels()
        self.ids = self.captures.ids(settings.split)[: settings.limit]
        self.loaded = {id: self.captures.load(id) for id in self.ids}
        self.inputs = {
            id: given_views(capture, settings.source, settings.v, settings.views, job.cfg.seed)
            for id, capture in self.loaded.items()
        }
        self.pictured = set(self.ids[: settings.clouds])

    def metrics(self) -> CaptureMetrics:
        """Empty ones."""
        cfg = self.job.cfg
        settings, left_out = cfg.evaluation, {} if cfg.evaluation.count_given else self.inputs
        return CaptureMetrics(
            self.captures, left_out, settings.protocol, settings.points, settings.neighbours, cfg.seed
        )

    @cached_property
    def blocks(self) -> list[Sequence[str]]:
        """The captures whose codes move together: the same for any number of processes, so that rounding is the same."""
        size = self.job.cfg.evaluation.batch_size
        return [self.ids[i : i + size] for i in range(0, len(self.ids), size)]

    def codes(self, field: ConditionalField, block: Sequence[str]) -> dict[str, Tensor]:
        """By id the codes [Z] that are inferred of a block's given views, or that the training gave.

        Raises:
            InputError: evaluation.source=training, and one of them was not trained on.
        """
        if self.job.cfg.evaluation.source == "training":
            trained = self.checkpoint.get("ids", [])
            if missing := sorted(set(block) - set(trained)):
                raise InputError(
                    f"evaluation.source=training: capture {missing[0]} was not pretrained on: set evaluation.split=train"
                )
            return {id: field.codes.weight[trained.index(id)].detach() for id in block}
        cfg, captures = self.job.cfg, [self.loaded[id] for id in block]
        names = InferenceSettings.model_fields
        settings = InferenceSettings.of({name: cfg.evaluation[name] for name in names}, "evaluation")
        codes = codes_of_captures(field, captures, [self.inputs[id] for id in block], settings, cfg.seed)
        return dict(zip(block, codes, strict=True))

    def measure(self, measure: Measure, purpose: str, *weights: str) -> dict[str, Mapping[str, Any]]:
        """See `measure_missing`; each record is of the files of its whole block, and of the hashes `weights` of models."""
        sources: dict[str, str] = {}
        for block in self.blocks:
            sources |= dict.fromkeys(block, capture_files(self.captures, block).identity()["sha256"])
        settings = self.job.key["settings"] | {"weights": self.checkpoint["weights_sha256"] + "".join(weights)}
        records = ShapeRecords(self.job.out / MEASURED, settings, sources.__getitem__)
        return measure_missing(records, self.blocks, measure, self.job.cost, purpose)

    def result(self, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The metrics of records by id, see `CaptureMetrics.add`."""
        metrics = self.metrics()
        for id, record in records.items():
            metrics.restore(id, record)
        return metrics.result()

    def close(self, result: Mapping[str, Any], mean_code: Mapping[str, Any] | None) -> dict[str, Any]:
        """What metrics.json holds; its main figures go to the log, too."""
        cfg, checkpoint, settings = self.job.cfg, self.checkpoint, self.job.cfg.evaluation
        figures = {"part_miou": result["part_miou"], "psnr": result["images"]["psnr"]}
        log_outcome(self.job.out / "log", cfg, {f"evaluation/{k}": x for k, x in figures.items() if x is not None})
        trained = checkpoint["config"]
        groups = {key: trained[key] for key in ("seed", "run", "precision", "network", "training") if key in trained}
        return {
            **result,
            "mean_code": mean_code,
            "given": {"kind": settings.source, "views": self.inputs, "counted": settings.count_given},
            "trained_with": groups | ({"field": checkpoint["field"]} if "field" in checkpoint else {}),
            "category": cfg.data.get("category", self.captures.__class__.__name__),
            "split": {"name": settings.split, "ids": self.ids},
            "skipped": [],
            "weights_sha256": checkpoint["weights_sha256"],
        }

    def save_views(self, capture: Capture, views: Sequence[int], images: Tensor, labels: Tensor) -> None:
        """Write `out/figures/ID.png`: images float32 [n, H, W, 3] in [0, 1] and labels [n, H, W] of views beside the truth."""
        truth = capture.labels(views) if set(views) <= set(capture.labelled) else None
        pictures = capture.images(views), (images * 255).round().to(torch.uint8)
        image, names = capture.images((self.inputs[capture.id] or views)[:1])[0], self.captures.label_names
        plot = plot_views(image, views, pictures, (labels, truth), names, capture.background)
        save_png(Path(self.job.out, "figures", f"{capture.id}.png"), plot)

    def _check_labels(self) -> None:
        names, folder = self.checkpoint["label_names"], self.job.cfg.checkpoint
        if not names:
            raise InputError(f"{folder}: this field was only pretrained: run scripts/finetune.py first")
        if list(self.captures.label_names) != names:
            raise InputError(
                f"{folder}: the model's labels ({', '.join(names)}) are not those of the captures "
                f"({', '.join(self.captures.label_names)}): choose those that it was fine-tuned on"
            )
