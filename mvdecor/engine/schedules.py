"""Learning-rate schedules by name: each is called as `schedule(optimizer, steps)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hydra.utils import instantiate
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR

from mvdecor.errors import InputError

Schedule = Callable[[Optimizer, int], LRScheduler]


def plateau(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Halve the rate when the validation loss has not improved for 5 validations, down to 1e-5 (the paper's recipe)."""
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=5, min_lr=1e-5)


def cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Let the rate fall to zero over `steps` after a short warm-up: for short runs."""
    warmup = max(1, min(100, steps // 10))
    return LambdaLR(optimizer, lambda s: min(1, (s + 1) / warmup) * (1 + math.cos(math.pi * min(1, s / steps))) / 2)


def constant(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Leave the rate as it is."""
    return LambdaLR(optimizer, lambda s: 1.0)


def decay(optimizer: Optimizer, steps: int, *, factor: float, every: int) -> LRScheduler:
    """Multiply the rate by `factor` after every `every` steps."""
    return StepLR(optimizer, every, factor)


SCHEDULES: dict[str, Schedule] = {"plateau": plateau, "cosine": cosine, "constant": constant}


def make_schedule(setting: str | Mapping[str, Any], **decay_settings: Any) -> Schedule:
    """The schedule of a setting: a name, or `_target_` of a function of your own that is called as these are.

    Args:
        setting: plateau, cosine, constant, or (where `decay_settings` are given) decay; or {"_target_": ...}.
        decay_settings: `factor` and `every` of `decay`.

    Raises:
        InputError: for an unknown name.
    """
    schedules = SCHEDULES | ({"decay": partial(decay, **decay_settings)} if decay_settings else {})
    if not isinstance(setting, str):
        return instantiate(setting, _partial_=True)
    if setting not in schedules:
        names = list(schedules)
        raise InputError(f"unknown schedule {setting!r}: choose {', '.join(names[:-1])} or {names[-1]}")
    return schedules[setting]
