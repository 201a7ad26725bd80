"""The made-up shapes of an experiment, written before its first stage."""

from __future__ import annotations

from omegaconf import DictConfig

from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import barrier, rank
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_partnet, write_people_like

FORMATS = {"partnet": write_partnet, "people": write_people_like}
"""Writers of made-up shapes by the `format` of `data.generate`."""


def write_made_up(cfg: DictConfig) -> None:
    """Write the shapes of `data.generate` into `data.root` unless they are there; of several processes the first one does.

    Raises:
        InputError: an unknown `format`; see also `write_partnet` and `write_people_like`.
    """
    if not cfg.data.get("generate"):
        return
    open_device(cfg.device, cfg.precision)
    settings = dict(cfg.data.generate)
    layout = settings.pop("format", "partnet")
    if layout not in FORMATS:
        raise InputError(f"data.generate.format={layout} is unknown: choose {' or '.join(FORMATS)}")
    if rank() == 0:
        FORMATS[layout](cfg.data.root, **settings)
    barrier()
