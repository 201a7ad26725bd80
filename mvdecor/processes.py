"""Worker processes that share only the memory of tensors with this process."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
from multiprocessing import get_context, reduction
from multiprocessing.context import ForkServerContext
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes, for vector instructions


def worker_context() -> ForkServerContext:
    """Starts processes from a server that has imported what this process has of the package, and runs no threads.

    A fork of this process could hang: libraries run threads here (Embree, TensorBoard, OpenMP, CUDA), and a lock that one of
    them holds at that moment stays locked in the child. As with any fresh process, what a worker is given is pickled, and a
    script that starts workers needs `if __name__ == "__main__":`.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(sorted(name for name in sys.modules if name.partition(".")[0] == "mvdecor"))
    return context


class SharedTensors:
    """An object to hand to worker processes, whose tensors they map instead of copying.

    Unpickling it in a worker gives the object. Its tensors move to one anonymous file, in this process too, so that they are
    in memory once for any number of workers. (As arguments by themselves each would take an open file.) What a worker writes
    to a tensor stays its own.

    Args:
        content: anything that can be pickled; its tensors must be on the CPU and need no gradient.
    """

    def __init__(self, content: Any) -> None:
        stream = io.BytesIO()
        pickler = _Pickler(stream)
        pickler.dump(content)
        self._pickled = stream.getvalue()
        self._file = os.memfd_create("mvdecor")
        os.ftruncate(self._file, max(1, pickler.size))
        memory = mmap.mmap(self._file, max(1, pickler.size))
        for tensor, place in pickler.places.values():
            shared = _tensor(memory, place)
            shared.copy_(tensor)
            tensor.data = shared

    def close(self) -> None:
        """Once the workers have started; the memory stays as long as a process uses it."""
        os.close(self._file)

    def __reduce__(self) -> tuple:
        return _unpickle, (self._pickled, reduction.DupFd(self._file))


Place = tuple[int, torch.dtype, torch.Size]  # offset in bytes, then what is there


class _Pickler(pickle.Pickler):
    """Leaves tensors out and gives each a place in a memory of `size` bytes."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
        self.size = 0
        self.places: dict[int, tuple[Tensor, Place]] = {}  # by id; the tensor is kept, so that its id stays its own

    def persistent_id(self, value: Any) -> Place | None:
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self.places:
            self.places[id(value)] = value, (self.size, value.dtype, value.shape)
            self.size += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
        return self.places[id(value)][1]


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, memory: mmap.mmap) -> None:
        super().__init__(stream)
        self._memory = memory

    def persistent_load(self, place: Place) -> Tensor:
        return _tensor(self._memory, place)


def _tensor(memory: mmap.mmap, place: Place) -> Tensor:
    offset, dtype, shape = place
    if shape.numel() == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=shape.numel(), offset=offset).reshape(shape)


def _unpickle(pickled: bytes, file: Any) -> Any:
    """In the worker: the object, with tensors in memory that it shares until it writes there."""
    descriptor = file.detach()
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    os.close(descriptor)
    return _Unpickler(io.BytesIO(pickled), memory).load()
