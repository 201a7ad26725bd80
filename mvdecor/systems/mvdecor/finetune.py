"""The fine-tuning loop: cross-entropy on k labelled shapes plus lambda times the contrastive loss (paper section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from mvdecor.engine.distributed import mean_over_processes, share_of_batch, synchronize_batch_norm, weight_of_mean
from mvdecor.engine.history import History
from mvdecor.engine.loader import batches
from mvdecor.engine.log import Log
from mvdecor.engine.snapshots import Snapshots
from mvdecor.networks import Model
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.pictures import predictions_sheet
from mvdecor.systems.mvdecor.pretrain import contrast, contrast_embeddings


def finetune(
    fabric: Fabric,
    model: Model,
    labelled: LabelledSource,
    pairs: PairSource | None,
    loss: nn.Module,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    decay: float = 0.99,
    decay_every: int = 40,
    lambda_ssl: float = 0.001,
    joint: bool = True,
    batch_norm: str = "train",
    seed: int = 0,
    workers: int = 0,
    gather: bool = False,
    log: Log,
    snapshots: Snapshots | None = None,
) -> History:
    """Train the weights of `model` (but frozen ones) in place on `L_seg + lambda_ssl * L_ssl`.

    Args:
        fabric: device and precision.
        model: network with a head.
        labelled: batches of labelled views.
        pairs: batches of pairs for the contrastive term; None leaves it out.
        loss: the contrastive loss.
        steps: optimizer steps.
        learning_rate: of Adam.
        decay: factor of the learning rate ...
        decay_every: ... after so many steps (0.99 every 40 in the recipe).
        lambda_ssl: weight of the contrastive term; 0 leaves it out.
        joint: one loss, one pass and one step, as the paper writes it. False is what the released code does: a step on
            L_seg, then a pass and a step of the same optimizer on lambda_ssl * L_ssl. Adam divides the second gradient
            by its own size, which takes much of a small lambda back.
        batch_norm: "train", or "eval" to let the network's batch norms (not the head's) use and keep the statistics they
            came with, while their scales and shifts train like all weights (the released code, if pretrained).
        seed: of the draws.
        workers: see `batches`.
        gather: with several processes, take the contrastive loss over the matches of all of them.
        log: where scalars and progress go.
        snapshots: the saved state of a run that was cut off, to go on with, and where to save this one's; None: neither.

    Raises:
        Diverged: a loss was not finite, or exploded.
    """
    synchronize_batch_norm(model, fabric)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    wrapped, optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("embed")
    wrapped.mark_forward_method("embed_and_segment")
    rate = torch.optim.lr_scheduler.StepLR(optimizer, decay_every, decay)
    history = History(fabric)
    state = {"model": model, "optimizer": optimizer, "schedule": rate, "history": history}
    snapshots = snapshots or Snapshots()
    first = snapshots.restore(state)
    wrapped.train()
    if batch_norm == "eval":
        _keep_statistics(model.network)
    items = share_of_batch(fabric, len(labelled), "training.finetune.batch_size")
    labelled_batches = batches(fabric, labelled, seed, range(first, steps), items, workers)
    pairs = pairs if lambda_ssl > 0 else None
    if pairs is not None:
        items = share_of_batch(fabric, len(pairs), "training.finetune.pairs")
        pair_batches = batches(fabric, pairs, seed, range(first, steps), items, workers)
    for step in log.progress(steps, "finetune", first):
        drawn = next(labelled_batches)
        inputs = drawn.images.flatten(0, 1)
        split = len(inputs)
        batch = next(pair_batches) if pairs is not None else None
        if batch is not None and joint:
            inputs = torch.cat([inputs, batch.images.flatten(0, 2)])
        with fabric.autocast():  # of a marked method Fabric's own wrapper does so under DDP only
            embeddings, logits = wrapped.embed_and_segment(inputs)
        segmentation = segmentation_loss(logits[:split], drawn.labels.flatten(0, 1))
        segmentation = segmentation * weight_of_mean(fabric, (drawn.labels >= 0).sum())
        total, figures = segmentation, {"loss_segmentation": segmentation.detach()}
        if batch is not None and joint:
            contrastive, accuracy = contrast_embeddings(
                fabric, embeddings[split:].unflatten(0, batch.images.shape[:3]), batch, loss, gather
            )
            total = segmentation + lambda_ssl * contrastive
        _update(fabric, optimizer, total)
        if batch is not None and not joint:
            contrastive, accuracy = contrast(fabric, wrapped, batch, loss, gather)
            _update(fabric, optimizer, lambda_ssl * contrastive)
        if batch is not None:
            figures |= {"loss_contrastive": contrastive.detach(), "retrieval_accuracy": accuracy}
        rate.step()
        history.add(segmentation, drawn)
        if log.due(step) or step + 1 == steps:
            history.steps.append({"step": step + 1, "loss": history.flush(step)})
            values = mean_over_processes(fabric, torch.stack(list(figures.values()))).tolist()
            shown = dict(zip(figures, values, strict=True))
            log.scalars("finetune", shown | {"learning_rate": float(rate.get_last_lr()[0])}, step)
        if log.picture_due(step):
            log.picture("finetune/predictions", predictions_sheet(fabric, model, labelled), step)
        snapshots.save(step + 1, state)
    return history


def _update(fabric: Fabric, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()


def _keep_statistics(network: nn.Module) -> None:
    """Put the batch norms of a network in evaluation mode; everything else stays as it is."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the labelled pixels; 0 if there are none (PyTorch's own mean would be NaN).

    Args:
        logits: [B, C, H, W].
        labels: int64 [B, H, W], -1 where background or undetermined.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)
