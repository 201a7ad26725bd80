"""Objects that a configuration names: by a dotted name, or as a group with `_target_`."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

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


def make_object(node: DictConfig, group: str) -> Any:
    """What a group of the configuration describes; the object's own InputError is raised instead of Hydra's around it.

    Raises:
        InputError: it cannot be made; the message begins with the group.
    """
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(f"{group}: {node.get('_target_')} cannot be made ({reason}): see configs/{group}") from error
