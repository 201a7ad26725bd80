"""Shared by the generators of chairs, tables and lamps: a `Model` of labelled parts and the seeded `Sampler`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from mvdecor.made_up.solids import Array, Solid, circle, rectangle

Option = TypeVar("Option")


@dataclass(frozen=True)
class Part:
    """One instance of a part: its label (path from the root, e.g. "chair/chair_back/back_panel") and its solids."""

    label: str
    solids: tuple[Solid, ...]


@dataclass
class Model:
    """A made-up shape: its category and parts, y up, front towards +z, standing on (or hung above) the origin.

    `paths` maps the short name of a label to its full path.
    """

    category: str
    paths: dict[str, str]
    parts: list[Part] = field(default_factory=list)

    def add(self, name: str, *solids: Solid) -> None:
        """Add one part instance under the label with that short name."""
        self.parts.append(Part(self.paths[name], solids))

    def scaled(self) -> Model:
        """Centred on its bounding box and scaled into the unit sphere, as PartNet's files are."""
        points = np.concatenate([s.vertices for p in self.parts for s in p.solids])
        center = (points.min(axis=0) + points.max(axis=0)) / 2
        radius = np.linalg.norm(points - center, axis=1).max()
        parts = [Part(p.label, tuple(s.bent(lambda v: (v - center) / radius) for s in p.solids)) for p in self.parts]
        return Model(self.category, self.paths, parts)


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """From the last component of each label to its full path."""
    return {label.rsplit("/", 1)[-1]: label for label in labels}


class Sampler:
    """Seeded choices. Kinds are dealt from a shuffled deck, so that even a few shapes show every one of them."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(list(seed))
        self._decks: dict[str, list[int]] = {}

    def deal(self, name: str, options: Sequence[Option]) -> Option:
        """The next card of the deck `name`; each option comes once before the deck is shuffled again."""
        if not self._decks.get(name):
            self._decks[name] = [int(i) for i in self.rng.permutation(len(options))]
        return options[self._decks[name].pop()]

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def section(self, name: str, low: float, high: float) -> Array:
        """The cross-section [K, 2] of a bar: round or square (dealt from the deck `name`), `low` to `high` across."""
        size = self.between(low, high)
        return circle(size / 2, 8) if self.deal(name, ("round", "square")) == "round" else rectangle(size, size)
