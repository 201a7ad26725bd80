"""Objects of a user's own modules, named in a configuration by their dotted names."""

from __future__ import annotations

from typing import Any

from hydra.utils import get_object

from mvdecor.errors import InputError


def import_object(name: str, setting: str) -> Any:
    """What `module.name` names. Raises InputError, which begins with the setting, if it cannot be imported."""
    try:
        return get_object(name)
    except Exception as error:  # whatever importing a user's module raises
        reason = " ".join(str(error).split())
        raise InputError(
            f"{setting}={name} cannot be imported ({reason}): name your.module.object, and check PYTHONPATH"
        ) from error
