"""Made-up rooms: a floor, two walls and five textured objects, each known by a name such as "red striped lamp".

Ten pairs of a kind and a colour are held out: rooms to train on never show them, other rooms show nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mvdecor.made_up.furnishings import KINDS
from mvdecor.made_up.paint import MARGIN, tile_of, unfold
from mvdecor.made_up.solids import Array, Solid, merged, rotation
from mvdecor.shapes.shape import Shape, Texture

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 35),
    "orange": (240, 130, 20),
    "yellow": (235, 215, 50),
    "green": (45, 150, 60),
    "blue": (40, 80, 205),
    "purple": (125, 50, 160),
    "pink": (245, 140, 185),
    "brown": (120, 75, 40),
}
"""Colour of each name, RGB."""
PATTERNS: dict[str, str] = {"plain": "plain", "striped": "stripes", "checked": "checks", "dotted": "dots"}
"""Pattern of `paint.tile_of` for each word."""
SYNONYMS: dict[str, tuple[str, ...]] = {
    "ball": ("sphere", "globe"),
    "box": ("crate", "cube"),
    "bottle": ("flask",),
    "vase": ("urn", "flower pot"),
    "cup": ("mug",),
    "lamp": ("lantern", "light"),
    "chair": ("seat",),
    "table": ("desk",),
    "sofa": ("couch", "settee"),
    "pyramid": ("tent",),
}
"""Other words for each kind."""
SURFACES = ("floor", "wall")
OBJECTS = 5
TILE = 192
"""Pixels per side of one texture in the atlas."""
X, Y, Z = range(3)
REACH, SPAN = 1.8, (7.8, 3.5, 7.8)
"""Metres: the walls stand at -REACH along x and z; how far they and the floor go from there, beyond all views."""
GAP = 0.08
"""Least distance between objects, metres."""


@dataclass(frozen=True)
class Composition:
    """What an object is: a kind, a colour and a pattern, keys of `KINDS`, `COLOURS` and `PATTERNS`."""

    kind: str
    colour: str
    pattern: str

    @property
    def name(self) -> str:
        """As in "red striped lamp"; a plain object has two words."""
        words = (self.colour, self.kind) if self.pattern == "plain" else (self.colour, self.pattern, self.kind)
        return " ".join(words)

    @property
    def held_out(self) -> bool:
        """Whether its kind and colour are one of the ten pairs that rooms to train on do not show."""
        return (self.kind, self.colour) in HELD_OUT


HELD_OUT = frozenset((kind, list(COLOURS)[(3 * i + 1) % len(COLOURS)]) for i, kind in enumerate(KINDS))
"""The ten pairs (kind, colour): each kind once."""


@dataclass(frozen=True)
class Room:
    """A room as a mesh.

    Attributes:
        shape: textured, in metres, y up; a label per face: 0 floor, 1 wall, then the objects. Not normalised.
        objects: what these are.
    """

    shape: Shape
    objects: tuple[Composition, ...]


def make_room(id: str, seed: int, held_out: bool = False) -> Room:
    """A room with `OBJECTS` objects of different kinds.

    Args:
        id: of the shape.
        seed: everything follows from it.
        held_out: its objects are all of held-out pairs; False: none is.
    """
    rng = np.random.default_rng([seed, int(held_out), 19])
    objects = _compositions(rng, held_out)
    solids = _placed([merged(KINDS[label.kind](rng)) for label in objects], rng)
    groups = [[_plate(X, Z)], [_plate(X, Y), _plate(Z, Y)], *([solid] for solid in solids)]
    tiles = [
        _surface_tile(rng, "checks"),
        _surface_tile(rng, "grain"),
        *(_object_tile(label, rng) for label in objects),
    ]
    atlas, uv = _atlas(groups, tiles)
    mesh = merged([solid for group in groups for solid in group])
    counts = [sum(len(solid.faces) for solid in group) for group in groups]
    faces = torch.from_numpy(mesh.faces)
    texture = Texture(
        torch.from_numpy(uv).float(), (torch.from_numpy(atlas),), torch.zeros(len(faces), dtype=torch.int64)
    )
    labels = torch.arange(len(groups)).repeat_interleave(torch.tensor(counts))
    names = (*SURFACES, *(label.name for label in objects))
    shape = Shape(id, torch.from_numpy(mesh.vertices).float(), faces, labels, names, texture, "Room")
    return Room(shape, objects)


def _compositions(rng: np.random.Generator, held_out: bool) -> tuple[Composition, ...]:
    kinds = rng.permutation(list(KINDS))[:OBJECTS].tolist()
    objects = []
    for kind in kinds:
        colours = [colour for colour in COLOURS if ((kind, colour) in HELD_OUT) == held_out]
        objects.append(
            Composition(kind, colours[rng.integers(len(colours))], list(PATTERNS)[rng.integers(len(PATTERNS))])
        )
    return tuple(objects)


def _placed(solids: Sequence[Solid], rng: np.random.Generator) -> list[Solid]:
    """Each turned and moved to a place on the floor where it touches no other."""
    radii = [float(np.linalg.norm(solid.vertices[:, [0, 2]], axis=1).max()) for solid in solids]
    edge = 1.0
    while (centers := _centers(radii, edge, rng)) is None:
        edge += 0.02
    turned = [solid.turned(rotation("y", float(rng.uniform(0, 360)))) for solid in solids]
    return [solid.moved(centers[i][0], 0.0, centers[i][1]) for i, solid in enumerate(turned)]


def _centers(radii: Sequence[float], edge: float, rng: np.random.Generator) -> dict[int, Array] | None:
    """A place (x, z) for each, the widest first, between the walls and an edge; None if none was found for one of them."""
    centers: dict[int, Array] = {}
    for i in sorted(range(len(radii)), key=lambda number: -radii[number]):
        places = rng.uniform(-REACH + radii[i] + GAP, edge - radii[i] / 2, (50, 2))
        free = [
            place
            for place in places
            if all(np.linalg.norm(place - center) > radii[i] + radii[j] + GAP for j, center in centers.items())
        ]
        if not free:
            return None
        centers[i] = free[0]
    return centers


def _plate(first: int, second: int) -> Solid:
    """A flat sheet of 16 x 16 cells from the corner of the room along two axes: the floor or a wall."""
    t = np.linspace(0, 1, 17)
    points = np.tile([-REACH, 0.0, -REACH], (17, 17, 1))
    points[..., first] += t[:, None] * SPAN[first]
    points[..., second] += t[None, :] * SPAN[second]
    index = np.arange(17 * 17).reshape(17, 17)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Solid(points.reshape(-1, 3), faces.astype(np.int64))


def _object_tile(object: Composition, rng: np.random.Generator) -> NDArray[np.uint8]:
    colour = np.array(COLOURS[object.colour], dtype=np.float64)
    second = colour + 0.75 * (255 - colour) if colour.mean() < 150 else 0.35 * colour
    return _tile(np.stack([colour, second]), PATTERNS[object.pattern], float(rng.uniform(0.28, 0.4)), rng)


def _surface_tile(rng: np.random.Generator, pattern: str) -> NDArray[np.uint8]:
    """Nearly grey, so that no object has its colour."""
    grey = rng.uniform(150, 215) + rng.uniform(-12, 12, 3)
    return _tile(np.stack([grey, grey - 22]), pattern, 0.07, rng)


def _tile(colours: Array, pattern: str, period: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    material = {"colours": colours, "pattern": pattern, "period": period, "angle": float(rng.uniform(0, np.pi))}
    return tile_of(material, TILE, rng)


def _atlas(groups: Sequence[Sequence[Solid]], tiles: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], Array]:
    """Tiles side by side, uint8 [TILE, TILE * groups, 3]; and where each face lies in them, float64 [F, 3, 2]."""
    corners = []
    for i, group in enumerate(groups):
        inside = (MARGIN + (TILE - 2 * MARGIN) * unfold(group)) / TILE
        corners.append((inside + np.array([i, 0])) / np.array([len(groups), 1]))
    return np.concatenate(tiles, axis=1), np.concatenate(corners)
