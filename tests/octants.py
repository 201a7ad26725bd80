"""A checkpoint whose answer is known: the label of a surface point is the octant of the unit sphere that it lies in."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mvdecor.networks import build_model, save_checkpoint

NAMES = [f"{x}{y}{z}" for x in "-+" for y in "-+" for z in "-+"]
SIGNS = torch.tensor([[1.0 if sign == "+" else -1.0 for sign in name] for name in NAMES])
VIEWS = {
    **{"count": 8, "close_ups": 0, "size": 64, "fov": 60.0, "distance": [1.4, 2.0], "jitter": 0.06, "layers": 1},
    **{"rasterizer": "auto", "keep": True, "channels": ["points"], "depth": "minmax", "normal_frame": "camera"},
}
LIFTING = {"rule": "entropy", "power": 20.0, "layer_order": "all", "fill": "nearest"}


class Positions(nn.Module):
    """Embeds a pixel by its position: the positive and the negative part of the coordinates."""

    embedding_dim = 6

    def __init__(self, in_channels: int) -> None:
        super().__init__()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images[:, :3].relu(), (-images[:, :3]).relu()], dim=1)


def save_octants(folder: Path, channels=("points",), kind="finetuned", **info) -> Path:
    """Write the checkpoint; `points` must be the first channel for its labels to be octants."""
    model = build_model({"_target_": "octants.Positions"}, channels, len(NAMES) if kind == "finetuned" else None)
    if model.head is not None:
        convolution = model.head[2]
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
        with torch.no_grad():
            convolution.weight[:, :, 1, 1] = 100 * torch.cat([SIGNS, -SIGNS], dim=1)
    config = {"views": {**VIEWS, "channels": list(channels)}, "lifting": LIFTING, "data": {"name": "octants"}}
    names = NAMES if kind == "finetuned" else []
    save_checkpoint(folder, model, {"kind": kind, "label_names": names, "config": config, **info})
    return folder


def octants(corners: np.ndarray) -> np.ndarray:
    """int [F] of faces [F, 3, 3] in any frame: the octant that holds all three corners, -1 if several or on a border."""
    points = corners.reshape(-1, 3).astype(np.float64)
    points = points - (points.min(axis=0) + points.max(axis=0)) / 2
    positive = (points > 0).reshape(-1, 3, 3)
    number = (positive * [4, 2, 1]).sum(axis=2)
    inside = (np.abs(points) > 1e-3 * np.abs(points).max()).reshape(-1, 9).all(axis=1)
    return np.where((number == number[:, :1]).all(axis=1) & inside, number[:, 0], -1)
