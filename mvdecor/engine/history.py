"""The history of a training: figures for reports, and the check that losses stay finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mvdecor.engine.distributed import mean_over_processes
from mvdecor.errors import InputError

EXPLODED = 1000.0
"""A loss of so many times the first one (or times 1, if that was smaller) is taken for lost."""


class Diverged(InputError):
    """The loss is not finite, or exploded; `record` says of which batch."""

    def __init__(self, message: str, record: dict[str, Any]) -> None:
        super().__init__(message)
        self.record = record


class History:
    """Figures at the steps logged, validations, and the losses and batches since the last check.

    Losses stay on their device until they are checked, so that no step waits for them.

    Args:
        fabric: with several processes, a step's loss is the mean of theirs.

    Attributes:
        steps: {"step", "loss"} at the steps logged: the mean of the watched loss since the one before.
        validations: {"step", "loss", ...} of each validation.
        unmatched: shapes that were sampled, but had no two views that overlap enough; each is said once.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.steps: list[dict[str, float]] = []
        self.validations: list[dict[str, float]] = []
        self.unmatched: list[str] = []
        self._fabric = fabric
        self._first: float | None = None
        self._losses: list[Tensor] = []
        self._batches: list[Mapping[str, Any]] = []
        self._checked: list[float] = []

    def add(self, loss: Tensor, batch: Any) -> None:
        """Note the loss of a step, and of what batch."""
        self._losses.append(loss.detach())
        self._batches.append({"shapes": batch.shape_ids, "views": batch.views})
        for id in getattr(batch, "unmatched", ()):
            if id not in self.unmatched:
                self.unmatched.append(id)
                print(
                    f"warning: shape {id}: no pair tried overlaps enough; another shape is used instead",
                    flush=True,
                )

    def check(self, step: int) -> None:
        """Look at the losses since the last call, the last of which is of `step` (0-based).

        Raises:
            Diverged: one of them is not finite, or exploded.
        """
        if not self._losses:
            return
        losses = mean_over_processes(self._fabric, torch.stack(self._losses)).tolist()
        self._first = losses[0] if self._first is None else self._first
        limit = EXPLODED * max(1.0, abs(self._first))
        for i, (loss, batch) in enumerate(zip(losses, self._batches, strict=True)):
            if not math.isfinite(loss) or abs(loss) > limit:
                diverged = step + 1 - len(losses) + i
                raise Diverged(
                    f"the loss is {loss:g} at step {diverged + 1} (it was {self._first:.3g} at first): "
                    "lower the learning rate, or look for the cause in the shapes of that batch",
                    {"step": diverged + 1, "loss": str(loss), "losses_before": losses[:i], **batch},
                )
        self._checked += losses
        self._losses, self._batches = [], []

    def note(self, step: int) -> float:
        """Keep the mean of the losses checked since the last call as that of `step` (1-based), and return it."""
        mean = float(torch.tensor(self._checked).mean())
        self.steps.append({"step": step, "loss": mean})
        self._checked = []
        return mean

    @property
    def best(self) -> float:
        """The lowest finite validation loss; infinity if there is none."""
        return min((f["loss"] for f in self.validations if math.isfinite(f["loss"])), default=math.inf)

    def validate(self, step: int, figures: Mapping[str, float]) -> bool:
        """Keep the figures of a validation after `step` (1-based); True if its loss is the best so far."""
        better = figures["loss"] < self.best
        self.validations.append({"step": step, **figures})
        return better

    def state_dict(self) -> dict:
        """As plain values, see `Snapshots`. Losses that were not checked yet are on their device; check them before."""
        return {
            "steps": list(self.steps),
            "validations": list(self.validations),
            "unmatched": list(self.unmatched),
            "first": self._first,
            "checked": list(self._checked),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take what `state_dict` gave."""
        self.steps, self.validations, self.unmatched = state["steps"], state["validations"], state["unmatched"]
        self._first, self._checked = state["first"], state["checked"]
