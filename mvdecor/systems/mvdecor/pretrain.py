"""Pretraining: embeddings of matched pixels agree, all others differ (paper section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from torch import Tensor, nn

from mvdecor.correspondences import embeddings_at_a, embeddings_at_b
from mvdecor.engine.distributed import gather_lists, gather_matches, mean_over_processes, rank, weight_of_share
from mvdecor.engine.dropout import rows_of_batch
from mvdecor.engine.loop import Validation, train
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.losses import InfoNCE
from mvdecor.networks import Model, save_checkpoint
from mvdecor.seeds import seed_of
from mvdecor.shapes.loading import list_skipped
from mvdecor.systems.mvdecor import pictures
from mvdecor.systems.mvdecor.batches import PairBatch
from mvdecor.systems.mvdecor.held_out import CONTENT_DIGITS
from mvdecor.systems.mvdecor.setup import (
    make_crop_source,
    make_model,
    make_pair_source,
    make_recipe,
    make_shape_views,
    pretraining_shapes,
    rasterizing_device,
)


def step(
    model: Model, batches: Mapping[str, PairBatch], fabric: Fabric, loss: nn.Module, gather: bool = False
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The contrastive loss of a batch of pairs of views."""
    pairs = batches["pairs"]
    weight = 1.0 if gather else weight_of_share(fabric, pairs.share)
    value, accuracy = (weight * x for x in contrast(fabric, model, pairs, loss, gather))
    yield value, {"loss": value, "retrieval_accuracy": accuracy}


def contrast(
    fabric: Fabric, model: Model, batch: PairBatch, loss: nn.Module, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss and retrieval accuracy of a batch of pairs; one pass of the network over all its views."""
    with rows_of_batch(batch.rows), fabric.autocast():  # of a marked method Fabric's wrapper does so under DDP only
        embeddings = model.embed(batch.images.flatten(0, 2))
    return contrast_embeddings(fabric, embeddings.unflatten(0, batch.images.shape[:3]), batch, loss, gather)


def contrast_embeddings(
    fabric: Fabric, embeddings: Tensor, batch: PairBatch, loss: nn.Module, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss and retrieval accuracy from the embeddings [2, P, L, D, H, W] of a batch of pairs.

    With `gather` the loss is over the matches of all processes (for losses whose negatives come from other pairs).
    """
    a = embeddings_at_a(embeddings[0], batch.matches)
    b = embeddings_at_b(embeddings[1], batch.matches)
    matches = a, b, batch.matches.points, batch.matches.pair
    if gather and fabric.world_size > 1:
        matches = gather_matches(fabric, *matches, pairs=batch.images.shape[1])
    elif isinstance(loss, InfoNCE):  # the others wait for the device to count
        return loss(*matches, counts=batch.matches.counts)
    return loss(*matches)


@torch.no_grad()
def validate(
    model: Model, fabric: Fabric, batch_of: Callable[[int], PairBatch], loss: nn.Module, count: int
) -> dict[str, float]:
    """Mean loss and retrieval accuracy over the batches of the numbers below `count`, shared by the processes; and the
    accuracy of a random choice, one of the matches of each pair, which may be fewer than were asked for."""
    model.eval()
    sums = torch.zeros(3, device=fabric.device)
    for number in range(fabric.global_rank, count, fabric.world_size):
        batch = batch_of(number).to(fabric.device)
        sums += torch.stack([*contrast(fabric, model, batch, loss), chance(batch)])
    model.train()
    means = (mean_over_processes(fabric, sums) * fabric.world_size / count).tolist()
    return dict(zip(("loss", "retrieval_accuracy", "chance"), means, strict=True))


def chance(batch: PairBatch) -> Tensor:
    """Mean over the pairs of 1 / matches: the retrieval accuracy of embeddings that know nothing."""
    return (1 / torch.bincount(batch.matches.pair, minlength=batch.images.shape[1]).float()).mean()


def pretrain(job: Job) -> dict:
    """Pretrain on unlabelled shapes, from initial weights or `cfg.checkpoint`; writes `out/model` (best validation loss) and
    `out/log`."""
    cfg, settings, snapshots = job.cfg, job.cfg.training.pretrain, job.snapshots
    fabric = job.open_device()
    shapes, skipped = pretraining_shapes(cfg, shared=True)
    held_out = max(1, round(len(shapes) * settings.validation_share))
    if len(shapes) - held_out < 1:
        raise InputError(
            f"pretraining needs at least 2 shapes (one to validate on), the split has {len(shapes)}: see data.pretrain_split"
        )
    print(f"seed {cfg.seed}: pretraining on {len(shapes) - held_out} shapes, validating on {held_out}", flush=True)
    make_source = make_crop_source if settings.source == "crops" else make_pair_source
    device = rasterizing_device(cfg, fabric)
    pairs = make_source(cfg, make_shape_views(cfg, shapes[:-held_out], device), settings.pairs, augment="pretrain")
    unseen = make_source(cfg, make_shape_views(cfg, shapes[-held_out:], device), settings.pairs)
    seed = seed_of(cfg.seed, "pretraining")
    seed_everything(seed, verbose=False)
    (model, record), loss = make_model(cfg), instantiate(cfg.loss)
    if snapshots.step == 0 and rank() == 0:
        job.log.picture("pretrain/channels", pictures.channels_sheet(pairs))
        job.log.picture("pretrain/matches", pictures.matches_sheet(pairs))
    validation_batch = cache(partial(unseen.sample, 0))  # some megabytes each: their images are made when they are used
    contents = {id: summary.mesh[:CONTENT_DIGITS] for id, summary in shapes.summaries.items()}
    metadata = {
        "kind": "pretrained",
        "label_names": [],
        "trained_on": {"pretrain": record.get("trained_on", {}).get("pretrain", {}) | contents},
    }

    def save_best(figures: dict[str, float]) -> None:
        if rank() == 0:
            save_checkpoint(job.out / "model", model, {**metadata, "metrics": figures, **job.provenance})

    history = train(
        job.loop(fabric),
        make_recipe(cfg.training, "pretrain", seed),
        model,
        {"pairs": (pairs, "training.pretrain.pairs")},
        partial(step, fabric=fabric, loss=loss, gather=cfg.training.gather),
        Validation(
            partial(validate, fabric=fabric, batch_of=validation_batch, loss=loss, count=settings.validation_batches),
            settings.validate_every,
            save_best,
        ),
        picture=lambda index: job.log.picture(
            "pretrain/embeddings", pictures.embeddings_sheet(fabric, model, unseen), index
        ),
    )
    list_skipped(skipped)
    best = min(history.validations, key=lambda figures: figures["loss"])
    print(
        f"best validation loss {best['loss']:.3f}, retrieval accuracy {best['retrieval_accuracy']:.3f} "
        f"(chance {best['chance']:.4f}): {job.out}/model",
        flush=True,
    )
    return {
        "shapes": shapes.ids,
        "validation_shapes": shapes.ids[-held_out:],
        "skipped": skipped,
        "unmatched": gather_lists(history.unmatched),
        "history": history.validations,
    }
