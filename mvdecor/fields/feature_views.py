"""Feature fields on disk, and what the rays of a scene say to words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.fields.feature_field import FeatureField
from mvdecor.fields.radiance_file import load_radiance
from mvdecor.fields.strongest import StrongestSamples
from mvdecor.weights import find_weights, open_weights, write_weights

KIND = "mvdecor feature field 1"
FILE = "features.safetensors"
SOURCE = "out/model of scripts/finetune.py system=open_vocabulary"
CHUNK = 8192
"""Rays that are rendered together."""


def save_features(folder: Path, features: FeatureField, settings: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write `folder/features.safetensors`.

    Args:
        folder: that of the radiance field of the scene (`save_radiance`).
        features: on any device.
        settings: arguments that it was made with, beside the field.
        record: more plain values.
    """
    write_weights(folder / FILE, features.state_dict(), KIND, {"features": dict(settings), **record})


def load_features(folder: Path | str, device: torch.device | str = "cpu") -> tuple[FeatureField, dict[str, Any]]:
    """The feature field in a folder and its record. Raises InputError if there is none, or it is damaged."""
    field, _, _ = load_radiance(folder)
    path = find_weights(folder, SOURCE, FILE)
    with open_weights(path, KIND, f"feature field: give the {SOURCE}") as (record, state):
        features = FeatureField(field, **record["features"])
        features.load_state_dict(state)
    return features.to(device).eval(), record


@torch.no_grad()
def pixel_cosines(features: FeatureField, samples: StrongestSamples, text: Tensor, pixels: Tensor) -> Tensor:
    """float32 [P, C], cosine of the feature of each ray and each of C words.

    Args:
        features: of the scene.
        samples: of n of its views.
        text: float32 [C, D], of unit length.
        pixels: int64 [P] into the n views' pixels, see `StrongestSamples.at`.
    """
    device, cosines = features.head.weight.device, [torch.empty(0, len(text))]
    for chunk in pixels.split(CHUNK):
        coordinates, weights = samples.at(chunk)
        rays = normalize(features.features(coordinates.to(device), weights.to(device)), dim=-1)
        cosines.append((rays @ text.to(device).T).cpu())
    return torch.cat(cosines)


def view_cosines(features: FeatureField, samples: StrongestSamples, text: Tensor) -> Tensor:
    """float32 [n, C, H, W], of all pixels of the n views, see `pixel_cosines`."""
    cosines = pixel_cosines(features, samples, text, torch.arange(samples.depth.numel()))
    return cosines.view(*samples.depth.shape, -1).permute(0, 3, 1, 2)
