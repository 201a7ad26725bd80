"""How much a pixel adds to the labels of the face that it sees: one function per rule.

A rule is called as `rule(logits, power)` with the logits float32 [P, C] of P pixels and the setting `lifting.power`, and gives
the votes float32 [P, C] of each pixel: at least 0, with a positive sum. A rule of your own is such a function in a module of
yours, named by `lifting.rule=your.module.function`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mvdecor.imports import import_object

LEAST_WEIGHT = 1e-12

Rule = Callable[[Tensor, float], Tensor]


def entropy(logits: Tensor, power: float) -> Tensor:
    """The softmax, weighing (1 - H / log C) ** power, H the entropy of the pixel's own prediction in nats."""
    probabilities = logits.softmax(dim=-1)
    if logits.shape[-1] == 1:
        return probabilities
    nats = torch.special.entr(probabilities).sum(dim=-1, keepdim=True)
    certainty = (1 - nats / math.log(logits.shape[-1])).clamp(0.0, 1.0)
    return probabilities * certainty.pow(power).clamp_min(LEAST_WEIGHT)


def mean(logits: Tensor, power: float) -> Tensor:
    """The softmax, weighing 1."""
    return logits.softmax(dim=-1)


def majority(logits: Tensor, power: float) -> Tensor:
    """One vote for the most probable class."""
    return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()


RULES: dict[str, Rule] = {"entropy": entropy, "mean": mean, "majority": majority}
"""Rules that add up votes. `FaceVoter` has two more, which add up logits."""
LOGIT_RULES = ("logits", "official")


def find_rule(name: str) -> Rule | None:
    """The rule of a name; None for one of `LOGIT_RULES`. Raises ValueError (InputError if it cannot be imported)."""
    if "." in name:
        rule = import_object(name, "rule")
        if not callable(rule):
            raise ValueError(f"rule={name} is no function: name one that takes logits and power")
        return rule
    if name not in (*RULES, *LOGIT_RULES):
        words = f"{', '.join((*RULES, *LOGIT_RULES)[:-1])} or {LOGIT_RULES[-1]}"
        raise ValueError(
            f"rule={name} is unknown: choose {words}, or name a function of your own (your.module.function)"
        )
    return RULES.get(name)
