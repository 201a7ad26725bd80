"""Part mIoU of the validation shapes while a model is fine-tuned. No weight depends on it, and no test shape is looked at."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric import Fabric
from omegaconf import DictConfig
from torch import nn

from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics
from mvdecor.shapes import ShapeStore
from mvdecor.shapes.loading import load_labelled
from mvdecor.systems.mvdecor.pictures import evaluating
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.setup import make_rendering, make_shape_views, seed_of_test_views


def validation_ids(cfg: DictConfig, shape_set: ShapeStore) -> list[str]:
    """The ids of the split "val".

    Raises:
        InputError: there are none, or one of them is in the split "test".
    """
    ids = shape_set.ids("val")
    where = f"training.finetune.validate_every={cfg.training.finetune.validate_every}: the split val of {cfg.data.name}"
    if not ids:
        raise InputError(f"{where} is empty: put shapes into it, or leave validate_every=null")
    if shared := sorted(set(ids) & set(shape_set.ids("test"))):
        raise InputError(f"{where} has test shapes ({', '.join(shared[:5])}): a choice by it would be one by the test")
    return ids


def validate_parts(
    model: nn.Module, cfg: DictConfig, fabric: Fabric, shape_set: ShapeStore, ids: Sequence[str]
) -> dict[str, float]:
    """Part and shape mIoU (percent) of labelled shapes through the evaluation's views and votes; "loss" is 1 - part mIoU / 100.

    Each process measures all of them. The model is left in the mode that it was in.
    """
    settings = cfg.evaluation
    metrics = PartMetrics(shape_set.label_names, settings.protocol, settings.points, cfg.seed)
    with evaluating(model):
        for id in ids:
            shape, _ = load_labelled(shape_set, id, cfg.data.on_error)
            if shape is None:
                continue
            views = make_shape_views(cfg, [shape], fabric.device, seed_of_test_views, keep=False)
            vote = {**cfg.lifting, "batch_size": settings.batch_size}
            predicted = predict_faces(fabric, model, views, views[0], make_rendering(cfg), **vote)  # type: ignore[arg-type]
            metrics.add(shape, predicted.labels)
    result = metrics.result()
    if result["part_miou"] is None:
        raise InputError(
            "none of the validation shapes has a face of a known part: leave training.finetune.validate_every=null"
        )
    return {
        "loss": 1 - result["part_miou"] / 100,
        "part_miou": result["part_miou"],
        "shape_miou": result["shape_miou"],
    }
