"""Several processes that train one model, started by `torchrun` (Fabric's DDP): who does what, and what they must agree on.

A step's batch is the same for any number of processes: each samples its share of the items, batch norms use the statistics of
the whole batch, what a network samples (dropout) belongs to the items of the batch (`mvdecor.engine.dropout`), and the gradient
is that of the loss over the whole batch. So the learning rate needs no rule either.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from mvdecor.errors import InputError


def rank() -> int:
    """Number of this process among those that torchrun started; 0 alone writes the run's files."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_WORLD_SIZE" in os.environ else 1


PATIENCE = timedelta(hours=24)
"""How long `barrier` waits for a process that works: reads shapes, writes made-up ones, plots, labels one test shape more."""


def barrier() -> None:
    """Wait for all processes, however long one of them works alone. One that ended is noticed, on GPUs, too."""
    if dist.is_initialized():
        options = dist.BarrierOptions()
        options.timeout = PATIENCE
        open_barrier().barrier(options).wait()


@cache
def open_barrier() -> dist.ProcessGroup:
    """The connections that `barrier` waits on, by gloo; all processes must ask for them, and the first time they are made.

    Raises:
        InputError: the machines do not reach each other.
    """
    try:
        return dist.new_group(backend="gloo", timeout=timedelta(minutes=10))
    except RuntimeError as error:
        raise InputError(
            f"the processes cannot be connected by gloo ({str(error).splitlines()[0]}): set GLOO_SOCKET_IFNAME to the network "
            "interface between the machines, as NCCL_SOCKET_IFNAME is for NCCL"
        ) from error


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Only the first process prints."""
    if rank() == 0:
        yield
    else:
        with open(os.devnull, "w") as null_device, contextlib.redirect_stdout(null_device):
            yield


def check_shared(size: int, setting: str) -> None:
    """Raise InputError if `setting` gives fewer items per batch than there are processes."""
    if size < processes():
        raise InputError(
            f"{setting}={size} cannot be shared by {processes()} processes: start at most {size}, or give "
            f"{setting}={processes()} or more (which is another recipe)"
        )


def share_of_batch(fabric: Fabric, size: int) -> range:
    """The items of a batch that this process computes: as many as the others do, or one more in the first processes."""
    per_process, remainder = divmod(size, fabric.world_size)
    start = per_process * fabric.global_rank + min(fabric.global_rank, remainder)
    return range(start, start + per_process + (fabric.global_rank < remainder))


def weight_of_share(fabric: Fabric, share: float) -> float:
    """Factor for a mean over this process's share of a batch, such that the processes' average is the mean over all."""
    return share * fabric.world_size


def weight_of_mean(fabric: Fabric, count: Tensor) -> Tensor | float:
    """Factor for a mean over `count` things of this process, such that the processes' average is the mean over all."""
    if fabric.world_size == 1:
        return 1.0
    total = fabric.all_reduce(count.clone(), reduce_op="sum")
    return count * fabric.world_size / total.clamp_min(1)  # type: ignore[union-attr]


def mean_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without gradient."""
    return values if fabric.world_size == 1 else fabric.all_reduce(values.detach().clone(), reduce_op="mean")  # type: ignore[return-value]


def gather_lists(elements: list[Any]) -> list[Any]:
    """The elements of all processes, each once, those of the first process first; all processes must ask for it."""
    lists: list[Any] = [elements]
    if dist.is_initialized():
        lists = [None] * dist.get_world_size()
        dist.all_gather_object(lists, elements)
    return list(dict.fromkeys(element for part in lists for element in part))


def gather_matches(
    fabric: Fabric, a: Tensor, b: Tensor, points: Tensor, pair: Tensor, pairs: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of a contrastive loss from all processes, with gradients to where they are from; `pairs` are from this one.

    Every process then computes the same loss. The gradients arrive summed over the processes, and DDP takes their mean: that
    is the gradient of the loss, once.
    """
    sizes: Any = fabric.all_gather(torch.tensor([len(a), pairs], device=a.device))
    counts, numbers = sizes.view(-1, 2).T.tolist()
    first = sum(numbers[: fabric.global_rank])

    def joined(x: Tensor, gradients: bool = False) -> Tensor:
        padded = F.pad(x, (0, 0) * (x.ndim - 1) + (0, max(counts) - len(x)))
        parts: Any = fabric.all_gather(padded, sync_grads=gradients)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    return joined(a, True), joined(b, True), joined(points), joined(pair + first)


def synchronize_batch_norm(model: nn.Module, fabric: Fabric) -> nn.Module:
    """Make the batch norms use the statistics of the whole batch. Names of weights stay as they are."""
    if fabric.world_size == 1:
        return model
    if fabric.device.type == "cuda":
        model = convert_sync_batchnorm(model)
        for module in model.modules():
            if isinstance(module, nn.SyncBatchNorm):
                _spare_waits(module)
        return model
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _synchronize(module)
    return model


def _spare_waits(module: nn.SyncBatchNorm) -> None:
    """Leave out PyTorch's search for processes without input, for which the host waits in every layer.

    No process is without (`check_shared`). PyTorch leaves the search out by itself while a graph is captured, so that is what
    it is told. Shares may be unequal all the same.
    """
    synchronized = type(module).forward

    @torch.compiler.disable
    def forward(x: Tensor) -> Tensor:
        capturing = torch.cuda.is_current_stream_capturing
        torch.cuda.is_current_stream_capturing = lambda: True
        try:
            return synchronized(module, x)
        finally:
            torch.cuda.is_current_stream_capturing = capturing

    module.forward = forward  # type: ignore[assignment,method-assign]


def _synchronize(module: nn.modules.batchnorm._BatchNorm) -> None:
    """The same on a CPU, where PyTorch has none: normalise by common statistics before the module's own affine part."""

    def normalised(x: Tensor) -> Tensor:
        """float32 or finer, by the statistics of all processes in training, by the module's own otherwise."""
        if not module.training:
            return F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)
        dims = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        total = all_reduce(torch.cat([x.sum(dims), x.new_tensor([x.numel() // x.shape[1]])]))
        count = total[-1].detach()  # the processes may have unequal shares of a batch
        mean = total[:-1] / count
        centred = x - mean.view(shape)
        variance = all_reduce(centred.square().sum(dims)) / count
        if module.track_running_stats:
            _follow(module, mean.detach(), variance.detach() * (count / (count - 1).clamp_min(1)))
        y = centred * (variance + module.eps).rsqrt().view(shape)
        return y if module.weight is None else y * module.weight.view(shape) + module.bias.view(shape)

    act, drop = getattr(module, "act", None), getattr(module, "drop", None)  # of timm's norms

    def forward(x: Tensor) -> Tensor:
        y = normalised(x).to(x.dtype)
        y = y if drop is None else drop(y)
        return y if act is None else act(y)

    module.forward = forward  # type: ignore[assignment,method-assign]


def _follow(module: nn.modules.batchnorm._BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert module.num_batches_tracked is not None
    assert module.running_mean is not None and module.running_var is not None
    module.num_batches_tracked += 1
    momentum = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
    module.running_mean.lerp_(mean, momentum)
    module.running_var.lerp_(variance, momentum)


def own_part(elements: Sequence[Any]) -> list[Any]:
    """Every n-th of a list: this process's, where no step needs all processes together."""
    return list(elements[rank() :: processes()])
