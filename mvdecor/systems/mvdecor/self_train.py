"""Self-training: what a fine-tuned model votes on shapes without labels becomes labels to train on.

A fine-tuning of R rounds has a teacher, the fine-tuning of R - 1 rounds, in `out/teacher`: a stage of its own, so that a round
that has finished is not repeated, and one that was cut off continues. Its votes are cleaned by what a view alone does not
know: labels stay only where the views that see a face agree and are sure (`mvdecor.lifting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig

from mvdecor.engine.record import changed
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords
from mvdecor.files import write_array
from mvdecor.lifting import Calibration, FaceLabels
from mvdecor.networks import load_checkpoint
from mvdecor.shapes import Shape, ShapeStore, load_shapes
from mvdecor.shapes.loading import LazyShapes
from mvdecor.shapes.shape import UNDETERMINED
from mvdecor.systems.mvdecor.batches import LabelledSource
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.setup import (
    make_mixed_source,
    make_rendering,
    make_shape_views,
    seed_of_training_views,
)
from mvdecor.systems.records import measure_missing

FOLDER = "pseudo_labels"
"""In `out`: ID.npy, the labels int16 [F] of each shape that its teacher labelled (-1 = not trusted), and ID.json."""


def teacher_of(job: Job) -> dict[str, Any] | None:
    """Fine-tune the teacher in `out/teacher`, or return its finished result; None where there are no rounds."""
    rounds = job.cfg.training.self_train.rounds
    if rounds == 0:
        return None
    print(f"== self-training: the teacher of round {rounds} -> {job.out / 'teacher'}", flush=True)
    fewer = {"self_train": {"rounds": rounds - 1}}
    return job.stage(changed(job.cfg, out=job.out / "teacher", training=fewer))


def without_labels(cfg: DictConfig, shape_set: ShapeStore, labelled: Sequence[str]) -> tuple[LazyShapes, list]:
    """The shapes of the labelled data set that may be seen without labels (no test shape), but those that have labels in
    this run; and the skipped ones.

    Raises:
        InputError: there are none.
    """
    ids = [id for id in shape_set.ids("unlabelled") if id not in set(labelled)]
    if not ids:
        raise InputError(
            f"data {cfg.data.name} ({cfg.data.root}): all shapes that are no test shapes are labelled in this run: leave out "
            "training.self_train.rounds and training.finetune.lambda_consistency, or lower training.finetune.k"
        )
    return load_shapes(shape_set, ids, cfg.data.on_error, cfg.workers)


@dataclass(frozen=True)
class PseudoLabelled(Sequence[Shape]):
    """Labelled shapes followed by others with the labels of a folder, which are read when they are used."""

    labelled: list[Shape]
    unlabelled: LazyShapes
    folder: Path

    def __len__(self) -> int:
        return len(self.labelled) + len(self.unlabelled)

    def __getitem__(self, number: Any) -> Any:
        if number < len(self.labelled):
            return self.labelled[number]
        shape = self.unlabelled[number - len(self.labelled)]
        labels = torch.from_numpy(np.load(self.folder / f"{shape.id}.npy").astype(np.int64))
        return replace(shape, face_labels=labels, label_names=self.labelled[0].label_names)


def self_training_source(
    job: Job, fabric: Fabric, labelled: LabelledSource, unlabelled: LazyShapes, device: torch.device
) -> tuple[LabelledSource, dict[str, Any]]:
    """Batches of which half, on average, is of the labelled shapes and half of those that the teacher labelled.

    Args:
        job: of the fine-tuning; its teacher has finished.
        fabric: precision and processes.
        labelled: of the labelled shapes alone.
        unlabelled: the shapes without labels.
        device: where views are made.

    Returns:
        the source; {"shapes": by id the share of the area that has a label} for the result.

    Raises:
        InputError: the teacher trusts no label on any shape.
    """
    cfg, folder = job.cfg, job.out / FOLDER
    shares = _label(job, fabric, unlabelled, folder)
    trusted = [id for id in unlabelled.ids if shares[id] > 0]
    if not trusted:
        raise InputError(
            f"{folder}: the teacher trusts no label on any of {len(shares)} shapes: lower training.self_train.confidence "
            f"({cfg.training.self_train.confidence}) or agreement ({cfg.training.self_train.agreement})"
        )
    summaries = {id: unlabelled.summaries[id] for id in trusted}
    shapes = PseudoLabelled(list(labelled.shape_views.shapes), LazyShapes(unlabelled.store, summaries), folder)
    source = make_mixed_source(cfg, labelled, shapes, device)
    mean = 100 * sum(shares.values()) / len(shares)
    print(
        f"self-training on {len(trusted)} of {len(shares)} shapes without labels, {mean:.0f} % of their area",
        flush=True,
    )
    return source, {"shapes": {id: round(share, 4) for id, share in shares.items()}}


def _label(job: Job, fabric: Fabric, unlabelled: LazyShapes, folder: Path) -> dict[str, float]:
    """Write the teacher's labels of all shapes, the processes sharing them; gives the labelled share of each one's area."""
    cfg, checkpoint = job.cfg, job.out / "teacher" / "model"
    model, metadata = load_checkpoint(checkpoint, fabric.device)
    model = model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    calibration = Calibration.of(metadata, checkpoint)
    rendering, settings = make_rendering(cfg), cfg.training.self_train
    numbers = {id: number for number, id in enumerate(unlabelled.ids)}

    def measure(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The vote of the teacher on each shape that has no record yet."""
        for id in missing:
            # the views that the training sees: they are in the cache, and a new view would tell the teacher nothing of them
            shape_views = make_shape_views(
                cfg, [unlabelled[numbers[id]]], fabric.device, seed_of_training_views, keep=False
            )
            shape = shape_views[0]
            lifting = {**cfg.lifting, "batch_size": cfg.evaluation.batch_size, "temperature": calibration.temperature}
            predicted = predict_faces(fabric, model, shape_views, shape, rendering, **lifting)
            labels = trusted_labels(predicted, settings.confidence, settings.agreement).cpu()
            write_array(folder / f"{id}.npy", labels.numpy().astype(np.int16))
            areas = shape.face_areas.cpu()
            yield id, {"share": float(areas[labels != UNDETERMINED].sum() / areas.sum().clamp_min(1e-300))}

    depends = {"key": job.key["settings"], "teacher": metadata["weights_sha256"]}
    records = ShapeRecords(folder, depends)
    blocks = [[id] for id in unlabelled.ids]
    by_id = measure_missing(records, blocks, measure, job.cost, "labelling shapes without labels")
    return {id: by_id[id]["share"] for id in unlabelled.ids}


def trusted_labels(predicted: FaceLabels, confidence: float, agreement: float) -> torch.Tensor:
    """int64 [F]: the label of each face that a view saw, that is at least so probable, and that at least a share `agreement`
    of the views that see the face would give it by themselves; -1 elsewhere."""
    assert predicted.disagreement is not None, "votes of a network tell how far the views agree"
    trusted = (predicted.confidence >= confidence) & (1 - predicted.disagreement >= agreement) & ~predicted.filled
    return torch.where(trusted, predicted.labels, UNDETERMINED)
