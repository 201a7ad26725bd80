"""On a GPU the optimizer is fused where it can be, and cuDNN times its algorithms unless that is forbidden."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam

from mvdecor.engine.device import open_device
from mvdecor.engine.log import Log
from mvdecor.engine.loop import Loop, Recipe, train
from mvdecor.engine.optimizer import make_optimizer
from mvdecor.engine.schedules import make_schedule
from tests.gpu.simulated_cuda import simulated_cuda, to_cpu


def own_adam(weights: list[nn.Parameter]) -> Adam:
    return Adam(weights, lr=0.5)


@pytest.mark.parametrize(
    ("make", "fused"),
    [
        *((partial(kind, lr=0.1), True) for kind in (Adam, SGD, Adagrad)),
        *((make, False) for make in (partial(LBFGS, lr=0.1), own_adam)),
        *((partial(Adam, lr=0.1, **{word: said}), False) for word, said in (("fused", False), ("foreach", True))),
    ],
)
def test_fused_on_a_gpu_alone_and_only_where_nothing_else_was_said(make, fused):
    weights = [nn.Parameter(torch.ones(3))]
    assert not make_optimizer(make, weights, torch.device("cpu")).param_groups[0].get("fused")
    assert bool(make_optimizer(make, weights, torch.device("cuda")).param_groups[0].get("fused")) == fused
    assert not make_optimizer(make, weights, torch.device("cuda"), clip=1.0).param_groups[0].get("fused")


def test_gradients_are_cut_to_a_norm_before_an_update():
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    optimizer = make_optimizer(partial(SGD, lr=1.0), weights, torch.device("cpu"), clip=0.5)
    for scale, expected in ((10.0, 0.5), (0.01, 0.03)):
        for weight in weights:
            weight.data.zero_()
        weights[0].grad, weights[1].grad = scale * torch.tensor([1.0, 2.0]), scale * torch.tensor([2.0])
        optimizer.step()
        assert torch.cat([weight.detach() for weight in weights]).norm() == pytest.approx(expected, rel=1e-5)


@dataclass(frozen=True)
class Batch:
    """Rows of numbers."""

    rows: torch.Tensor
    shape_ids: tuple[str, ...] = ()
    views: tuple[int, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.rows.to(device))


class Numbers:
    """Batches of ten rows."""

    def __len__(self) -> int:
        return 10

    def sample(self, seed, step, positions=None):
        return Batch(torch.randn(10, 4, generator=torch.Generator().manual_seed(step))[list(positions)])


def step(model, batch):
    loss = model(batch["numbers"].rows).square().mean()
    yield loss, {"loss": loss}


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_fused_training_is_that_of_the_cpu(precision, tuned, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not tuned)

    def weights(device: str, precision: str) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        recipe = Recipe("run", 6, partial(Adam, lr=0.1), make_schedule("constant"), cudnn_benchmark=tuned)
        loop = Loop(open_device(device, precision), Log(None, every=50, bar=False))
        train(loop, recipe, net, {"numbers": (Numbers(), "")}, step)
        return net.weight.detach()

    expected = weights("cpu", "32-true")
    assert torch.backends.cudnn.benchmark is not tuned
    with simulated_cuda():
        on_device = to_cpu(weights("cuda", precision))
    assert torch.backends.cudnn.benchmark is tuned
    if precision == "32-true":
        torch.testing.assert_close(on_device, expected, rtol=1e-5, atol=1e-5)
