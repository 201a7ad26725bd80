"""Tables and desks: legs, trestle, column or cabinet; optional aprons, stretchers, shelves, drawers and doors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mvdecor.made_up.model import Model, Sampler, short_names
from mvdecor.made_up.solids import (
    Array,
    Solid,
    ball,
    bar,
    box,
    ellipse,
    lathe,
    rectangle,
    rotation,
    rounded,
    slab,
    sweep,
    tube,
)

LABELS = (
    "table/tabletop/tabletop_surface/board",
    "table/tabletop/tabletop_frame/rim",
    "table/table_base/leg_base/leg",
    "table/table_base/leg_base/apron",
    "table/table_base/leg_base/stretcher",
    "table/table_base/foot_base/column",
    "table/table_base/foot_base/foot",
    "table/storage/shelf",
    "table/storage/side_panel",
    "table/storage/drawer/drawer_front",
    "table/storage/drawer/drawer_handle",
    "table/storage/cabinet_door/door",
    "table/storage/cabinet_door/door_handle",
)


def make_table(sample: Sampler) -> Model:
    """One table; its top 0.4 to 0.8 m high."""
    model = Model("Table", short_names(LABELS))
    width, depth, height = sample.between(0.7, 1.6), sample.between(0.5, 0.85), sample.between(0.42, 0.8)
    thick = sample.between(0.012, 0.05)
    kind = sample.deal("kind", ("legs", "desk", "column", "legs", "trestle", "desk"))
    if kind == "column":
        width = depth * sample.between(1.0, 1.3)
    shape = sample.deal("top", ("rectangle", "rounded", "rectangle", "bevelled", "ellipse"))
    if kind == "desk" and shape in ("ellipse", "rounded"):
        shape = "bevelled"
    _top(model, sample, shape, width, depth, thick, height)
    inset = {"ellipse": 0.2, "rounded": 0.11}.get(shape, 0.07)
    x, z = width / 2 - inset * width, depth / 2 - inset * depth
    if kind == "legs":
        _legs(model, sample, x, z, height)
    elif kind == "trestle":
        _trestle(model, sample, x, z, height)
    elif kind == "column":
        _column(model, sample, min(width, depth), height)
    else:
        _desk(model, sample, x, z, height)
    return model


def _top(model: Model, sample: Sampler, shape: str, width: float, depth: float, thick: float, height: float) -> None:
    outline = {
        "rectangle": rectangle(width, depth, 8),
        "bevelled": rectangle(width, depth, 8),
        "rounded": rounded(width, depth, 0.4, 36),
        "ellipse": ellipse(width / 2, depth / 2, 32),
    }[shape]
    bevel = 0.0 if shape == "rectangle" else min(0.3 * thick, 0.012)
    model.add("board", slab(outline, thick, bevel, rings=4).moved(y=height + thick / 2))
    if sample.deal("rim", (True, False, False)):
        edge = np.concatenate([outline, outline[:1]])
        size = rectangle(sample.between(0.015, 0.03), thick + sample.between(0.015, 0.03))
        _rim(model, shape, edge, size, height + thick / 2)


def _rim(model: Model, shape: str, edge: Array, section: Array, y: float) -> None:
    """A band around the top: four bars, or the two halves of a curve."""
    cuts = np.arange(5) * 8 if shape in ("rectangle", "bevelled") else np.array([0, len(edge) // 2, len(edge) - 1])
    for start, end in pairwise(cuts):
        run = edge[start : end + 1]
        model.add("rim", sweep(np.stack([run[:, 0], np.full(len(run), y), run[:, 1]], axis=1), section))


def _legs(model: Model, sample: Sampler, x: float, z: float, height: float) -> None:
    section = sample.section("leg section", 0.03, 0.075)
    splay, taper = sample.between(0.9, 1.15), sample.between(0.45, 1.1)
    corners = [(sx, sz) for sx in (-1, 1) for sz in (-1, 1)]
    for sx, sz in corners:
        model.add("leg", bar((sx * x, height, sz * z), (sx * x * splay, 0, sz * z * splay), section, taper))
    extra = sample.deal("legs extra", ("apron", "apron drawer", "none", "apron"))
    if extra != "none":
        _aprons(model, sample, x, z, height, extra == "apron drawer")
    low = sample.deal("below", ("stretcher", "shelf", "none", "h"))
    if low == "none":
        return
    y = height * sample.between(0.15, 0.4)
    spread = splay + (1 - splay) * y / height
    if low == "shelf":
        model.add("shelf", box(2 * x * spread, 0.018, 2 * z * spread, steps=6).moved(y=y))
        return
    _stretchers(model, sample, low, x * spread, z * spread, y)


def _aprons(model: Model, sample: Sampler, x: float, z: float, height: float, drawer: bool) -> None:
    tall = sample.between(0.1, 0.14) if drawer else sample.between(0.05, 0.1)
    section, y = rectangle(0.02, tall), height - tall / 2
    for s in (-1, 1):
        model.add("apron", bar((s * x, y, -z), (s * x, y, z), section))
        model.add("apron", bar((-x, y, s * z), (x, y, s * z), section))
    if drawer:
        count = sample.count(1, 3)
        wide = 1.7 * x / count
        for i in range(count):
            _drawer(model, sample, (i - (count - 1) / 2) * wide * 1.03, y, z + 0.018, wide * 0.92, tall * 0.8)


def _stretchers(model: Model, sample: Sampler, kind: str, x: float, z: float, y: float) -> None:
    section = sample.section("stretcher section", 0.02, 0.035)
    for s in (-1, 1):
        model.add("stretcher", bar((s * x, y, -z), (s * x, y, z), section))
        if kind == "stretcher":
            model.add("stretcher", bar((-x, y, s * z), (x, y, s * z), section))
    if kind == "h":
        model.add("stretcher", bar((-x, y, 0), (x, y, 0), section))


def _trestle(model: Model, sample: Sampler, x: float, z: float, height: float) -> None:
    """Two ends, each one or two uprights on a foot, held together by a stretcher."""
    section, foot = sample.section("leg section", 0.04, 0.08), rectangle(0.07, 0.05)
    cross = sample.deal("trestle", ("one", "two", "cross"))
    for s in (-1, 1):
        model.add("foot", bar((s * x, 0.025, -z), (s * x, 0.025, z), foot))
        if cross == "one":
            model.add("leg", bar((s * x, height, 0), (s * x, 0.05, 0), section))
        else:
            for sz in (-1, 1):
                low = -sz if cross == "cross" else sz
                model.add("leg", bar((s * x, height, sz * z * 0.7), (s * x, 0.05, low * z * 0.7), section))
    y = height * sample.between(0.25, 0.6)
    ends = (0,) if cross != "two" else (-0.7 * z, 0.7 * z)
    beam = sample.section("stretcher section", 0.025, 0.05)
    for end in ends:
        model.add("stretcher", bar((-x, y, end), (x, y, end), beam))


def _column(model: Model, sample: Sampler, width: float, height: float) -> None:
    radius, reach = sample.between(0.025, 0.07), width * sample.between(0.25, 0.42)
    low = 0.04
    if sample.deal("foot", ("disc", "star", "square")) == "star":
        count = sample.count(3, 5)
        for i in range(count):
            path = [(0, 0.11, 0), (reach * 0.5, 0.08, 0), (reach, 0.02, 0)]
            model.add("foot", tube(path, 0.025, 8).turned(rotation("y", 360 * i / count)))
        low = 0.09
    elif sample.deal("disc", (True, False)):
        model.add("foot", lathe([(0, 0), (reach / 2, 0), (reach, 0), (reach, 0.015), (radius, 0.04), (0, 0.04)], 28))
    else:
        model.add("foot", slab(rectangle(1.6 * reach, 1.6 * reach, 6), 0.04, bevel=0.01).moved(y=0.02))
    waist, heights = sample.between(0.5, 1.8), np.linspace(low, height, 9)
    profile = [(radius * (1 + (waist - 1) * np.sin(np.pi * (y - low) / (height - low)) ** 2), y) for y in heights]
    model.add("column", lathe([(0.0, low), *profile, (0.0, height)], 14))
    if sample.deal("column shelf", (True, False)):
        y = height * sample.between(0.35, 0.6)
        model.add("shelf", slab(ellipse(reach * 0.8, reach * 0.8, 24), 0.02).moved(y=y))


def _desk(model: Model, sample: Sampler, x: float, z: float, height: float) -> None:
    """One or two cabinets under the top; legs under the other end."""
    sides = sample.deal("cabinets", ((-1,), (-1, 1), (1,)))
    wide = min(sample.between(0.3, 0.5), 0.85 * x)
    bottom = sample.between(0.0, 0.3) * height
    for s in sides:
        fill = sample.deal("filling", ("drawers", "door", "drawer and door", "drawer and shelf"))
        _cabinet(model, sample, s * (x - wide / 2), wide, z, bottom, height, fill)
    section = sample.section("leg section", 0.03, 0.06)
    for s in (-1, 1):
        for sz in (-1, 1):
            if s not in sides:
                model.add("leg", bar((s * x, height, sz * z), (s * x, 0, sz * z), section))
            elif bottom > 0.05:
                model.add(
                    "leg", bar((s * (x - 0.03), bottom, sz * (z - 0.03)), (s * (x - 0.03), 0, sz * (z - 0.03)), section)
                )
                inner = s * (x - wide + 0.03)
                model.add("leg", bar((inner, bottom, sz * (z - 0.03)), (inner, 0, sz * (z - 0.03)), section))


def _cabinet(
    model: Model, sample: Sampler, x: float, wide: float, z: float, low: float, high: float, fill: str
) -> None:
    thin, tall, middle = 0.016, high - low, (low + high) / 2
    for s in (-1, 1):
        model.add("side_panel", box(thin, tall, 2 * z).moved(x + s * (wide - thin) / 2, middle))
    model.add("side_panel", box(wide - 2 * thin, tall, thin).moved(x, middle, -z + thin / 2))
    model.add("shelf", box(wide - 2 * thin, thin, 2 * z).moved(x, low + thin / 2))
    inner, front = wide - 2 * thin - 0.008, z - 0.012
    if fill == "drawers":
        count = sample.count(2, 4)
        drawer_height = (tall - thin) / count
        for i in range(count):
            _drawer(model, sample, x, low + thin + (i + 0.5) * drawer_height, front, inner, drawer_height - 0.012)
        return
    bottom, top = low + thin, high
    if fill != "door":
        drawer_height = tall * 0.3
        _drawer(model, sample, x, high - drawer_height / 2, front, inner, drawer_height - 0.012)
        top = high - drawer_height
        model.add("shelf", box(wide - 2 * thin, thin, 2 * z - 0.03).moved(x, top))
    if fill == "drawer and shelf":
        model.add("shelf", box(wide - 2 * thin, thin, 2 * z - 0.03).moved(x, (bottom + top) / 2))
        return
    model.add("door", box(inner, top - bottom - 0.014, thin, steps=6).moved(x, (bottom + top) / 2, front))
    side = sample.deal("hinge", (-1, 1))
    model.add(
        "door_handle", _handle(sample, upright=True).moved(x + side * inner * 0.36, (bottom + top) / 2, front + 0.008)
    )


def _drawer(model: Model, sample: Sampler, x: float, y: float, z: float, wide: float, tall: float) -> None:
    model.add("drawer_front", box(wide, tall, 0.016, steps=5).moved(x, y, z))
    model.add("drawer_handle", _handle(sample, upright=False).moved(x, y, z + 0.008))


def _handle(sample: Sampler, upright: bool) -> Solid:
    """A knob or a bent bar in front of the plane z = 0; drawers and doors share both kinds."""
    if sample.deal("handle", ("knob", "bar")) == "knob":
        return ball(sample.between(0.013, 0.02), 10).moved(z=0.012)
    half, out = sample.between(0.04, 0.07), 0.028
    path = [(-half, 0, 0), (-half, 0, out), (0, 0, out), (half, 0, out), (half, 0, 0)]
    handle = tube(path, 0.007, 6)
    return handle.turned(rotation("z", 90)) if upright else handle
