"""The training loop, written once for all systems.

It resumes a run that was cut off, takes this process's share of each batch, samples batches ahead, updates the weights, logs,
checks that losses are finite, validates, and saves its state. What is minimised is the system's: `step`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mvdecor.engine.distributed import check_shared, mean_over_processes, share_of_batch, synchronize_batch_norm
from mvdecor.engine.dropout import drop_by_rows, seed_generators
from mvdecor.engine.history import History
from mvdecor.engine.loader import Source, batches
from mvdecor.engine.log import Log
from mvdecor.engine.optimizer import make_optimizer
from mvdecor.engine.schedules import Schedule
from mvdecor.engine.side_stream import SideStream
from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError

Step = Callable[[nn.Module, Mapping[str, Any]], Iterable[tuple[Tensor, Mapping[str, Tensor]]]]
"""Called with the model and the batch of each source; yields a loss and the figures to log, once per update of the weights.

The first figure of the first loss is the one that is watched: a run stops when it is lost.
"""


@dataclass(frozen=True)
class Loop:
    """What a loop has of the engine.

    Attributes:
        fabric: device, precision and processes.
        log: where scalars, pictures and progress go.
        snapshots: the saved state of a run that was cut off, and where this one's is saved; by default neither.
        workers: processes that sample batches ahead; 0 samples them in this one. The batches are the same.
    """

    fabric: Fabric
    log: Log
    snapshots: Snapshots = field(default_factory=Snapshots)
    workers: int = 0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: of the loop, in the log.
        steps: number of batches.
        optimizer: called with the weights.
        schedule: of the learning rate.
        seed: of the batches.
        cudnn_benchmark: on a GPU, let cuDNN time its algorithms at the first batch and take the fastest. Another run may take
            others, whose rounding differs.
        clip: greatest norm of the gradient; None: any.
    """

    name: str
    steps: int
    optimizer: Callable[..., Optimizer]
    schedule: Schedule
    seed: int = 0
    cudnn_benchmark: bool = True
    clip: float | None = None


@dataclass(frozen=True)
class Validation:
    """What a loop measures now and then on data that it does not train on.

    Attributes:
        measure: gives figures, "loss" among them, with the model that it is called with.
        every: steps between two; the last step always validates.
        save_best: called with the figures, and "step", whenever the loss is the best so far.
    """

    measure: Callable[[nn.Module], dict[str, float]]
    every: int
    save_best: Callable[[dict[str, float]], None]


class LossScaling:
    """The factor that losses are scaled by in float16, as state of a training; without state in other precisions."""

    def __init__(self, fabric: Fabric) -> None:
        self._precision = fabric.strategy.precision

    def state_dict(self) -> dict[str, Any]:
        """See `Snapshots`."""
        return self._precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave; a run that began in another precision begins with the usual factor."""
        if state:
            self._precision.load_state_dict(state)


def set_up(fabric: Fabric, recipe: Recipe, model: nn.Module) -> tuple[nn.Module, Optimizer]:
    """The model as Fabric wraps it, ready for several processes, and its optimizer."""
    synchronize_batch_norm(model, fabric)
    drop_by_rows(model)
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = recipe.cudnn_benchmark
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = make_optimizer(recipe.optimizer, weights, fabric.device, recipe.clip)
    wrapped, optimizer = fabric.setup(model, optimizer)
    for method in getattr(model, "forward_methods", ()):
        wrapped.mark_forward_method(method)
    return wrapped, optimizer


def train(
    loop: Loop,
    recipe: Recipe,
    model: nn.Module,
    sources: Mapping[str, tuple[Source, str]],
    step: Step,
    validation: Validation | None = None,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    picture: Callable[[int], None] | None = None,
) -> History:
    """Train the weights of `model` (but frozen ones) in place.

    Args:
        loop: device, log, snapshots.
        recipe: steps, optimizer, schedule, seed.
        model: methods named in its `forward_methods` go through Fabric as `forward` does.
        sources: what batches are sampled from, by the name that `step` knows them by, each with the setting that gives the size
            of its batch. Every process has a share of the first; of others `step` gets nothing where there are fewer items
            than processes.
        step: the losses of a batch, see `Step`.
        validation: None for none.
        mode: puts the model into training mode.
        picture: called with the number of a step at which a picture is due.

    Raises:
        InputError: no validation loss was finite; fewer items in a batch than processes.
        Diverged: a loss was not finite, or exploded.
    """
    fabric, log, steps = loop.fabric, loop.log, recipe.steps
    main_source, setting = next(iter(sources.values()))
    check_shared(len(main_source), setting)
    wrapped, optimizer = set_up(fabric, recipe, model)
    schedule = recipe.schedule(optimizer, steps)
    history = History(fabric)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule, "history": history}
    state["loss scaling"] = LossScaling(fabric)
    first = loop.snapshots.restore(state)
    side_stream = SideStream(fabric.device)
    batch_iterators = {
        name: batches(fabric, source, recipe.seed, range(first, steps), share, loop.workers, side_stream)
        for name, (source, _) in sources.items()
        if (share := share_of_batch(fabric, len(source)))
    }
    mode(wrapped)
    for index in log.progress(steps, recipe.name, first):
        # by the process, too: what does not belong to a row of the batch, see `rows_of_batch`
        seed_generators(fabric.device, recipe.seed, index, fabric.global_rank)
        batch = {name: next(iterator) for name, iterator in batch_iterators.items()}
        figures: dict[str, Tensor] = {}
        for loss, scalars in step(wrapped, batch):
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            figures |= {name: value.detach() for name, value in scalars.items()}
        if not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()
        history.add(next(iter(figures.values())), next(iter(batch.values())))
        last = index + 1 == steps
        if log.due(index) or loop.snapshots.due(index + 1) or last:
            history.check(index)
        if log.due(index) or last:
            history.note(index + 1)
            means = mean_over_processes(fabric, torch.stack(list(figures.values()))).tolist()
            rate = float(optimizer.param_groups[0]["lr"])
            log.scalars(recipe.name, dict(zip(figures, means, strict=True)) | {"learning_rate": rate}, index)
        if validation is not None and ((index + 1) % validation.every == 0 or last):
            measured = validation.measure(wrapped)
            side_stream.wait_for_device()
            log.scalars(f"{recipe.name}/validation", measured, index)
            if isinstance(schedule, ReduceLROnPlateau):
                schedule.step(measured["loss"])
            if history.validate(index + 1, measured):
                validation.save_best({"step": index + 1, **measured})
        if picture is not None and log.picture_due(index):
            picture(index)
            side_stream.wait_for_device()
        loop.snapshots.save(index + 1, state)
    if validation is not None and math.isinf(history.best):
        raise InputError(f"the validation loss was never finite in {steps} steps: lower the learning rate")
    return history
