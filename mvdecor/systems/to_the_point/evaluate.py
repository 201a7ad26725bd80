"""Evaluation: reconstructions of unseen photographs against masks, keypoints and, where known, cameras and surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mvdecor.captures.photo_batches import PADDING, Crop, crop_photograph, keypoint_columns
from mvdecor.captures.photographs import Photograph, load_photographs
from mvdecor.engine.distributed import rank
from mvdecor.engine.log import log_outcome
from mvdecor.engine.stage import Job
from mvdecor.evaluation.reconstructions import ReconstructionMetrics, summary
from mvdecor.figures.layout import save_png
from mvdecor.figures.reconstructions import Pictured, plot_reconstructions
from mvdecor.solvers import Fit, Status
from mvdecor.systems.to_the_point.finetune import seen_faces
from mvdecor.systems.to_the_point.model import Reconstructor, load_model
from mvdecor.systems.to_the_point.photos import photographs_of
from mvdecor.systems.to_the_point.truth import Birds, label_map

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
    birds: Birds,
    fit: Fit,
    positions: Tensor | None,
) -> Tensor:
    """Count reconstructions of some photographs; gives the face that each pixel of their crops sees, int [N, S, S]."""
    vertices, shape, size = model.deformed(fit), model.template.shape, model.settings.size
    face_ids = seen_faces(model, vertices, fit, size).cpu()
    flat = fit.project(vertices)[:, model.keypoint_vertices, :2].cpu()
    for i, (photograph, crop) in enumerate(photographs):
        measured.add_mask(photograph.id, face_ids[i] >= 0, torch.from_numpy(crop.mask))
        regressed = None if positions is None else positions[i, model.keypoint_vertices].cpu()
        measured.add_keypoints(flat[i], regressed, crop.keypoints, BOX)
        if photograph.cameras is not None:
            measured.add_rotation(fit.rotation[i].cpu(), photograph.cameras.rotation[0])
        if (truth := birds.shape(photograph.id)) is not None:
            measured.add_surface(shape.with_vertices(vertices[i].cpu()), truth)
            if shape.face_labels is not None and photograph.cameras is not None:
                labels = np.where(face_ids[i] >= 0, shape.face_labels.numpy()[face_ids[i]], -1)
                measured.add_labels(labels, label_map(truth, photograph, crop, size), len(shape.label_names))
    return face_ids


@torch.no_grad()
def evaluate(job: Job) -> dict:
    """Measure `cfg.checkpoint` on the photographs of `evaluation.split`; writes `out/figures`."""
    cfg, settings, out = job.cfg, job.cfg.evaluation, job.out
    device = job.open_device().device
    model, record = load_model(cfg.checkpoint, device)
    source, ids = photographs_of(cfg, settings.split, settings.limit)
    loaded, skipped = load_photographs(source, ids)
    columns, size = keypoint_columns(source, list(model.template.keypoints)), model.settings.size
    photographs = [(photograph, crop_photograph(photograph, size, columns)) for photograph in loaded]
    blocks = [photographs[i : i + settings.batch_size] for i in range(0, len(photographs), settings.batch_size)]
    birds = Birds(cfg.photographs.get("root"))
    measured, no_image = (ReconstructionMetrics(settings.threshold, settings.points, cfg.seed) for _ in range(2))
    rotations: list[Tensor] = []
    pictured: list[Pictured] = []
    for block in blocks:
        solved = model(torch.stack([crop.image for _, crop in block]).to(device))
        rotations.append(solved.rotation)
        face_ids = measure(measured, model, block, birds, solved.fit, solved.positions)
        for code in solved.status.tolist():
            measured.add_status(Status(code).name.lower())
        visibility = solved.logits.sigmoid().cpu()
        for i, (_, crop) in enumerate(block[: settings.figures - len(pictured)]):
            pictured.append(Pictured(crop.image, crop.mask, solved.positions[i].cpu(), visibility[i], face_ids[i]))
    rotation = mean_rotation(torch.cat(rotations))
    for block in blocks:
        measure(no_image, model, block, birds, without_image(model, rotation, len(block)), None)
    if rank() == 0 and pictured:
        save_png(out / "figures" / "reconstructions.png", plot_reconstructions(model.template, pictured))
    result = {
        **measured.result(),
        "no_image": no_image.result(),
        "split": {"name": settings.split, "ids": [photograph.id for photograph in loaded]},
        "skipped": skipped,
        "weights_sha256": record["weights_sha256"],
    }
    for name, row in (("reconstructed", result), ("no image", result["no_image"])):
        print(f"{name}: {summary(row)}", flush=True)
    log_outcome(out / "log", cfg, {"evaluation/mask_iou": result["mask_iou"]})
    return result
