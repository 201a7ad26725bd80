"""Fine-tuning: cross-entropy on k labelled shapes plus lambda times the contrastive loss (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from mvdecor.correspondences.matches import embeddings_at_a, embeddings_at_b
from mvdecor.engine.distributed import rank, weight_of_mean, weight_of_share
from mvdecor.engine.dropout import rows_of_batch
from mvdecor.engine.loop import Validation, train
from mvdecor.engine.stage import Job
from mvdecor.losses import CrossEntropy
from mvdecor.losses.consistency import symmetric_kl
from mvdecor.networks import Model, save_checkpoint
from mvdecor.seeds import seed_of
from mvdecor.shapes import ShapeStore
from mvdecor.shapes.loading import list_skipped
from mvdecor.systems.mvdecor import pictures
from mvdecor.systems.mvdecor.batches import PairBatch, UnlabelledPairSource
from mvdecor.systems.mvdecor.calibrate import calibrate
from mvdecor.systems.mvdecor.check import check_labels
from mvdecor.systems.mvdecor.fewshot import few_shot_shapes, split_file
from mvdecor.systems.mvdecor.held_out import contents_of
from mvdecor.systems.mvdecor.pretrain import contrast, contrast_embeddings
from mvdecor.systems.mvdecor.self_train import self_training_source, teacher_of, without_labels
from mvdecor.systems.mvdecor.setup import (
    make_labelled_source,
    make_model,
    make_pair_source,
    make_recipe,
    make_segmentation_loss,
    make_shape_views,
    make_store,
    rasterizing_device,
)
from mvdecor.systems.mvdecor.substitutes import substitution_source
from mvdecor.systems.mvdecor.validation import validate_parts, validation_ids

CROSS_ENTROPY = CrossEntropy()
"""The paper's L_seg."""


def step(
    model: Model,
    batches: Mapping[str, Any],
    fabric: Fabric,
    loss: nn.Module | None = None,
    lambda_ssl: float = 0.0,
    joint: bool = True,
    gather: bool = False,
    segmentation_loss: nn.Module = CROSS_ENTROPY,
    lambda_consistency: float = 0.0,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The losses of a batch of labelled views, and of a batch of pairs if there is one.

    Args:
        model: network with a head.
        batches: "labelled", "pairs" for the contrastive term, and "unlabelled", pairs for the consistency; a process may be
            without pairs if `joint`, and always without unlabelled ones.
        fabric: precision and processes.
        loss: the contrastive loss.
        lambda_ssl: weight of the contrastive term; 0 leaves it out.
        joint: one loss and one pass, L_seg + lambda L_ssl, as the paper writes it. False is what the released code does: an
            update by L_seg, then a pass and an update by lambda L_ssl with the same optimizer. Adam divides the second
            gradient by its own size, which takes much of a small lambda back.
        gather: with several processes, take the contrastive loss over the matches of all of them.
        segmentation_loss: L_seg, see mvdecor/losses/segmentation.py.
        lambda_consistency: weight of the consistency between the views of unlabelled pairs, in the same pass; 0 leaves it out.
    """
    labelled, pairs, unlabelled = batches["labelled"], batches.get("pairs"), batches.get("unlabelled")
    images, rows = [labelled.images.flatten(0, 1)], list(labelled.rows)
    for batch in (pairs if joint else None, unlabelled):
        if batch is not None:
            images.append(batch.images.flatten(0, 2))
            rows += batch.rows
    counts = [len(part) for part in images]
    with rows_of_batch(rows), fabric.autocast():  # of a marked method Fabric's own wrapper does so under DDP only
        embeddings, logits = model.embed_and_segment(torch.cat(images))
    segmentation, weight = segmentation_loss(logits[: counts[0]], labelled.labels.flatten(0, 1))
    segmentation = segmentation * weight_of_mean(fabric, weight)
    total, figures = segmentation, {"loss_segmentation": segmentation}
    if lambda_consistency > 0:
        consistency = torch.zeros_like(segmentation)
        if unlabelled is not None:
            consistency = weight_of_share(fabric, unlabelled.share) * agree(logits[-counts[-1] :], unlabelled)
        total = total + lambda_consistency * consistency
        figures["loss_consistency"] = consistency
    if loss is None or lambda_ssl == 0:
        yield total, figures
        return
    if pairs is None:  # of a batch of fewer pairs than processes: this one has none
        contrastive = accuracy = torch.zeros_like(segmentation)
        yield total, figures | {"loss_contrastive": contrastive, "retrieval_accuracy": accuracy}
        return
    of_share = 1.0 if gather else weight_of_share(fabric, pairs.share)
    if joint:
        of_pairs = embeddings[counts[0] : counts[0] + counts[1]].unflatten(0, pairs.images.shape[:3])
        contrastive, accuracy = (of_share * x for x in contrast_embeddings(fabric, of_pairs, pairs, loss, gather))
        yield (
            total + lambda_ssl * contrastive,
            figures | {"loss_contrastive": contrastive, "retrieval_accuracy": accuracy},
        )
        return
    yield total, figures
    contrastive, accuracy = (of_share * x for x in contrast(fabric, model, pairs, loss, gather))
    yield lambda_ssl * contrastive, {"loss_contrastive": contrastive, "retrieval_accuracy": accuracy}


def agree(logits: Tensor, batch: PairBatch) -> Tensor:
    """`symmetric_kl` of the logits [2 P L, C, H, W] of a batch of P pairs at its matches."""
    a, b = logits.unflatten(0, batch.images.shape[:3])
    ends = embeddings_at_a(a, batch.matches), embeddings_at_b(b, batch.matches)
    return symmetric_kl(*ends, batch.matches.pair, batch.images.shape[1])


def keep_statistics(model: nn.Module) -> None:
    """Training mode, but for the batch norms of the network (not the head's): these use and keep the statistics that they
    came with, while their scales and shifts train like all weights (the released code, if pretrained)."""
    model.train()
    for module in model.network.modules():  # type: ignore[union-attr]
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def make_validation(cfg: DictConfig, fabric: Fabric, model: Model, shape_set: ShapeStore) -> Validation | None:
    """Part mIoU of the split val now and then, if asked for. The model of the last step is taken all the same: few-shot
    learning has no shapes to choose by."""
    every = cfg.training.finetune.validate_every
    if every is None:
        return None
    ids = validation_ids(cfg, shape_set)
    return Validation(lambda _: validate_parts(model, cfg, fabric, shape_set, ids), every, lambda figures: None)


def finetune(job: Job) -> dict:
    """Fine-tune on k labelled shapes, from `cfg.checkpoint` or from scratch; writes `out/model` and `out/log`."""
    cfg, settings = job.cfg, job.cfg.training.finetune
    teacher = teacher_of(job)
    fabric = job.open_device(unused_weights=not settings.joint)
    seed = seed_of(cfg.seed, cfg.run, "fine-tuning")
    seed_everything(seed, verbose=False)
    shape_set = make_store(cfg, cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    model, record = make_model(cfg, shape_set.label_names)
    if cfg.checkpoint is None and (cfg.method or {}).get("pretrain"):
        print(
            f"note: method={cfg.method.name} pretrains, but there is no checkpoint=: this trains from scratch. A table takes "
            "the result only under such a method (method=scratch)"
        )
    shapes, few_shot_run, skipped = few_shot_shapes(cfg, shape_set)
    print(f"seed {cfg.seed}, run {cfg.run}: labelled {', '.join(few_shot_run.shapes)}", flush=True)
    labelled = make_labelled_source(cfg, shapes, few_shot_run, rasterizing_device(cfg, fabric))
    training_source = labelled
    if settings.substitutes > 0:
        training_source = substitution_source(cfg, labelled, rasterizing_device(cfg, fabric))
    without, trained_on_votes = None, None
    if teacher is not None or settings.lambda_consistency > 0:
        without, also_skipped = without_labels(cfg, shape_set, few_shot_run.shapes)
        skipped = [*skipped, *(entry for entry in also_skipped if entry not in skipped)]
    if teacher is not None and without is not None:
        device = rasterizing_device(cfg, fabric)
        training_source, trained_on_votes = self_training_source(job, fabric, training_source, without, device)
        seed_everything(seed, verbose=False)
    sources: dict[str, Any] = {"labelled": (training_source, "training.finetune.batch_size")}
    if settings.lambda_ssl > 0:
        pairs = make_pair_source(cfg, labelled.shape_views, settings.pairs, augment="pretrain")
        sources["pairs"] = (pairs, "training.finetune.pairs")
    if settings.lambda_consistency > 0 and without is not None:
        other_views = make_shape_views(cfg, without, rasterizing_device(cfg, fabric))
        of_others = make_pair_source(cfg, other_views, settings.pairs, "pretrain", UnlabelledPairSource)
        sources["unlabelled"] = (of_others, "training.finetune.pairs")
    keeps = settings.batch_norm == "eval_pretrained" and cfg.checkpoint is not None
    history = train(
        job.loop(fabric),
        make_recipe(cfg.training, "finetune", seed),
        model,
        sources,
        partial(
            step,
            fabric=fabric,
            loss=instantiate(cfg.loss),
            lambda_ssl=settings.lambda_ssl,
            joint=settings.joint,
            gather=cfg.training.gather,
            segmentation_loss=make_segmentation_loss(cfg, len(shape_set.label_names)),
            lambda_consistency=settings.lambda_consistency,
        ),
        make_validation(cfg, fabric, model, shape_set),
        mode=keep_statistics if keeps else nn.Module.train,
        picture=lambda index: job.log.picture(
            "finetune/predictions", pictures.predictions_sheet(fabric, model, labelled), index
        ),
    )
    earlier = record.get("trained_on", {})
    seen = {} if without is None else {"without labels": contents_of(without)}
    calibration = calibrate(cfg, fabric, model, labelled).record()
    textured = {shape.texture is not None for shape in shapes}  # where it is not, the channel rgb is shading
    metadata = {
        "kind": "finetuned",
        "label_names": list(shape_set.label_names),
        "category": cfg.data.category,
        "shapes": few_shot_run.shapes,
        "trained_on": {**earlier, **seen, "finetune": earlier.get("finetune", {}) | contents_of(shapes)},
        "textured": textured.pop() if len(textured) == 1 else None,
        "calibration": calibration,
        **job.provenance,
    }
    if rank() == 0:
        save_checkpoint(job.out / "model", model, metadata)
    list_skipped(skipped)
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {
        "shapes": few_shot_run.shapes,
        "views": dict(zip((shape.id for shape in labelled.shape_views), labelled.views, strict=True)),
        "labels_not_covered": few_shot_run.labels_not_covered,
        "split": split_file(cfg),
        "skipped": skipped,
        "history": history.steps,
        "validations": history.validations,
        "calibration": calibration,
        "self_train": None if teacher is None else {**(trained_on_votes or {}), "teacher_cost": teacher["cost"]},
    }
