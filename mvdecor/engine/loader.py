"""The batches of a loop, prepared in this process or in advance by workers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mvdecor.engine.handover import Handover
from mvdecor.engine.side_stream import SideStream
from mvdecor.errors import InputError
from mvdecor.processes import worker_context


class Source(Protocol):
    """What `batches` samples from: `PairSource`, `LabelledSource`."""

    def __len__(self) -> int: ...

    def sample(self, seed: int, step: int, positions: range | None = None) -> Any: ...


class _Steps(Dataset):
    """Step to batch; an InputError is handed on as it is, since a worker's exceptions arrive wrapped in their traceback.

    A worker's batch is a `Handover`: where PyTorch's own way finds no room, this process would wait for ever.
    """

    def __init__(self, source: Source, seed: int, positions: range) -> None:
        self.source, self.seed, self.positions = source, seed, positions

    def __reduce__(self) -> tuple:
        # as bytes: tensors by themselves would each take an open file of shared memory
        return _unpickled, (pickle.dumps((self.source, self.seed, self.positions)),)

    def __getitem__(self, step: int) -> Any:
        try:
            batch = self.source.sample(self.seed, step, self.positions)
        except InputError as error:
            return error
        return batch if get_worker_info() is None else Handover(batch)


def _unpickled(content: bytes) -> _Steps:
    return _Steps(*pickle.loads(content))


def batches(
    fabric: Fabric,
    source: Source,
    seed: int,
    steps: range,
    positions: range,
    workers: int = 0,
    side_stream: SideStream | None = None,
) -> Iterator[Any]:
    """The batch of each step on the fabric's device; a GPU prepares it while it computes the step before.

    Args:
        fabric: device.
        source: what to sample from; with workers it is pickled, must be on the CPU, and each worker has its own copy.
        seed: of the samples.
        steps: steps to sample for.
        positions: the items of each batch that this process computes.
        workers: processes that sample ahead; 0 samples in this one. The batches are the same for any number.
        side_stream: of all sources that share shapes; None: one of its own.

    Raises:
        InputError: the source's.
        RuntimeError: a worker died; raised in the middle of whatever this process does then.
    """
    loader = DataLoader(
        _Steps(source, seed, positions),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=workers > 0 and fabric.device.type == "cuda",
        multiprocessing_context=worker_context() if workers else None,
        generator=torch.Generator(),  # or it would sample from the global one
    )
    batch_iterator = iter(loader)

    def next_batch() -> Any:
        batch = _next(batch_iterator)
        if isinstance(batch, InputError):
            raise batch
        return None if batch is None else batch.to(fabric.device)

    yield from (side_stream or SideStream(fabric.device)).prepared(next_batch)


def _next(batch_iterator: Iterator[Any]) -> Any:
    """The next batch, or None after the last; a worker that dies while its batch is fetched is told of like any other."""
    try:
        return next(batch_iterator, None)
    except (ConnectionError, EOFError, FileNotFoundError) as error:
        if "in DataLoader worker process" in str(error):  # raised in the worker, by the source
            raise
        raise RuntimeError(f"DataLoader worker exited unexpectedly before its batch was fetched ({error!r})") from error
