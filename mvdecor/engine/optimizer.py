"""The optimizer of a loop: fused on a GPU, and with gradients cut to a norm."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


def make_optimizer(
    make: Callable[..., Optimizer], weights: list[nn.Parameter], device: torch.device, clip: float | None = None
) -> Optimizer:
    """The optimizer of a recipe.

    On a GPU it gets `fused=True` if it knows that word and nothing else was said: one kernel updates all weights, instead of
    some per weight. Not with `clip`, since a fused optimizer takes the gradients as the loss scaling of float16 left them.

    Args:
        make: called with the weights.
        weights: to train.
        device: where they are.
        clip: greatest norm of the gradient of all weights; None: any.
    """
    said = getattr(make, "keywords", {})
    can = "fused" in inspect.signature(make).parameters and not {"fused", "foreach", "differentiable"} & said.keys()
    optimizer = make(weights, fused=True) if device.type == "cuda" and can and clip is None else make(weights)
    if clip is not None:
        optimizer.register_step_pre_hook(partial(clip_gradients, weights, clip))
    return optimizer


def clip_gradients(weights: list[nn.Parameter], norm: float, *_: object) -> None:
    """As PyTorch's `clip_grad_norm_`, which takes no sparse gradients."""
    gradients = []
    for weight in weights:
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()
            gradients.append(weight.grad.values())
        elif weight.grad is not None:
            gradients.append(weight.grad)
    factor = norm / (get_total_norm(gradients) + 1e-6)
    torch._foreach_mul_(gradients, factor.clamp(max=1.0))
