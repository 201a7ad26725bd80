"""Batch norms of several GPUs: PyTorch's kernels, which are played by formulas here, and no wait of the host."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from mvdecor.engine.distributed import synchronize_batch_norm
from mvdecor.networks import build_model
from tests.gpu.simulated_cuda import simulated_cuda, to_cpu

DIMS = (0, 2, 3)


def stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and inverse deviation of each channel."""
    x = x.float()
    return x.mean(DIMS), (x.var(DIMS, unbiased=False) + eps).rsqrt()


def gather_stats(x, means, inverse, running_mean, running_var, momentum, eps, counts) -> tuple[Tensor, Tensor]:
    """Those of all processes together, by the law of total variance."""
    share = (counts / counts.sum())[:, None]
    mean = (share * means).sum(0)
    variance = (share * (inverse.pow(-2) - eps + (means - mean).square())).sum(0)
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(variance * counts.sum() / (counts.sum() - 1), momentum)
    return mean, (variance + eps).rsqrt()


def normalise(x, weight, bias, mean, inverse, eps) -> Tensor:
    """Element by element."""
    mean, scale, bias = (v[:, None, None] for v in (mean, inverse * weight, bias))
    return (x - mean) * scale + bias


class Peers:
    """A process group of two, of which the other one always has the same input."""

    def size(self) -> int:
        return 2

    def _get_backend_name(self) -> str:
        return "nccl"


@pytest.fixture
def kernels(monkeypatch):
    for name, formula in {
        "batch_norm_stats": stats,
        "batch_norm_gather_stats_with_counts": gather_stats,
        "batch_norm_elemt": normalise,
    }.items():
        monkeypatch.setattr(torch, name, formula)
    monkeypatch.setattr(
        "torch.distributed.all_gather_into_tensor", lambda out, x, *_, **__: out.copy_(torch.cat([x, x])[None])
    )
    monkeypatch.setattr("torch.distributed.is_available", lambda: True)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)


def on_gpus(model: nn.Module) -> nn.Module:
    model = synchronize_batch_norm(model, SimpleNamespace(world_size=2, device=torch.device("cuda")))
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.process_group = Peers()
    return model


def test_statistics_are_those_of_all_processes_and_the_host_waits_in_no_layer(kernels):
    plain, x = nn.BatchNorm2d(5), torch.randn(2, 5, 4, 4)
    nn.init.normal_(plain.weight)
    wanted = plain(torch.cat([x, x]))[:2]
    with simulated_cuda() as counts, torch.no_grad():
        ours = nn.Sequential(nn.BatchNorm2d(5))
        ours[0].weight.copy_(plain.weight)
        ours = on_gpus(ours).to("cuda")
        on_device = x.to("cuda")
        counts.reset()
        normed = ours(on_device)
        assert not counts.waits, counts.waits
        assert not torch.cuda.is_current_stream_capturing()
        torch.testing.assert_close(to_cpu(normed), wanted)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(to_cpu(getattr(ours[0], name)), getattr(plain, name))


def test_pytorch_by_itself_would_wait_in_every_layer_of_the_recipe_s_network(kernels):
    network = {"_target_": "mvdecor.networks.DeepLabV3Plus", "encoder": "resnet50", "embedding_dim": 64}
    with simulated_cuda() as counts, torch.no_grad():
        model = on_gpus(build_model(network, ("normal",), None).train()).to("cuda")
        images, layers = torch.zeros(1, 3, 32, 32, device="cuda"), 0
        counts.reset()
        model.embed(images)
        assert not counts.waits, counts.waits
        for module in model.modules():
            if isinstance(module, nn.SyncBatchNorm):
                layers += 1
                del module.forward
        model.embed(images)
        assert layers == 64 and sum(counts.waits.values()) == 3 * layers
