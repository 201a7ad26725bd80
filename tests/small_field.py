"""A field of random weights, in place of a trained one."""

from pathlib import Path

import torch

from mvdecor.fields import ConditionalField, FieldSettings, save_field


def save_small_field(folder: Path) -> None:
    """Write a checkpoint of three objects that look different, with the labels seat, back and background."""
    torch.manual_seed(0)
    settings = FieldSettings(code_size=4, width=12, hypernetwork_width=12, steps=3, generator_layers=2)
    field = ConditionalField(settings, 3, labels=3)
    torch.nn.init.normal_(field.codes.weight, std=2.0)
    torch.nn.init.constant_(field.generator[-1].bias, 0.5)
    field.generator[-1].weight.data *= 0.3  # colours in their range
    evaluation = {"search": 64, "steps": 60, "rays": 64, "learning_rate": 0.05, "prior": 0.0, "mask": 0.0}
    names = ["seat", "back", "background"]
    save_field(folder, field, {"ids": ["a", "b", "c"], "label_names": names, "config": {"evaluation": evaluation}})
