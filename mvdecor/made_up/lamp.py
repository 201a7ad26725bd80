"""Lamps: floor, table, desk (jointed), pendant and chandelier, with shades, bulbs, cords and chains."""

from __future__ import annotations

import numpy as np

from mvdecor.made_up.model import Model, Sampler, short_names
from mvdecor.made_up.solids import (
    Array,
    Solid,
    arc,
    ball,
    bar,
    chain,
    circle,
    lathe,
    merged,
    rectangle,
    rotation,
    slab,
    torus,
    tube,
)

LABELS = (
    "lamp/lamp_head/lamp_cover/shade",
    "lamp/lamp_head/lamp_cover/fitter",
    "lamp/lamp_head/lamp_cover/finial",
    "lamp/lamp_head/bulb",
    "lamp/lamp_body/pole",
    "lamp/lamp_body/body_solid",
    "lamp/lamp_body/jointed/arm",
    "lamp/lamp_body/jointed/joint",
    "lamp/lamp_base/standing_base/plate",
    "lamp/lamp_base/standing_base/leg",
    "lamp/lamp_base/canopy",
    "lamp/suspension",
    "lamp/power_cord",
)


def make_lamp(sample: Sampler) -> Model:
    """One lamp, 0.3 to 1.7 m high."""
    model = Model("Lamp", short_names(LABELS))
    kind = sample.deal("kind", ("floor", "desk", "table", "pendant", "chandelier", "floor"))
    make = {"floor": _floor, "desk": _desk, "table": _table, "pendant": _pendant, "chandelier": _chandelier}[kind]
    make(model, sample)
    return model


def _shade(sample: Sampler, radius: float, height: float, sides: int = 20) -> tuple[Solid, float, float]:
    """A thin-walled open shade about the origin; returns it with its lower and upper radius."""
    kind = sample.deal("shade", ("drum", "cone", "bell", "globe"))
    t = np.linspace(0, 1, 7)
    top = {"drum": sample.between(0.85, 1.0), "cone": sample.between(0.3, 0.6), "bell": 0.35, "globe": 0.55}[kind]
    outer = radius * (1 + (top - 1) * t)
    if kind == "bell":
        outer = radius * (top + (1 - top) * (1 - t) ** 2.2)
    elif kind == "globe":
        outer = radius * np.sqrt(np.clip(1 - (1.7 * t - 0.87) ** 2, 0.2, 1))
    wall, y = 0.006, height * (t - 0.5)
    profile = list(zip(outer, y, strict=True)) + list(zip(outer[::-1] - wall, y[::-1], strict=True))
    return lathe(profile, sides, loop=True), float(outer[0]), float(outer[-1])


def _bulb(radius: float) -> Solid:
    """A bulb hanging below the origin when turned over; its cap at the origin, its glass above."""
    glass = [(radius * np.cos(a), radius * (1.6 + np.sin(a))) for a in np.linspace(-0.9, 1.4, 6)]
    return lathe([(0.0, 0.0), (radius * 0.4, 0.0), (radius * 0.4, radius * 0.6), *glass, (0.0, radius * 2.6)], 10)


def _fitter(reach: float, spokes: int) -> Solid:
    """A ring in the middle and spokes out to the shade."""
    turns = [rotation("y", 360 * i / spokes) for i in range(spokes)]
    wires = [bar((0.012, 0, 0), (reach, 0, 0), circle(0.005, 5)).turned(turn) for turn in turns]
    return merged([torus(0.014, 0.006, 10, 6), *wires])


def _standing_head(model: Model, sample: Sampler, y: float, radius: float, height: float) -> None:
    """Shade, fitter, bulb and perhaps a finial on top of an upright pole that ends at y."""
    shade, _, top = _shade(sample, radius, height)
    center = y + height * sample.between(0.1, 0.35)
    model.add("shade", shade.moved(y=center))
    model.add("bulb", _bulb(min(0.03, radius * 0.35)).moved(y=y))
    rim = center + height * 0.47
    model.add("fitter", _fitter(top - 0.003, 3).moved(y=rim))
    if sample.deal("finial", (True, False)):
        model.add("finial", ball(0.018, 10, squash=1.4).moved(y=rim + 0.03))


def _cord(model: Model, sample: Sampler, start: tuple[float, float, float]) -> None:
    """A cable from `start` that trails away over the floor."""
    angle = sample.between(0, 2 * np.pi)
    direction = np.array([np.cos(angle), 0, np.sin(angle)])
    side, length = np.cross(direction, [0, 1, 0]), sample.between(0.2, 0.4)
    first = np.array(start)
    turns = [first, first + direction * length * 0.5 + side * 0.1, first + direction * length * 0.7 - side * 0.3]
    model.add("power_cord", tube(arc([*turns, first + direction * length], 14), 0.008, 6))


def _plate(model: Model, sample: Sampler, radius: float) -> float:
    """A base plate; returns its height."""
    thick = sample.between(0.012, 0.035)
    if sample.deal("plate", ("round", "square", "dome")) == "square":
        solid = slab(rectangle(1.7 * radius, 1.7 * radius, 6), thick, bevel=0.004).moved(y=thick / 2)
    else:
        crown = [(radius, 0.0), (radius, thick * 0.6), (radius * 0.6, thick * 0.8), (radius * 0.2, thick)]
        solid = lathe([(0.0, 0.0), (radius * 0.5, 0.0), *crown, (0.0, thick)], 24)
    model.add("plate", solid)
    return thick


def _floor(model: Model, sample: Sampler) -> None:
    height = sample.between(1.0, 1.5)
    low = 0.0
    if sample.deal("floor base", ("plate", "tripod", "tripod")) == "tripod":
        low, spread = height * sample.between(0.25, 0.6), sample.between(0.2, 0.35)
        for i in range(3):
            leg = bar((0, low + 0.02, 0), (spread, 0, 0), circle(0.014, 8), 0.7)
            model.add("leg", leg.turned(rotation("y", 120 * i)))
    else:
        low = _plate(model, sample, sample.between(0.12, 0.18))
    pole = circle(sample.between(0.01, 0.018), 8)
    radius = sample.between(0.14, 0.26)
    if sample.deal("bow", (False, True)):
        reach = sample.between(0.3, 0.5)
        path = arc([(0, height * 0.8, 0), (0, height * 1.25, 0), (reach, height * 1.25, 0), (reach, height, 0)], 14)
        model.add("pole", bar((0, low, 0), (0, height * 0.8, 0), pole, step=0.12))
        model.add("arm", tube(path, 0.011, 8))
        _hanging_head(model, sample, np.array([reach, height, 0.0]), radius * 0.8)
    else:
        model.add("pole", bar((0, low, 0), (0, height, 0), pole, step=0.12))
        _standing_head(model, sample, height, radius, sample.between(0.16, 0.3))
    _cord(model, sample, (0.0, 0.008, 0.0))


def _table(model: Model, sample: Sampler) -> None:
    low = _plate(model, sample, sample.between(0.07, 0.11))
    height = sample.between(0.18, 0.32)
    bumps = sample.count(1, 3)
    wide, t = sample.between(0.035, 0.08), np.linspace(0, 1, 14)
    swell = 0.35 + 0.65 * np.abs(np.sin(np.pi * bumps * (0.1 + 0.85 * t)))
    profile = list(zip(wide * swell, low + height * t, strict=True))
    model.add("body_solid", lathe([(0.0, low), *profile, (0.0, low + height)], 18))
    top = low + height + sample.between(0.03, 0.07)
    model.add("pole", bar((0, low + height, 0), (0, top, 0), circle(0.009, 8)))
    _standing_head(model, sample, top, sample.between(0.1, 0.17), sample.between(0.11, 0.2))
    if sample.deal("table cord", (True, True, False)):
        _cord(model, sample, (0.0, 0.008, 0.0))


def _desk(model: Model, sample: Sampler) -> None:
    low = _plate(model, sample, sample.between(0.07, 0.11))
    bend = sample.between(15, 50)
    first, second = sample.between(0.2, 0.32), sample.between(0.18, 0.3)
    section = sample.section("arm section", 0.014, 0.022)
    foot = np.array([0.0, low + 0.02, 0.0])
    elbow = foot + first * np.array([-np.sin(np.deg2rad(bend)), np.cos(np.deg2rad(bend)), 0])
    lift = np.deg2rad(sample.between(-10, 40))
    head = elbow + second * np.array([np.cos(lift), np.sin(lift), 0])
    model.add("arm", bar(foot, elbow, section, step=0.05))
    model.add("arm", bar(elbow, head, section, step=0.05))
    for point in (foot, elbow, head):
        model.add("joint", ball(0.018, 10).moved(*point))
    radius = sample.between(0.06, 0.09)
    _hanging_head(model, sample, head, radius, tilt=sample.between(-10, 40))
    if sample.deal("desk cord", (True, False)):
        _cord(model, sample, (-0.02, 0.008, 0.0))


def _hanging_head(model: Model, sample: Sampler, point: Array, radius: float, tilt: float = 0.0) -> None:
    """A shade open downwards with its bulb, hung from `point` and tilted about z."""
    height = radius * sample.between(0.9, 1.4)
    shade, _, top = _shade(sample, radius, height)
    turn = rotation("z", tilt)
    hang = -height * 0.45
    model.add("shade", shade.moved(y=hang).turned(turn).moved(*point))
    model.add("fitter", _fitter(top - 0.003, 4).turned(turn).moved(*point))
    bulb = _bulb(radius * 0.33).turned(rotation("x", 180))
    model.add("bulb", bulb.turned(turn).moved(*point))


def _suspension(model: Model, sample: Sampler, high: float, low: float) -> None:
    """Canopy at the ceiling and a chain or a cable down from it."""
    radius = sample.between(0.05, 0.09)
    flat = [(0.0, high), (radius, high), (radius, high - 0.012), (radius * 0.4, high - 0.035), (0.0, high - 0.035)]
    model.add("canopy", lathe(flat, 20))
    if sample.deal("suspension", ("chain", "cable")) == "chain":
        model.add("suspension", chain((0, high - 0.03, 0), (0, low, 0), 0.018, 0.005))
    else:
        t = np.linspace(high - 0.03, low, 12)
        model.add("suspension", tube(np.stack([0 * t, t, 0 * t], axis=1), 0.006, 6))


def _pendant(model: Model, sample: Sampler) -> None:
    length = sample.between(0.3, 0.7)
    _suspension(model, sample, length, 0.0)
    radius = sample.between(0.12, 0.22)
    _hanging_head(model, sample, np.zeros(3), radius)
    if sample.deal("pendant finial", (True, False)):
        # on top of the fitter, around the wire: the same small body that crowns a table lamp
        model.add("finial", ball(0.02, 10, squash=1.4).moved(y=0.02))


def _chandelier(model: Model, sample: Sampler) -> None:
    length, reach, size = sample.between(0.25, 0.5), sample.between(0.22, 0.36), sample.between(0.03, 0.05)
    _suspension(model, sample, length, 0.08)
    heights = np.linspace(-0.1, 0.08, 9)
    profile = [(size * (0.45 + 0.55 * np.cos(8 * y) ** 2), y) for y in heights]
    model.add("body_solid", lathe([(0.0, -0.1), *profile, (0.0, 0.08)], 14))
    model.add("finial", ball(0.018, 10, squash=1.4).moved(y=-0.12))
    count, drop, shaded = sample.count(3, 6), sample.between(0.05, 0.15), sample.deal("covered", (True, False))
    for i in range(count):
        turn = rotation("y", 360 * i / count)
        path = arc([(0, 0, 0), (reach * 0.5, -2 * drop, 0), (reach, -drop, 0), (reach, 0.03, 0)], 10)
        model.add("arm", tube(path, 0.009, 6).turned(turn))
        model.add("bulb", _bulb(0.026).moved(reach, 0.03).turned(turn))
        if shaded:
            profile = [(0.07, 0.0), (0.045, 0.09), (0.041, 0.09), (0.066, 0.0)]
            model.add("shade", lathe(profile, 14, loop=True).moved(reach, 0.04).turned(turn))
