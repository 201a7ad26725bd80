"""Dropout whose masks belong to the items of a batch, so that they do not depend on the process that computes an item."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Sequence

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from mvdecor.seeds import seed_of

_rows: list[Sequence[Hashable]] = []
"""The rows of the batch that is computed; the last entry counts."""


@contextlib.contextmanager
def rows_of_batch(rows: Sequence[Hashable]) -> Iterator[None]:
    """Compute a batch whose rows have these names. Each is of one row of the step's whole batch, and of no other step."""
    _rows.append(rows)
    try:
        yield
    finally:
        _rows.pop()


def drop_by_rows(model: nn.Module) -> None:
    """Make the dropouts (and timm's stochastic depth) of a model sample each row by itself within `rows_of_batch`.

    One whose input has not as many rows as the batch, or so many for each, samples as it did.
    """
    modules = [module for module in model.modules() if isinstance(module, (_DropoutNd, DropPath))]
    for number, module in enumerate(modules):
        _sample_by_rows(module, number)


def _sample_by_rows(module: nn.Module, number: int) -> None:
    sampled = type(module).forward

    @torch.compiler.disable
    def forward(x: Tensor) -> Tensor:
        """Input [B, ...] of the batch's rows, or of several copies of each row in a row; gives the same shape."""
        rows = _rows[-1] if _rows else ()
        if not module.training or not rows or len(x) % len(rows):
            return sampled(module, x)
        parts = []
        for row, part in zip(rows, x.chunk(len(rows)), strict=True):
            seed_generators(x.device, "dropout", number, row)
            parts.append(sampled(module, part))
        return torch.cat(parts)

    module.forward = forward  # type: ignore[assignment,method-assign]


def seed_generators(device: torch.device, *keys: object) -> None:
    """Seed the generators that a network on `device` samples from by all of `keys`, see `seed_of`."""
    number = seed_of("network", *keys)
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
