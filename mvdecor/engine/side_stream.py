"""Preparing the next batches while a GPU computes the step before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch


class SideStream:
    """A CUDA stream on which all batches of a training are prepared; on other devices nothing but an order of calls.

    A GPU computes a step after the host has launched it. The host then prepares the next batch: on the stream of the step its
    first wait would last until the step is computed, on this one it lasts until the batch is. The order on the device:

    - A step begins after its batch is prepared.
    - A batch is prepared after the step before the last one, whose batch is held until then: so the memory of a batch, which
      belongs to this stream, is used again only after the step that reads it, whatever the type of the batch.
    - What else reads the sources of the batches (a validation, a picture) is followed by `wait_for_device`.

    Sources that share shapes or views must share this stream: one of a training's batches may put into their caches what
    another one reads.

    Args:
        device: of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def wait_for_device(self) -> None:
        """Prepare what comes next after all that was launched so far; the host does not wait."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def prepared(self, next_batch: Callable[[], Any]) -> Iterator[Any]:
        """What `next_batch` returns at each call, up to the first None. It is called when the batch is asked for.

        A batch must not be used on the device after the next but one was asked for.
        """
        if self._stream is None:
            while (batch := next_batch()) is not None:
                yield batch
            return
        main = torch.cuda.current_stream(self._device)
        held: list[Any] = []
        handed_over = main.record_event()
        while True:
            self._stream.wait_event(handed_over)  # all but the last step
            del held[:-1]  # so their batches may go
            with torch.cuda.stream(self._stream):
                batch = next_batch()
            if batch is None:
                return
            main.wait_stream(self._stream)
            handed_over = main.record_event()
            held.append(batch)
            yield batch
