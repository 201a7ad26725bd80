"""The reader of a configuration's group `capture`."""

from __future__ import annotations

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from mvdecor.captures.capture import CaptureSet
from mvdecor.errors import InputError


def make_capture_set(node: DictConfig) -> CaptureSet:
    """Instantiate a reader of the `capture` group; its own error is shown instead of Hydra's around it."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        raise InputError(f"capture: {error}") from error
