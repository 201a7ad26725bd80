"""Evaluation: reconstructions of unseen photographs against masks, keypoints and, where known, cameras and surfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.captures.photo_batches import PADDING, Crop, crop_photograph, keypoint_columns
from mvdecor.captures.photographs import Photograph, load_photographs
from mvdecor.engine.distributed import rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.evaluation import ShapeRecords
from mvdecor.evaluation.reconstructions import ReconstructionMetrics, summary
from mvdecor.figures.layout import save_png
from mvdecor.figures.reconstructions import Pictured, plot_reconstructions
from mvdecor.solvers import Fit, Status
from mvdecor.systems.records import measure_missing
from mvdecor.systems.to_the_point.finetune import seen_faces
from mvdecor.systems.to_the_point.model import Reconstructor, load_model
from mvdecor.systems.to_the_point.photos import photograph_content, photographs_of
from mvdecor.systems.to_the_point.truth import TrueShapes, label_map
from mvdecor.systems.to_the_point.twins import likelier_twin

MEASURED = "measured"
"""The folder in `out` of the records of an evaluation under way."""
Solve = Callable[[Tensor], tuple[Fit, Tensor | None]]
"""From images [B, 3, S, S] to reconstructions, and positions of the vertices if it says any."""
TRAINED = ("seed", "run", "reconstructor", "renders", "training")
"""Groups of the training's configuration that a table compares."""
BOX = 2 / (1 + 2 * PADDING)
"""Longer side of the object's box in units of a crop."""


def mean_rotation(rotations: Tensor) -> Tensor:
    """[3, 3], the rotation nearest to the mean of rotations [N, 3, 3]."""
    left, _, right = torch.linalg.svd(rotations.mean(dim=0))
    sign = torch.ones_like(left[0])
    sign[2] = torch.linalg.det(left @ right)
    return left * sign @ right


def without_image(model: Reconstructor, rotation: Tensor, count: int) -> Fit:
    """The undeformed template from one side, as large as the box, for every photograph: what needs no image."""
    flat = model.vertices @ rotation[:2].T
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    scale = BOX / (high - low).max()
    shift = -(low + high) / 2 * scale
    zeros, coefficients = rotation.new_zeros(count), rotation.new_zeros(count, len(model.basis))
    return Fit(
        rotation.expand(count, 3, 3),
        scale.expand(count),
        shift.expand(count, 2),
        coefficients,
        zeros,
        zeros.long(),
    )


def measure(
    measured: ReconstructionMetrics,
    model: Reconstructor,
    photographs: Sequence[tuple[Photograph, Crop]],
    truths: TrueShapes,
    fit: Fit,
    positions: Tensor | None,
) -> None:
    """Count reconstructions of some photographs."""
    vertices, shape, size = model.deformed(fit), model.template.shape, model.settings.size
    face_ids = seen_faces(model, vertices, fit, size).cpu()
    flat = fit.project(vertices)[:, model.keypoint_vertices, :2].cpu()
    for i, (photograph, crop) in enumerate(photographs):
        id = photograph.id
        measured.add_status(id, Status(int(fit.status[i])).name.lower())
        measured.add_mask(id, face_ids[i] >= 0, torch.from_numpy(crop.mask))
        regressed = None if positions is None else positions[i, model.keypoint_vertices].cpu()
        measured.add_keypoints(id, flat[i], regressed, crop.keypoints, BOX)
        if photograph.cameras is not None:
            measured.add_rotation(id, fit.rotation[i].cpu(), photograph.cameras.rotation[0])
        if (truth := truths.shape(id)) is not None:
            measured.add_surface(id, shape.with_vertices(vertices[i].cpu()), truth)
            comparable = photograph.cameras is not None and truth.label_names == shape.label_names
            if shape.face_labels is not None and comparable:
                labels = np.where(face_ids[i] >= 0, shape.face_labels.numpy()[face_ids[i]], -1)
                measured.add_labels(id, labels, label_map(truth, photograph, crop, size), len(shape.label_names))


def picture(model: Reconstructor, crops: Sequence[Crop], mirror: bool) -> NDArray[np.uint8]:
    """Reconstructions of some photographs, a row each."""
    solved = model.reconstruct(torch.stack([crop.image for crop in crops]).to(model.vertices.device), mirror)
    face_ids = seen_faces(model, model.deformed(solved.fit), solved.fit, model.settings.size).cpu()
    parts = zip(crops, solved.positions.cpu(), solved.logits.sigmoid().cpu(), face_ids, strict=True)
    pictured = [Pictured(crop.image, crop.mask, *of_crop) for crop, *of_crop in parts]
    return plot_reconstructions(model.template, pictured)


@dataclass(frozen=True)
class Measurement:
    """Measures ways to reconstruct the photographs of `evaluation.split`, which all processes divide by batches.

    Attributes:
        job: of the evaluation.
        model: on the job's device, in evaluation mode.
        photographs: with their crops, by id.
        hashes: of what each holds, by id.
        weights: checksum of the model's file.
    """

    job: Job
    model: Reconstructor
    photographs: Mapping[str, tuple[Photograph, Crop]]
    hashes: Mapping[str, str]
    weights: str

    def measure(self, name: str, solve: Solve, **depends_on: Any) -> dict[str, Mapping[str, Any]]:
        """A record per photograph of one way to reconstruct; they lie in a folder of this name, so that a kill loses none."""
        truths, ids, batch = (
            TrueShapes(self.job.cfg.photographs.get("root")),
            list(self.photographs),
            self.job.cfg.evaluation.batch_size,
        )

        def measure_block(block: Sequence[str], missing: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
            metrics, pairs = self._metrics(), [self.photographs[id] for id in block]
            images = torch.stack([crop.image for _, crop in pairs]).to(self.model.vertices.device)
            fit, positions = solve(images)
            measure(metrics, self.model, pairs, truths, fit, positions)
            for id, rotation in zip(block, fit.rotation.tolist(), strict=True):
                if id in missing:
                    yield id, metrics.record(id) | {"camera": rotation}

        key = self.job.key["settings"] | {"weights": self.weights} | depends_on
        records = ShapeRecords(self.job.out / MEASURED / name, key, self.hashes.__getitem__)
        blocks = [ids[i : i + batch] for i in range(0, len(ids), batch)]
        return measure_missing(records, blocks, measure_block, self.job.cost, name)

    def result(self, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """The figures of all photographs together."""
        metrics = self._metrics()
        for id, record in records.items():
            metrics.restore(id, record)
        return metrics.result()

    def _metrics(self) -> ReconstructionMetrics:
        settings = self.job.cfg.evaluation
        return ReconstructionMetrics(settings.threshold, settings.points, self.job.cfg.seed)


@torch.no_grad()
def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the photographs of `evaluation.split`; writes `out/figures`."""
    cfg, settings = job.cfg, job.cfg.evaluation
    device = job.open_device().device
    model, checkpoint = load_model(cfg.checkpoint, device)
    source, ids = photographs_of(cfg, settings.split, settings.limit)
    loaded, skipped = load_photographs(source, ids)
    columns = keypoint_columns(source, list(model.template.keypoints))
    photographs = {x.id: (x, crop_photograph(x, model.settings.size, columns)) for x in loaded}
    hashes = {id: photograph_content(source, id) for id in photographs}
    measurement = Measurement(job, model, photographs, hashes, checkpoint["weights_sha256"])

    def with_image(images: Tensor) -> tuple[Fit, Tensor]:
        solved = model.reconstruct(images, settings.mirror)
        return likelier_twin(model, solved) if settings.twins else solved.fit, solved.positions

    records = measurement.measure("reconstructed", with_image)
    rotation = mean_rotation(torch.tensor([record["camera"] for record in records.values()], device=device))
    no_image = measurement.measure(
        "no_image", lambda images: (without_image(model, rotation, len(images)), None), rotation=rotation.tolist()
    )
    if rank() == 0 and settings.figures:
        pictured = [photographs[id][1] for id in list(photographs)[: settings.figures]]
        save_png(job.out / "figures" / "reconstructions.png", picture(model, pictured, settings.mirror))
    trained = checkpoint["config"]
    result = {
        **measurement.result(records),
        "no_image": measurement.result(no_image),
        "split": {"name": settings.split, "ids": list(photographs)},
        "skipped": skipped,
        "weights_sha256": measurement.weights,
        "category": type(source).__name__,
        "trained_with": {key: trained[key] for key in TRAINED if key in trained},
        "part_miou": None,
        "shape_miou": None,
    }
    for name, row in (("reconstructed", result), ("no image", result["no_image"])):
        print(f"{name}: {summary(row)}", flush=True)
    log_outcome(job.out / "log", cfg, {"evaluation/mask_iou": result["mask_iou"]})
    return result
