"""Typed settings: a class says the type, the words and the range of each setting; a wrong value is refused in one line.

A system or program of your own declares its settings in the same way, next to the code that uses them:

    from typing import Literal
    from mvdecor.settings import Count, NotNegative, Settings

    class ShadingSettings(Settings):
        model: Literal["lambert", "flat"] = "lambert"
        samples: Count
        weight: NotNegative = 0.1

    shading = ShadingSettings.of(cfg.shading, "shading")   # a group of a Hydra configuration, or any mapping
    shading.samples                                        # an int of at least 1

`shading.sampels=4` is answered with "shading.sampels is unknown: did you mean shading.samples?". A range of your own is
`Annotated[int, Field(ge=2, le=9, description="give a whole number from 2 to 9")]`; the description is what the message
asks for. A rule between two settings is a method marked `@model_validator(mode="after")` that raises
`ValueError("samples=3: model=flat needs an even number")`; the name of the group is put in front.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from mvdecor.errors import InputError

WholeNumber = Annotated[int, Field(ge=0, lt=2**31, description="give a whole number of at least 0, below 2^31")]
Count = Annotated[int, Field(ge=1, lt=2**31, description="give a whole number of at least 1, below 2^31")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="give a whole number of at least 0, below 2^63")]
Positive = Annotated[float, Field(gt=0, description="give a number above 0")]
NotNegative = Annotated[float, Field(ge=0, description="give a number of at least 0")]
Quantile = Annotated[float, Field(ge=0, le=0.49, description="give a share from 0 to 0.49")]
Probability = Annotated[float, Field(ge=0, le=1, description="give a probability between 0 and 1")]
Share = Annotated[float, Field(gt=0, lt=1, description="give a share between 0 and 1, both excluded")]
Text = Annotated[str, Field(description="give a word")]
PathName = Annotated[str, Field(min_length=1, description="name a file or folder")]


class Settings(BaseModel):
    """Base of all settings. An object cannot be changed, and takes no value of another type: 3 is not "3", 1 is not true."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, values: Mapping[str, Any] | DictConfig, group: str = "", complete: bool = False) -> Self:
        """The settings of a group of a configuration.

        Args:
            values: by name. Defaults stand for those that are not there.
            group: name of the group, which messages put before each name: "views"; "" for the whole configuration.
            complete: refuse settings that are missing in one of its groups also where that group's class has a default.

        Raises:
            InputError: one line that names each setting that is wrong or unknown, its value, and what to give instead.
        """
        values_by_name: Any = OmegaConf.to_container(values, resolve=True) if OmegaConf.is_config(values) else values
        if isinstance(values_by_name, dict):
            # "???" is Hydra's mark of a missing value
            values_by_name = {name: value for name, value in values_by_name.items() if value != "???"}
        try:
            settings = cls.model_validate(values_by_name)
        except ValidationError as error:
            lines = [_line(cls, values_by_name, fault, group) for fault in error.errors(include_url=False)]
            raise InputError("; ".join(dict.fromkeys(lines))) from None
        if complete and (missing := list(_missing(settings, group))):
            raise InputError(f"{missing[0]} is missing: give all settings of its group")
        return settings


def nearest(name: str, known_names: Iterable[str]) -> str | None:
    """The name among `known_names` that is most like a misspelt one; None if none is. Dotted names may lack their groups."""
    names = list(known_names)
    group, _, last = name.rpartition(".")

    def closest(candidates: Iterable[str], cutoff: float) -> str | None:
        by_last = {candidate.rpartition(".")[2]: candidate for candidate in sorted(candidates, key=len, reverse=True)}
        close = difflib.get_close_matches(last, by_last, n=1, cutoff=cutoff)
        return by_last[close[0]] if close else None

    if same_last := [candidate for candidate in names if candidate.rpartition(".")[2] == last]:
        return max(same_last, key=lambda candidate: difflib.SequenceMatcher(None, name, candidate).ratio())
    siblings = [candidate for candidate in names if candidate.rpartition(".")[0] == group]
    closest_full = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    return closest(siblings, 0.6) or closest(names, 0.7) or (closest_full[0] if closest_full else None)


def unknown_setting(name: str, known_names: Iterable[str]) -> str:
    """What to say of a setting that does not exist."""
    names = list(known_names)
    if suggestion := nearest(name, names):
        return f"{name} is unknown: did you mean {suggestion}?"
    group = name.rpartition(".")[0]
    siblings = [candidate for candidate in dict.fromkeys(names) if candidate.rpartition(".")[0] == group]
    choices = siblings or [candidate for candidate in names if "." not in candidate]
    return f"{name} is unknown: choose {_either(choices)}"


def shown(value: Any) -> str:
    """A value as on the command line: null, true, [a,b], quotes around text that looks like another type; one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, str) and value in ("", "null", "true", "false"):
        return f"'{value}'"
    text = " ".join(str(value).split())
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            float(value)
            return f"'{text}'"
    return text


def _line(cls: type[Settings], values: Any, error: Any, group: str) -> str:
    """One line about one of pydantic's errors."""
    place = _find(cls, error["loc"])
    key = ".".join([group, *place.names] if group else place.names)
    exact = place.depth == len(error["loc"])  # no error within the value of a setting
    if error["type"] == "extra_forbidden" and exact:
        above = f"{key.rpartition('.')[0]}." if "." in key else ""
        return unknown_setting(key, [*(above + name for name in _fields(place.owner)), *_names(cls, group)])
    if error["type"] == "missing" and exact and place.field is not None:
        return f"{key} is missing: {_advice(place.field, error)}"
    if error["type"] == "value_error" and (place.field is None or _nested(place.field.annotation)):
        rule = str(error["ctx"]["error"])
        return f"{key}.{rule}" if key else rule
    value = values
    for part in error["loc"][: place.depth]:
        value = value[part]
    if place.field is None:
        return f"{key or 'the configuration'}={shown(value)}: {_settings_of(place.owner)}"
    is_word = get_origin(_without_null(place.field.annotation)) is Literal
    return f"{key}={shown(value)}{' is unknown' if is_word else ''}: {_advice(place.field, error)}"


@dataclass
class _Place:
    """The setting that an error is about: names along the way, how many of pydantic's steps these are, the setting itself
    (None if the error is about a class as a whole, or the name is unknown), and the class that it is of."""

    names: list[str]
    depth: int
    field: FieldInfo | None
    owner: type[Settings]


def _find(cls: type[Settings], steps: tuple[int | str, ...]) -> _Place:
    place = _Place([], 0, None, cls)
    nested: type[Settings] | None = cls
    for step in steps:
        if nested is not None and isinstance(step, str):
            place = _Place([*place.names, step], place.depth + 1, _fields(nested).get(step), nested)
            nested = None if place.field is None else _nested(place.field.annotation)
        elif isinstance(step, int) and place.field is not None:
            nested = _listed(place.field.annotation)
            if nested is None:
                break
            place = _Place([*place.names[:-1], f"{place.names[-1]}[{step}]"], place.depth + 1, None, nested)
        else:
            break
    return place


def _advice(field: FieldInfo, error: Any) -> str:
    """What to give for a setting: by its description, by its words, or in pydantic's own words."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    nested = _nested(field.annotation)
    if nested is not None:
        return _settings_of(nested)
    null = ", or null" if field.annotation is not _without_null(field.annotation) else ""
    description = field.description
    kind = _without_null(field.annotation)
    if get_origin(kind) is Annotated:
        kind, *annotations = get_args(kind)
        descriptions = [entry.description for entry in annotations if isinstance(entry, FieldInfo)]
        description = description or (descriptions[0] if descriptions else None)
    if description is not None:
        return description + null
    if kind is bool:
        return f"choose true or false{null}"
    if get_origin(kind) is Literal:
        return f"choose {_either([*map(shown, get_args(kind)), *(['null'] if null else [])])}"
    return error["msg"][0].lower() + error["msg"][1:]


def _settings_of(cls: type[Settings]) -> str:
    return f"give its settings, {_either(list(_fields(cls)), 'and')}"


def _fields(cls: type[Settings]) -> dict[str, FieldInfo]:
    """By the name in the configuration, which is another than in the class where Python's own name is taken ("json")."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def _names(cls: type[Settings], group: str) -> Iterable[str]:
    """Dotted names of all settings."""
    for name, field in _fields(cls).items():
        key = f"{group}.{name}" if group else name
        yield key
        if (nested := _nested(field.annotation)) is not None:
            yield from _names(nested, key)


def _nested(annotation: Any) -> type[Settings] | None:
    kind = _without_null(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _listed(annotation: Any) -> type[Settings] | None:
    """The class of the settings of which the setting is a list."""
    kind = _without_null(annotation)
    return _nested(get_args(kind)[0]) if get_origin(kind) is list else None


def _without_null(annotation: Any) -> Any:
    """X of `X | None`; any other type as it is."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation


def _missing(settings: Settings, group: str) -> Iterable[str]:
    """Settings of the groups in `settings` that were not given."""
    for name in type(settings).model_fields:
        part = getattr(settings, name)
        if isinstance(part, Settings):
            key = f"{group}.{name}" if group else name
            unset = [field for field in type(part).model_fields if field not in part.model_fields_set]
            yield from (f"{key}.{field}" for field in unset)
            yield from _missing(part, key)


def _either(words: list[str], last: str = "or") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)
