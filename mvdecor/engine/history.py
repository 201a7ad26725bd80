"""What a loop keeps of its steps: figures for the reports, and the latest losses, which must stay finite."""

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
    """Figures at the steps logged, and the losses and batches since then.

    Losses stay on their device until they are looked at, so that no step waits for them.

    Args:
        fabric: with several processes, a step's loss is the mean of theirs.

    Attributes:
        steps: figures at the steps logged.
        unmatched: shapes that were drawn, but had no two views that overlap enough; each is said once.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.steps: list[dict[str, float]] = []
        self.unmatched: list[str] = []
        self._fabric = fabric
        self._first: float | None = None
        self._losses: list[Tensor] = []
        self._batches: list[Mapping[str, Any]] = []

    def add(self, loss: Tensor, batch: Any) -> None:
        """Note the loss of a step, and of what batch."""
        self._losses.append(loss.detach())
        self._batches.append({"shapes": batch.shape_ids, "views": batch.views})
        for id in getattr(batch, "unmatched", ()):
            if id not in self.unmatched:
                self.unmatched.append(id)
                print(
                    f"warning: shape {id}: no pair tried overlaps enough; another shape is drawn in its place",
                    flush=True,
                )

    def flush(self, step: int) -> float:
        """Mean of the losses since the last call, the last of which is of `step` (0-based).

        Raises:
            Diverged: one of them is not finite, or exploded.
        """
        losses = mean_over_processes(self._fabric, torch.stack(self._losses)).tolist()
        self._first = losses[0] if self._first is None else self._first
        limit = EXPLODED * max(1.0, abs(self._first))
        for i, (loss, batch) in enumerate(zip(losses, self._batches, strict=True)):
            if not math.isfinite(loss) or abs(loss) > limit:
                at = step + 1 - len(losses) + i
                raise Diverged(
                    f"the loss is {loss:g} at step {at + 1} (it was {self._first:.3g} at first): lower the learning rate, or "
                    "look for the cause in the shapes of that batch",
                    {"step": at + 1, "loss": str(loss), "losses_before": losses[:i], **batch},
                )
        self._losses, self._batches = [], []
        return float(torch.tensor(losses).mean())

    def state_dict(self) -> dict:
        """As plain values and tensors, see `Snapshots`."""
        return {
            "steps": list(self.steps),
            "unmatched": list(self.unmatched),
            "first": self._first,
            "losses": list(self._losses),
            "batches": list(self._batches),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take what `state_dict` gave."""
        self.steps, self._first, self.unmatched = state["steps"], state["first"], state["unmatched"]
        self._losses, self._batches = state["losses"], state["batches"]
