"""Adam for codes of many objects: a step costs what the objects of its batch cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam


class RowAdam(Adam):
    """Adam, of which an embedding with sparse gradients moves in the rows of the batch alone.

    Rows that a batch does not touch keep their values and moments, which dense Adam lets decay; where every row is touched at
    every step both do the same. (`torch.optim.SparseAdam` does so too, but takes no dense weights beside the sparse ones.)

    Args:
        params, lr, betas, eps: as of `torch.optim.Adam`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Update all weights that have a gradient; sparse gradients are used up."""
        assert closure is None, "the gradients must be there already"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.is_sparse:
                    self._update_rows(weight, group)
                    weight.grad = None
        super().step()
        return None

    def _update_rows(self, weight: Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        gradient = weight.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        (beta_1, beta_2), steps = group["betas"], float(state["step"])
        mean = torch.lerp(state["exp_avg"][rows], values, 1 - beta_1)
        square = torch.lerp(state["exp_avg_sq"][rows], values.square(), 1 - beta_2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        deviation = (square / (1 - beta_2**steps)).sqrt() + group["eps"]
        weight[rows] -= group["lr"] / (1 - beta_1**steps) * mean / deviation
