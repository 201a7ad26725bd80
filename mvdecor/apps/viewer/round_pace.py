"""How long a round of fine-tuning will take on this device, before it is started."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import torch
from omegaconf import DictConfig

from mvdecor.engine.device import open_device
from mvdecor.networks import build_model
from mvdecor.systems.mvdecor.setup import prepared

START = 20.0
"""Seconds until a new process trains: imports, meshes, first views."""


class RoundPace:
    """Times one step of training and one pass of prediction of the network, once, on random images.

    Args:
        cfg: configs/view.yaml.

    Attributes:
        device: its name; empty before it is asked for seconds.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self.device = ""

    def seconds(self, steps: int, shapes: int) -> float:
        """Of a round of so many steps that then labels so many shapes. What rendering takes is left out."""
        step, image = self._rates
        return START + steps * step + shapes * self._cfg.views.count * self._cfg.views.layers * image

    def steps_within(self, seconds: float, shapes: int) -> int:
        """How many steps, in tens, such a round may have; 0 or less where none is left."""
        return int((seconds - self.seconds(0, shapes)) / self._rates[0]) // 10 * 10

    @cached_property
    def _rates(self) -> tuple[float, float]:
        """Seconds per step of fine-tuning, and per image of a prediction."""
        cfg = self._cfg
        fabric = open_device(cfg.device, cfg.precision)
        on_gpu = fabric.device.type == "cuda"
        threads = torch.get_num_threads()
        processor = f"CPU, {threads} thread{'' if threads == 1 else 's'}"
        self.device = torch.cuda.get_device_name(fabric.device) if on_gpu else processor
        model = build_model(cfg.network, cfg.views.channels, 2, initial_weights=False)
        model = prepared(model, cfg).to(fabric.device)
        channels, size = len(model.mean), cfg.views.size
        batches = [n * cfg.views.layers for n in (cfg.training.finetune.batch_size, cfg.evaluation.batch_size)]
        labelled, predicted = (torch.rand(n, channels, size, size, device=fabric.device) for n in batches)

        def step() -> float:
            with fabric.autocast():
                loss = model(labelled).float().square().mean()
            loss.backward()
            return loss.item()  # waits for the device

        @torch.no_grad()
        def predict() -> float:
            with fabric.autocast():
                return model(predicted).float().mean().item()

        return _time(step), _time(predict) / len(predicted)


def _time(work: Callable[[], float], repeats: int = 3) -> float:
    """Seconds of the fastest repetition: a page that opens at the same time takes processors for a moment."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
