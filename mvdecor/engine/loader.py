"""The batches of a loop, prepared in this process or in advance by workers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Dataset

from mvdecor.errors import InputError
from mvdecor.processes import worker_context


class Source(Protocol):
    """What `batches` draws from: `PairSource`, `LabelledSource`."""

    def __len__(self) -> int: ...

    def draw(self, seed: int, step: int, items: range | None = None) -> Any: ...


class _Steps(Dataset):
    """Step to batch; an InputError is handed on as it is, since a worker's exceptions arrive wrapped in their traceback."""

    def __init__(self, source: Source, seed: int, items: range) -> None:
        self.source, self.seed, self.items = source, seed, items

    def __reduce__(self) -> tuple:
        # as bytes: tensors by themselves would each take an open file of shared memory
        return _unpickled, (pickle.dumps((self.source, self.seed, self.items)),)

    def __getitem__(self, step: int) -> Any:
        try:
            return self.source.draw(self.seed, step, self.items)
        except InputError as error:
            return error


def _unpickled(content: bytes) -> _Steps:
    return _Steps(*pickle.loads(content))


def batches(fabric: Fabric, source: Source, seed: int, steps: range, items: range, workers: int = 0) -> Iterator[Any]:
    """The batch of each step on the fabric's device.

    Args:
        fabric: device.
        source: what to draw from; with workers it is pickled, must be on the CPU, and each worker has one of its own.
        seed: of the draws.
        steps: steps to draw for.
        items: the items of each batch that this process computes.
        workers: processes that draw ahead; 0 draws in this one. The batches are the same for any number.

    Raises:
        InputError: the source's.
        RuntimeError: a worker died; raised in the middle of whatever this process does then.
    """
    loader = DataLoader(
        _Steps(source, seed, items),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=workers > 0 and fabric.device.type == "cuda",
        multiprocessing_context=worker_context() if workers else None,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    drawn = iter(loader)
    while (batch := _next(drawn)) is not None:
        if isinstance(batch, InputError):
            raise batch
        yield batch.to(fabric.device)


def _next(drawn: Iterator[Any]) -> Any:
    """The next batch, or None after the last; a worker that dies while its batch is fetched is told of like any other."""
    try:
        return next(drawn, None)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        if "in DataLoader worker process" in str(error):  # raised in the worker, by the source
            raise
        raise RuntimeError(f"DataLoader worker exited unexpectedly before its batch was fetched ({error!r})") from error
