"""Labelling of the test shapes, divided among all processes, and their metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.engine.cost import Cost
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, Reliability, ShapeRecords, ceiling_labels, undetermined_shares
from mvdecor.evaluation.metrics import Protocol
from mvdecor.figures import write_ply
from mvdecor.files import write_array
from mvdecor.lifting import UNFAMILIAR, Calibration
from mvdecor.networks import Model
from mvdecor.shapes import Shape, ShapeStore
from mvdecor.shapes.loading import load_labelled
from mvdecor.systems.mvdecor.held_out import content_of
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.setup import make_rendering, make_shape_views, seed_of_test_views
from mvdecor.systems.records import measure_missing


@dataclass(frozen=True)
class Evaluated:
    """What was counted.

    Attributes:
        metrics: of the model's labels.
        ceiling: of the best labels that these views allow.
        reliability: of the confidence of the model's labels.
        vote_reliability: the same of the labels' shares of the votes, to compare with.
        coverage: by shape, the share of its area that was seen, in percent.
        skipped: (id, reason) of the shapes that could not be read, which `data.on_error` allows.
        contents: by shape, what tells its mesh from others (`content_of`).
        undetermined: by shape, the shares of its "faces" and its "area" that are undetermined, in percent.
        familiarity: by shape, see `Calibration.familiarity`.
        more: by shape, the values of the metrics in `evaluation.metrics`, by name.
    """

    metrics: PartMetrics
    ceiling: PartMetrics
    reliability: Reliability
    vote_reliability: Reliability
    coverage: dict[str, float] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    undetermined: dict[str, dict[str, float]] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)
    familiarity: dict[str, float | None] = field(default_factory=dict)
    more: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def means(self) -> dict[str, float | None]:
        """Mean of each metric in `evaluation.metrics` over the shapes that have a value; None if none has."""
        names = dict.fromkeys(name for values in self.more.values() for name in values)
        by_name = {name: [x for v in self.more.values() if (x := v[name]) is not None] for name in names}
        return {name: float(np.mean(values)) if values else None for name, values in by_name.items()}

    def calibration(self) -> dict[str, Any]:
        """`calibration` of metrics.json, ready for JSON.

        What `Reliability.result` gives of the confidence, and:

        - `vote_share`: the same of the share of the votes;
        - `unfamiliar`: number of `shapes` that scripts/segment.py would warn of, mean `accuracy` of these and of the
          `others` (percent; None where there are none).
        """
        warned = {id for id, value in self.familiarity.items() if value is not None and value < UNFAMILIAR}
        accuracy = {id: self.reliability.of_shape(id)["accuracy"] for id in self.metrics.result()["shapes"]}
        groups = [[x for id, x in accuracy.items() if (id in warned) == is_warned] for is_warned in (True, False)]
        means = [float(np.mean(group)) if group else None for group in groups]
        unfamiliar = {"shapes": len(groups[0]), "accuracy": means[0], "others": means[1]}
        return self.reliability.result() | {"vote_share": self.vote_reliability.result(), "unfamiliar": unfamiliar}


def evaluate(
    cfg: DictConfig,
    fabric: Fabric,
    model: Model,
    shape_set: ShapeStore,
    ids: Sequence[str],
    records: ShapeRecords,
    cost: Cost,
    calibration: Calibration,
) -> Evaluated:
    """Label test shapes and count; those that have a record already are not labelled again.

    Args:
        cfg: the configuration.
        fabric: precision and processes.
        model: with a head, in evaluation mode, on Fabric's device.
        shape_set, ids: the shapes.
        records: of what is done, a shape each, which any number of processes may have begun.
        cost: so far; what the recorded shapes took is added.
        calibration: of the model.

    Raises:
        InputError: a bad shape, unless such are skipped; records of another evaluation.
    """
    # a ceiling does not count absent parts 0, whatever the scores do
    of_ceiling: Protocol = "partnet" if cfg.evaluation.protocol == "mvdecor" else cfg.evaluation.protocol
    evaluated = Evaluated(_metrics(cfg, shape_set), _metrics(cfg, shape_set, of_ceiling), Reliability(), Reliability())
    numbers = {id: number for number, id in enumerate(ids)}

    def measure(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for id in missing:
            shape, skipped = load_labelled(shape_set, id, cfg.data.on_error)
            if shape is None:
                yield id, {"skipped": skipped[0][1]}
            else:
                yield id, evaluate_shape(cfg, fabric, model, shape, numbers[id], evaluated, calibration)

    blocks = [[id] for id in ids]
    by_id = measure_missing(
        records,
        blocks,
        measure,
        cost,
        "labelling test shapes",
        is_final=lambda record: "skipped" not in record,  # it may have been corrected since
    )
    for id, record in by_id.items():
        if "skipped" in record:
            evaluated.skipped.append((id, record["skipped"]))
            continue
        evaluated.coverage[id] = record["coverage"]
        evaluated.undetermined[id], evaluated.contents[id] = record["undetermined"], record["content"]
        evaluated.metrics.restore(id, record["confusion"])
        evaluated.reliability.restore(id, record["reliability"])
        evaluated.vote_reliability.restore(id, record["vote_reliability"])
        evaluated.familiarity[id] = record["familiarity"]
        evaluated.more[id] = record["metrics"]
        if record["ceiling"] is not None:
            evaluated.ceiling.restore(id, record["ceiling"])
    return evaluated


def evaluate_shape(
    cfg: DictConfig,
    fabric: Fabric,
    model: Model,
    shape: Shape,
    number: int,
    evaluated: Evaluated,
    calibration: Calibration,
) -> dict[str, Any]:
    """Label test shape `number`, write labels and confidence below `cfg.out`, and count them; returns its record."""
    shape_views = make_shape_views(cfg, [shape], fabric.device, seed_of_test_views, keep=True)  # the ceiling's, too
    settings = {**cfg.lifting, "batch_size": cfg.evaluation.batch_size, "temperature": calibration.temperature}
    predicted = predict_faces(fabric, model, shape_views, shape_views[0], make_rendering(cfg), **settings)
    assert shape.face_labels is not None and predicted.disagreement is not None and predicted.share is not None
    record: dict[str, Any] = {"coverage": 100 * predicted.coverage, "ceiling": None}
    record["confusion"] = evaluated.metrics.add(shape, predicted.labels)
    record["undetermined"], record["content"] = undetermined_shares(shape), content_of(shape)
    for name, reliability, confidence in (
        ("reliability", evaluated.reliability, predicted.confidence),
        ("vote_reliability", evaluated.vote_reliability, predicted.share),
    ):
        record[name] = reliability.add(shape, predicted.labels, confidence, predicted.disagreement)
    record["familiarity"] = calibration.familiarity(predicted.evidence)
    labels = predicted.labels.cpu()
    record["metrics"] = {name: _value(name, metric, shape, labels) for name, metric in cfg.evaluation.metrics.items()}
    if bool((shape.face_labels >= 0).any()):  # otherwise nothing is measured, and there is no truth to vote
        best = ceiling_labels(
            shape, shape_views.views(shape).to("cpu"), cfg.lifting.fill, cfg.lifting.smooth, cfg.lifting.crease
        )
        record["ceiling"] = evaluated.ceiling.add(shape, best.labels)
    out = Path(cfg.out)
    write_array(out / "labels" / f"{shape.id}.npy", labels.numpy().astype(np.int16))
    write_array(out / "confidence" / f"{shape.id}.npy", predicted.confidence.cpu().numpy().astype(np.float16))
    if cfg.evaluation.meshes is None or number < cfg.evaluation.meshes:
        scalars = {"confidence": predicted.confidence.cpu(), "filled": predicted.filled.float().cpu()}
        write_ply(out / "meshes" / f"{shape.id}.ply", shape, labels, scalars=scalars)
    return record


def _value(name: str, metric: DictConfig, shape: Shape, labels: Tensor) -> float | None:
    """One metric of `evaluation.metrics`, called with a shape and its predicted labels int64 [F], both on the CPU."""
    try:
        value = instantiate(metric, _partial_=True)(shape.to("cpu"), labels)
        value = None if value is None else float(value)
    except Exception as error:  # whatever a user's function raises
        raise InputError(f"evaluation.metrics.{name}, shape {shape.id}: {type(error).__name__}: {error}") from error
    if value is not None and not math.isfinite(value):
        raise InputError(
            f"evaluation.metrics.{name}, shape {shape.id}: gave {value}: let it give a number, or None for none"
        )
    return value


def _metrics(cfg: DictConfig, shape_set: ShapeStore, protocol: Protocol | None = None) -> PartMetrics:
    settings = cfg.evaluation
    return PartMetrics(shape_set.label_names, protocol or settings.protocol, settings.points, cfg.seed)
