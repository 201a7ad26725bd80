"""What the tests on the simulated device share: stages on a device by name, and one run on the device and on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_map

from mvdecor.engine.log import Log
from mvdecor.views import make_rasterizer
from mvdecor.views.shape_views import ShapeViews
from tests.gpu.simulated_cuda import all_to_cpu, simulated_cuda
from tests.systems.test_loops import cameras, shape


def shape_views_on(device: str, count: int = 1, layers: int = 1, rasterizer: str = "embree", **more: Any) -> ShapeViews:
    """`count` lumps with eight views of 32 x 32 pixels each."""
    shapes = [shape(i) for i in range(count)]
    return ShapeViews(shapes, cameras, make_rasterizer(rasterizer, device), layers, device=device, **more)


@contextmanager
def some_gpu() -> Iterator[bool]:
    """A real GPU where there is any, else a simulated one; yields whether it is simulated."""
    if torch.cuda.is_available():
        yield False
        return
    with simulated_cuda():
        yield True


def on_both(run: Callable[[str], Any]) -> tuple[Any, Any]:
    """What `run(device)` gives on the device, as CPU tensors, and on the CPU. The device is a real one where there is any."""
    if torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False
        return tree_map(lambda x: x.detach().cpu() if isinstance(x, torch.Tensor) else x, run("cuda")), run("cpu")
    with simulated_cuda():
        return all_to_cpu(run("cuda")), run("cpu")


def assert_equal_on_both(run: Callable[[str], Any], rtol: float = 1e-3, atol: float = 1e-4) -> None:
    """`run(device)` gives the same tensors on the simulated device as on the CPU."""
    on_device, on_cpu = on_both(run)
    torch.testing.assert_close(on_device, on_cpu, rtol=rtol, atol=atol)


class Stop(Exception):
    """The run is cut off."""


class CutOff(Log):
    """A log with the usual interval between scalars, so that losses wait on the device; stops before step `at`."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__(None, every=50, bar=False)
        self._at = at

    def progress(self, steps: int, name: str, first: int = 0) -> Iterator[int]:
        """Count the steps up to `at`."""
        for step in super().progress(steps, name, first):
            if step == self._at:
                raise Stop
            yield step

    def scalars(self, *_: Any) -> None:
        """Nothing."""
