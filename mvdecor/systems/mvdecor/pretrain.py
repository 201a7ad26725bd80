"""The pretraining loop: embeddings of matched pixels agree, all others differ (paper section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from mvdecor.correspondences import embeddings_at_a, embeddings_at_b
from mvdecor.engine.distributed import gather_matches, mean_over_processes, share_of_batch, synchronize_batch_norm
from mvdecor.engine.history import History
from mvdecor.engine.loader import batches
from mvdecor.engine.log import Log
from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError
from mvdecor.networks import Model
from mvdecor.systems.mvdecor.batches import PairBatch, PairSource
from mvdecor.systems.mvdecor.pictures import embeddings_sheet


def contrast(
    fabric: Fabric, model: Model, batch: PairBatch, loss: nn.Module, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Loss and retrieval accuracy of a batch of pairs; one pass of the network over all its views."""
    with fabric.autocast():  # of a marked method Fabric's own wrapper does so under DDP only
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
    return loss(*matches)


def pretrain(
    fabric: Fabric,
    model: Model,
    train: PairSource,
    validation: PairSource,
    loss: nn.Module,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    schedule: str = "plateau",
    validate_every: int = 2000,
    validation_batches: int = 20,
    seed: int = 0,
    workers: int = 0,
    gather: bool = False,
    log: Log,
    save_best: Callable[[Model, dict[str, float]], Path],
    snapshots: Snapshots | None = None,
) -> History:
    """Train `model` in place; `save_best` is called whenever the validation loss is the best so far.

    Args:
        fabric: device and precision.
        model: network without a head.
        train: batches of the training shapes.
        validation: batches of held-out shapes; the same ones are drawn at every validation.
        loss: called as `loss(a, b, points, pair)`.
        steps: optimizer steps.
        learning_rate: of Adam.
        schedule: "plateau" halves the rate when the validation loss has not improved for 5 validations, down to 1e-5 (the
            recipe); "cosine" lets it fall to zero over `steps` after a short warm-up (short runs); "constant".
        validate_every: steps between validations; the last step always validates.
        validation_batches: batches of a validation.
        seed: of the draws.
        workers: see `batches`.
        gather: with several processes, take the loss over the matches of all of them.
        log: where scalars and progress go.
        save_best: receives the model and its validation figures.
        snapshots: the saved state of a run that was cut off, to go on with, and where to save this one's; None: neither.

    Raises:
        InputError: for an unknown schedule, or if no validation loss was finite.
        Diverged: a loss was not finite, or exploded.
    """
    synchronize_batch_norm(model, fabric)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    wrapped, optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("embed")
    rate = make_schedule(optimizer, schedule, steps)
    history = History(fabric)
    state = {"model": model, "optimizer": optimizer, "schedule": rate, "history": history}
    snapshots = snapshots or Snapshots()
    first = snapshots.restore(state)
    items = share_of_batch(fabric, len(train), "training.pretrain.pairs")
    drawn = batches(fabric, train, seed, range(first, steps), items, workers)
    best = min((f["loss"] for f in history.steps if math.isfinite(f["loss"])), default=math.inf)
    wrapped.train()
    for step in log.progress(steps, "pretrain", first):
        batch = next(drawn)
        value, accuracy = contrast(fabric, wrapped, batch, loss, gather)
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()
        if schedule != "plateau":
            rate.step()
        history.add(value, batch)
        if log.due(step) or snapshots.due(step + 1) or step + 1 == steps:
            history.flush(step)
        if log.due(step):
            shown = mean_over_processes(fabric, torch.stack([value.detach(), accuracy])).tolist()
            figures = {"loss": shown[0], "retrieval_accuracy": shown[1], "learning_rate": _rate(optimizer)}
            log.scalars("pretrain", figures, step)
        if (step + 1) % validate_every == 0 or step + 1 == steps:
            figures = validate(fabric, wrapped, validation, loss, validation_batches)
            log.scalars("pretrain/validation", figures, step)
            history.steps.append({"step": step + 1, **figures})
            if schedule == "plateau":
                rate.step(figures["loss"])
            if figures["loss"] < best:
                best = figures["loss"]
                save_best(model, {"step": step + 1, **figures})
        if log.picture_due(step):
            log.picture("pretrain/embeddings", embeddings_sheet(fabric, model, validation), step)
        snapshots.save(step + 1, state)
    if math.isinf(best):
        raise InputError(
            f"pretraining diverged: the validation loss was never finite in {steps} steps: lower the learning rate"
        )
    return history


@torch.no_grad()
def validate(fabric: Fabric, model: Model, source: PairSource, loss: nn.Module, count: int) -> dict[str, float]:
    """Mean loss and retrieval accuracy over `count` batches that are the same at every call, shared by the processes."""
    model.eval()
    sums = torch.zeros(2, device=fabric.device)
    for step in range(fabric.global_rank, count, fabric.world_size):
        sums += torch.stack(contrast(fabric, model, source.draw(0, step).to(fabric.device), loss))
    model.train()
    means = (mean_over_processes(fabric, sums) * fabric.world_size / count).tolist()
    return {"loss": means[0], "retrieval_accuracy": means[1]}


def make_schedule(optimizer: torch.optim.Optimizer, name: str, steps: int):
    """The learning-rate schedule of pretraining by name (see `pretrain`).

    Raises:
        InputError: for an unknown name.
    """
    if name == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5, min_lr=1e-5)
    if name == "cosine":
        warmup = max(1, min(100, steps // 10))
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: min(1, (s + 1) / warmup) * (1 + math.cos(math.pi * min(1, s / steps))) / 2
        )
    if name == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1.0)
    raise InputError(f"unknown schedule {name!r}: choose plateau, cosine or constant")


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])
