"""Device, precision and processes of a stage, by Lightning Fabric."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from mvdecor.engine.distributed import open_barrier, processes, rank
from mvdecor.errors import InputError

DEVICE = r"(auto|cpu|cuda(:[0-9]{1,3})?)"
TIMEOUTS = {"cuda": timedelta(minutes=10), "cpu": timedelta(minutes=30)}
"""How long processes wait for each other in a step. NCCL does not notice that a process ended; gloo does so at once, and a CPU
is slow. Where one works alone the others wait in `barrier`, which takes longer."""


def open_device(device: str = "auto", precision: str = "auto", unused_weights: bool = False) -> Fabric:
    """Device, precision and the processes that torchrun started; nothing is seeded.

    Args:
        device: auto, cpu, cuda (several processes: one GPU each), or cuda:N, the GPU of number N.
        precision: auto (see `best_precision`) or any of Fabric's.
        unused_weights: some passes of the training do not use all weights, which several processes must know.

    Raises:
        InputError: for a device that is not there or an unknown precision.
    """
    if not re.fullmatch(DEVICE, device):
        raise InputError(f"device={device!r} is unknown: choose auto, cpu, cuda or cuda:N")
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={device}, but PyTorch sees no CUDA device here: use device=cpu or auto")
    if number and processes() > 1:
        raise InputError(f"device={device} with {processes()} processes: give device=cuda, each takes a GPU of its own")
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"device={device}: PyTorch sees {torch.cuda.device_count()} CUDA devices, the first is cuda:0")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    local_processes = int(os.environ["LOCAL_WORLD_SIZE"]) if processes() > 1 else 1  # on this machine
    if accelerator == "cuda" and local_processes > torch.cuda.device_count():
        raise InputError(
            f"{local_processes} processes, but PyTorch sees {torch.cuda.device_count()} CUDA devices: start one for each "
            "(torchrun --nproc_per_node), or use device=cpu"
        )
    gpus = [int(number)] if number else range(local_processes)
    resolved = best_precision(accelerator, gpus) if precision == "auto" else precision
    # batch norms agree by themselves, and a pass that not all processes make must not wait for the others
    data_parallel = DDPStrategy(
        timeout=TIMEOUTS[accelerator], broadcast_buffers=False, find_unused_parameters=unused_weights
    )
    strategy = data_parallel if processes() > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=[int(number)] if number else local_processes,
            num_nodes=processes() // local_processes,
            precision=resolved,  # type: ignore[arg-type]
            # said by name, or Fabric would take plain `python` within a SLURM job for one of several tasks
            plugins=TorchElasticEnvironment() if processes() > 1 else LightningEnvironment(),
        )
    except ValueError as error:
        raise InputError(f"precision={precision!r}: {error}") from error
    if processes() > 1:
        fabric.launch()
        open_barrier()
        if accelerator == "cuda" and processes() > local_processes and rank() == 0:
            print(_on_several_machines(processes() // local_processes), flush=True)
    elif number:
        torch.cuda.set_device(fabric.device)  # of what asks for "the" GPU: its name, memory and random generator
    return fabric


def _on_several_machines(machines: int) -> str:
    minutes = TIMEOUTS["cuda"].seconds // 60
    return (
        f"{processes()} processes on {machines} machines: when one ends, those of other machines are aborted after at most "
        f"{minutes} minutes, with the words 'Watchdog caught collective operation timeout'. Look at the output and the system "
        "log of the machine whose process ended first, then run the same command again: it resumes"
    )


def best_precision(accelerator: str, gpus: Iterable[int] = (0,)) -> str:
    """The fastest precision that trains: what the arithmetic units of the device compute themselves.

    Args:
        accelerator: "cpu" or "cuda".
        gpus: numbers of those that are used; the oldest of them decides.

    Returns:
        "bf16-mixed" on GPUs of compute capability 8.0 (A100, RTX 30) and later, and on processors that multiply bfloat16;
        "16-mixed", which scales losses, on GPUs from 7.0 (V100, T4, RTX 20); otherwise "32-true".
    """
    if accelerator == "cpu":
        return "bf16-mixed" if _cpu_has_bfloat16() else "32-true"
    capability = min(torch.cuda.get_device_capability(gpu) for gpu in gpus)
    return "bf16-mixed" if capability >= (8, 0) else "16-mixed" if capability >= (7, 0) else "32-true"


def cpuinfo() -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    return any(flag in cpuinfo() for flag in ("avx512_bf16", "amx_bf16"))
