"""What a checkpoint's record says of its training: how the model sees, and the settings that its figures are of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.errors import InputError
from mvdecor.settings import shown
from mvdecor.views import ViewSettings

SIGHT = ("channels", "depth", "normal_frame")
"""Settings of `views` that say how pixels become the network's input: a model is blind to any but those of its training."""

TRAINING = ("method", "run", "network", "loss", "segmentation_loss", "training")
"""Settings that only a training looks at: a result has them from the model, whatever its evaluation's command line says."""


def check_sight(record: Mapping[str, Any], checkpoint: Path | str, views: Mapping[str, Any] | DictConfig) -> None:
    """Raise InputError if images would be rendered in another way than those that a model was trained on.

    Args:
        record: the checkpoint's.
        checkpoint: its name in the message.
        views: the group `views` that is asked for.
    """
    recorded = record.get("config", {}).get("views", {})
    there = {key: recorded[key] for key in SIGHT if key in recorded} | {"channels": record["channels"]}
    trained = ViewSettings.of(there, "views")
    used = ViewSettings.of({key: views[key] for key in SIGHT if key in views}, "views")
    for key in SIGHT:
        if getattr(used, key) != getattr(trained, key):
            raise InputError(
                f"views.{key}={shown(getattr(used, key))}: {checkpoint} was trained with {shown(getattr(trained, key))}, "
                f"which cannot be changed after: set views.{key}={shown(getattr(trained, key))}"
            )


def with_training(config: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of an evaluation, with the settings of `TRAINING` that its model was trained with."""
    trained = record.get("config", {})
    return {**config, **{key: trained[key] for key in TRAINING if key in trained}}


def trained_with(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model's training that an evaluation has too, and may choose others of: by their group."""
    trained = record.get("config", {})
    return {key: trained[key] for key in ("seed", "precision", "views", "data") if key in trained}
