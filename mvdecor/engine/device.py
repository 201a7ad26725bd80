"""Device, precision and processes of a stage, by Lightning Fabric."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from mvdecor.engine.distributed import processes
from mvdecor.errors import InputError


def open_device(device: str = "auto", precision: str = "auto", unused_weights: bool = False) -> Fabric:
    """Device, precision and the processes that torchrun started; nothing is seeded.

    Args:
        device: auto, cpu or cuda.
        precision: auto (bf16-mixed where the device computes in bfloat16, else 32-true) or any of Fabric's.
        unused_weights: some passes of the training do not use all weights, which several processes must know.

    Raises:
        InputError: for a device that is not there or an unknown precision.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={device!r} is unknown: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but PyTorch sees no CUDA device here: use device=cpu or auto")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    resolved = precision
    if precision == "auto":
        resolved = "bf16-mixed" if accelerator == "cuda" or _cpu_has_bfloat16() else "32-true"
    local_processes = int(os.environ["LOCAL_WORLD_SIZE"]) if processes() > 1 else 1  # on this machine
    if accelerator == "cuda" and local_processes > torch.cuda.device_count():
        raise InputError(
            f"{local_processes} processes, but PyTorch sees {torch.cuda.device_count()} CUDA devices: start one for each "
            "(torchrun --nproc_per_node), or use device=cpu"
        )
    # batch norms agree by themselves, and a pass that not all processes make must not wait for the others
    data_parallel = DDPStrategy(broadcast_buffers=False, find_unused_parameters=unused_weights)
    strategy = data_parallel if processes() > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=local_processes,
            num_nodes=processes() // local_processes,
            precision=resolved,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise InputError(f"precision={precision!r}: {error}") from error
    if processes() > 1:
        fabric.launch()
    return fabric


def cpuinfo() -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    return any(flag in cpuinfo() for flag in ("avx512_bf16", "amx_bf16"))
