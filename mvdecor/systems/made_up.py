"""The made-up shapes of an experiment, written before its first stage."""

from __future__ import annotations

from omegaconf import DictConfig

from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import barrier, rank
from mvdecor.made_up.generate import write_partnet


def write_made_up(cfg: DictConfig) -> None:
    """Write the shapes of `data.generate` into `data.root` unless they are there; of several processes the first one does."""
    if not cfg.data.get("generate"):
        return
    open_device(cfg.device, cfg.precision)
    if rank() == 0:
        write_partnet(cfg.data.root, **cfg.data.generate)
    barrier()
