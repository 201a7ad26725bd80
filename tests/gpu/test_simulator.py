"""The simulated device itself: it refuses what a GPU refuses, computes what the CPU computes, and counts."""

import pytest
import torch

from tests.gpu.simulated_cuda import MixedDevices, SimulatedTensor, saved_and_loaded, simulated_cuda


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.stack([x[0], torch.tensor(1.0)]),
        lambda x: torch.cat([x, torch.ones(1)]),
        lambda x: x @ torch.ones(3),
        lambda x: torch.where(x > 1, x, torch.ones(3)),
        lambda x: torch.ones(3)[x.long()],
        lambda x: torch.ones(3).index_select(0, x.long()),
        lambda x: torch.nn.Linear(3, 2)(x),
    ],
)
def test_mixed_devices_are_refused(mix):
    with simulated_cuda():
        x = torch.arange(3.0, device="cuda")
        with pytest.raises(MixedDevices, match="cuda:0 and cpu"):
            mix(x)


def test_what_a_gpu_takes_from_the_cpu_is_taken():
    with simulated_cuda():
        x = torch.arange(3.0, device="cuda")
        assert isinstance(x, SimulatedTensor) and x.device == torch.device("cuda:0") and x.is_cuda
        assert not isinstance(x.cpu(), SimulatedTensor)
        assert (x + torch.tensor(1.0)).tolist() == [1, 2, 3]  # a tensor without dimensions in arithmetic
        assert x[torch.tensor([2, 0])].tolist() == [2, 0]  # indices


def test_numpy_and_generators_of_the_cpu_are_refused():
    with simulated_cuda():
        x = torch.arange(3.0, device="cuda")
        with pytest.raises(TypeError, match="cuda:0"):
            x.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, generator=torch.Generator(), device="cuda")


WAITS = {
    "number": lambda x: float(x[0]),
    "condition": lambda x: bool((x > 1).any()),
    "list": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 1],
    "list as index": lambda x: x[[0, 2]],
    "index from the CPU": lambda x: x[torch.tensor([0, 2])],
    "from the device": lambda x: x.cpu(),
    "to the device": lambda x: torch.ones(3).to(x.device),
    "made from a list": lambda x: torch.tensor([1.0, 2.0], device="cuda"),
    "bincount": lambda x: torch.bincount(x.long()),
    "unique": lambda x: x.unique(),
    "repeats of unknown sum": lambda x: x.repeat_interleave(x.long()),
}
NO_WAITS = {
    "to the device without blocking": lambda x: torch.ones(3).to(x.device, non_blocking=True),
    "slice": lambda x: x[1:],
    "index on the device": lambda x: x[torch.arange(2, device="cuda")],
    "repeats of known sum": lambda x: x.repeat_interleave(x.long(), output_size=3),
    "arithmetic": lambda x: (x * 2 + 1).sum().sqrt(),
    "fill": lambda x: x.masked_fill(x > 1, 0.0),
    "sort": lambda x: x.argsort(),
}


@pytest.mark.parametrize("name", [*WAITS, *NO_WAITS])
def test_waits_are_counted(name):
    with simulated_cuda() as counts:
        x = torch.arange(3.0, device="cuda")
        counts.reset()
        {**WAITS, **NO_WAITS}[name](x)
        assert sum(counts.waits.values()) == (name in WAITS), counts.waits


def test_launches_are_counted_and_views_are_none():
    with simulated_cuda() as counts:
        x = torch.zeros(4, 3, device="cuda")
        counts.reset()
        x[1:].flatten().view(3, 3).T.unsqueeze(0).expand(2, 3, 3).detach()
        assert counts.launches == 0
        x.add_(1).mul(2)
        torch.ones(3).to("cuda")
        assert counts.launches == 3 and counts.placed == 1
        torch.ones(3).add(1)  # on the CPU
        assert counts.launches == 3


def test_a_layer_trains_as_on_the_cpu_and_autocast_computes_in_half_precision():
    def gradient(device):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2).to(device)
        layer(torch.arange(6.0).view(2, 3).to(device)).square().sum().backward()
        return layer.weight.grad.cpu()

    with simulated_cuda():
        torch.testing.assert_close(gradient("cuda"), gradient("cpu"))
        layer, x = torch.nn.Linear(3, 2).to("cuda"), torch.ones(3, device="cuda")
        with torch.autocast("cuda", dtype=torch.bfloat16):
            y = layer(x)
        assert y.dtype == torch.bfloat16 and y.is_cuda and layer(x).dtype == torch.float32


def test_what_is_saved_is_loaded_on_the_cpu():
    with simulated_cuda():
        x = torch.arange(3.0, device="cuda")
        loaded = saved_and_loaded({"x": [x]})["x"][0]
        assert not isinstance(loaded, SimulatedTensor) and loaded.tolist() == [0, 1, 2]
        with pytest.raises(MixedDevices):
            torch.stack([x, loaded])


def test_nothing_is_left_behind():
    with simulated_cuda():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available() or torch.cuda.get_device_name() != "simulated"
    with pytest.raises((RuntimeError, AssertionError)):
        torch.zeros(1, device="cuda:7")
