"""Handing an object from a worker to the process that it works for, its tensors in an anonymous file."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import weakref
from multiprocessing import reduction
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 64  # bytes, for vector instructions

Place = tuple[int, torch.dtype, torch.Size]  # offset in bytes, then what is there


class Handover:
    """An object to send to another process, which maps its tensors instead of copying them.

    Unpickling it there gives the object. PyTorch's own way puts each tensor into /dev/shm, which is 64 MB in a container
    unless it was started otherwise; a tensor that finds no room there is dropped without an error that anybody could catch.

    Args:
        content: anything that can be pickled; its tensors must be on the CPU and need no gradient.
    """

    def __init__(self, content: Any) -> None:
        stream = io.BytesIO()
        pickler = _Pickler(stream)
        pickler.dump(content)
        self._pickled = stream.getvalue()
        self._file = os.memfd_create("mvdecor")
        weakref.finalize(self, os.close, self._file)  # the memory stays as long as a process uses it
        os.ftruncate(self._file, max(1, pickler.size))
        memory = mmap.mmap(self._file, max(1, pickler.size))
        for tensor, place in pickler.places.values():
            _tensor(memory, place).copy_(tensor)

    def __reduce__(self) -> tuple:
        return _unpickled, (self._pickled, reduction.DupFd(self._file))


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


def _unpickled(pickled: bytes, file: Any) -> Any:
    """In the other process: the object, with tensors in memory that is its own once it writes there."""
    descriptor = file.detach()
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    os.close(descriptor)
    return _Unpickler(io.BytesIO(pickled), memory).load()
