"""Chairs and stools: four legs, sled, pedestal or star base; solid, slatted, ladder or framed backs; arms or none."""

from __future__ import annotations

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
    torus,
)

LABELS = (
    "chair/chair_back/back_surface/back_panel",
    "chair/chair_back/back_surface/back_bar",
    "chair/chair_back/back_frame/back_post",
    "chair/chair_back/back_frame/back_rail",
    "chair/chair_arm/arm_rest",
    "chair/chair_arm/arm_support",
    "chair/chair_base/leg_base/leg",
    "chair/chair_base/leg_base/stretcher",
    "chair/chair_base/foot_base/column",
    "chair/chair_base/foot_base/foot",
    "chair/chair_base/foot_base/wheel",
    "chair/chair_seat/seat_surface/seat_board",
    "chair/chair_seat/seat_frame/apron",
)


def make_chair(sample: Sampler) -> Model:
    """One chair; seat about 0.45 m high."""
    model = Model("Chair", short_names(LABELS))
    width, depth, height = sample.between(0.38, 0.6), sample.between(0.36, 0.55), sample.between(0.38, 0.55)
    thick = sample.between(0.015, 0.09)
    base = sample.deal("base", ("legs", "star", "legs", "sled", "pedestal", "star", "legs"))
    seat = sample.deal("seat", ("square", "rounded", "bevelled", "round"))
    model.add("seat_board", _seat(seat, width, depth, thick).moved(y=height + thick / 2))
    if base in ("legs", "sled"):
        _legs(model, sample, width, depth, height, base == "sled", seat)
    else:
        _column(model, sample, min(width, depth), height, base == "star")
    back = sample.deal("back", ("panel", "slats", "ladder", "framed", "slats", "ladder", "panel", "none"))
    top = height + thick
    if back != "none":
        # a round seat is narrow at its rear: a wide back would stand in the air
        share = sample.between(0.5, 0.65) if seat == "round" else sample.between(0.75, 0.98)
        rear = depth * (np.sqrt(1 - share**2) if seat == "round" else 1) / 2
        _back(model, sample, back, width * share, rear - 0.03, top)
    if back != "none" and seat != "round" and sample.deal("arms", (True, True, False)):
        _arms(model, sample, width, depth, top)
    return model


def _seat(kind: str, width: float, depth: float, thick: float) -> Solid:
    if kind == "square":
        return slab(rectangle(width, depth, 6), thick)
    if kind == "rounded":
        return slab(rounded(width, depth, 0.45), thick, bevel=0.006)
    if kind == "bevelled":
        return slab(rectangle(width, depth, 6), thick, bevel=0.02)
    return slab(ellipse(width / 2, depth / 2, 28), thick, bevel=0.01)


def _legs(model: Model, sample: Sampler, width: float, depth: float, height: float, sled: bool, seat: str) -> None:
    inset = {"round": 0.19 * width, "rounded": 0.055}.get(seat, 0.03)
    x, z = width / 2 - inset, depth / 2 - inset
    section = sample.section("leg section", 0.022, 0.05)
    splay = 1.0 if sled else sample.between(0.9, 1.3)
    taper = 1.0 if sled else sample.between(0.5, 1.1)
    floor = 0.015 if sled else 0.0
    corners = [(sx, sz) for sx in (-1, 1) for sz in (-1, 1)]
    for sx, sz in corners:
        model.add("leg", bar((sx * x, height, sz * z), (sx * x * splay, floor, sz * z * splay), section, taper))
    if sled:
        runner = sample.section("runner section", 0.022, 0.04)
        for sx in (-1, 1):
            reach = z + sample.between(0.01, 0.06)
            model.add("foot", bar((sx * x, 0.012, -reach), (sx * x, 0.012, reach), runner))
    if seat != "round" and sample.deal("apron", (True, True, False)):
        _aprons(model, sample, x, z, height)
    kind = sample.deal("stretchers", ("box", "none", "h", "cross", "none"))
    _stretchers(model, sample, kind, x, z, height, splay)


def _aprons(model: Model, sample: Sampler, x: float, z: float, height: float) -> None:
    section, drop = rectangle(0.018, sample.between(0.04, 0.09)), height
    y = drop - float(section[:, 1].max())
    for s in (-1, 1):
        model.add("apron", bar((-x, y, s * z), (x, y, s * z), section))
        model.add("apron", bar((s * x, y, -z), (s * x, y, z), section))


def _stretchers(model: Model, sample: Sampler, kind: str, x: float, z: float, height: float, splay: float) -> None:
    if kind == "none":
        return
    section = sample.section("stretcher section", 0.014, 0.026)
    y = height * sample.between(0.2, 0.5)
    spread = splay + (1 - splay) * y / height
    x, z = x * spread, z * spread
    if kind == "cross":
        model.add("stretcher", bar((-x, y, -z), (x, y, z), section))
        model.add("stretcher", bar((-x, y, z), (x, y, -z), section))
        return
    for s in (-1, 1):
        model.add("stretcher", bar((s * x, y, -z), (s * x, y, z), section))
    if kind == "h":
        model.add("stretcher", bar((-x, y, 0), (x, y, 0), section))
    else:
        low = y * sample.between(0.7, 1.0)
        for s in (-1, 1):
            model.add("stretcher", bar((-x, low, s * z), (x, low, s * z), section))


def _column(model: Model, sample: Sampler, width: float, height: float, star: bool) -> None:
    radius = sample.between(0.018, 0.045)
    reach = width * sample.between(0.42, 0.6)
    if not star:
        thick = sample.between(0.015, 0.05)
        if sample.deal("plate", ("round", "square")) == "round":
            profile = [(0.0, 0.0), (reach / 2, 0.0), (reach, 0.0), (reach, thick * 0.4), (radius * 1.5, thick)]
            model.add("foot", lathe([*profile, (0.0, thick)], 24))
        else:
            model.add("foot", slab(rectangle(1.7 * reach, 1.7 * reach, 6), thick, bevel=0.01).moved(y=thick / 2))
        _post(model, sample, radius, thick, height)
        return
    wheel = sample.between(0.018, 0.035) if sample.deal("wheels", (True, True, False)) else 0.0
    rise = 2 * wheel + 0.02
    count = sample.count(4, 6)
    for i in range(count):
        turn = rotation("y", 360 * i / count)
        arm = bar((0, rise + 0.05, 0), (reach, rise, 0), rectangle(0.03, 0.03), sample.between(0.6, 0.9))
        model.add("foot", arm.turned(turn))
        if wheel > 0:
            tyre = torus(wheel * 0.6, wheel * 0.4, 12, 6).turned(rotation("x", 90)).moved(reach - 0.02, wheel)
            hub = ball(wheel * 0.35, 6).moved(reach - 0.02, wheel)
            model.add("wheel", tyre.turned(turn), hub.turned(turn))
    _post(model, sample, radius, rise + 0.03, height)


def _post(model: Model, sample: Sampler, radius: float, low: float, high: float) -> None:
    waist = sample.between(0.6, 1.5)
    heights = np.linspace(low, high, 7)
    profile = [(radius * (1 + (waist - 1) * np.sin(np.pi * (y - low) / (high - low))), y) for y in heights]
    model.add("column", lathe([(0.0, low), *profile, (0.0, high)], 12))


def _back(model: Model, sample: Sampler, kind: str, width: float, rear: float, seat_top: float) -> None:
    """Built upright in the plane z = 0 with its foot at the origin, then bent, reclined and set on z = -rear."""
    height = sample.between(0.3, 0.6)
    thick = sample.between(0.01, 0.03)
    parts: list[tuple[str, Solid]] = []
    x, gap = width / 2, sample.between(0.0, 0.3) * height
    if kind == "panel" and sample.deal("panel posts", (True, False)):
        section = sample.section("back post", 0.02, 0.03)
        parts += [
            ("back_post", bar((s * x * 0.5, 0, -0.02), (s * x * 0.5, height * 0.6, -0.02), section)) for s in (-1, 1)
        ]
        gap = max(gap, 0.1)
    elif kind == "panel":
        gap = 0.0
    if kind == "panel":
        outline = rounded(width, height - gap, sample.between(0.2, 0.8)) if gap else rectangle(width, height, 7)
        parts.append(("back_panel", _upright(outline, thick).moved(y=(height + gap) / 2)))
    else:
        parts += _framed_back(sample, kind, x, height, gap, thick)
    curve, tilt = sample.between(0.0, 0.25), rotation("x", -sample.between(2, 16))
    for name, solid in parts:
        curved = solid.bent(lambda v: v + np.outer(v[:, 0] ** 2 - x**2, [0, 0, -curve / x]))
        model.add(name, curved.turned(tilt).moved(y=seat_top - 0.005, z=-rear))


def _upright(outline: Array, thick: float) -> Solid:
    return slab(outline, thick, rings=3).turned(rotation("x", 90))


def _framed_back(
    sample: Sampler, kind: str, x: float, height: float, gap: float, thick: float
) -> list[tuple[str, Solid]]:
    """Two posts and a top rail, filled with slats, rungs or a panel."""
    post = sample.section("back post", 0.02, 0.04)
    rail_height = sample.between(0.03, 0.09)
    rail_y = height - rail_height / 2
    parts = [("back_post", bar((s * x, 0, 0), (s * x, height, 0), post)) for s in (-1, 1)]
    parts.append(("back_rail", bar((-x, rail_y, 0), (x, rail_y, 0), rectangle(thick, rail_height), step=0.06)))
    if kind == "framed":
        low, high = gap + 0.02, height - rail_height
        filling = box(2 * x, high - low, 0.008, steps=6).moved(y=(low + high) / 2)
        return [*parts, ("back_panel", filling)]
    section = sample.section("back bar", 0.012, 0.024)
    if kind == "slats":
        count = sample.count(3, 7)
        places = np.linspace(-x, x, count + 2)[1:-1]
        return parts + [("back_bar", bar((p, 0, 0), (p, height - rail_height, 0), section)) for p in places]
    places = np.linspace(gap + 0.04, height - rail_height - 0.05, sample.count(2, 4))
    wide = rectangle(thick * 0.7, sample.between(0.015, 0.04))
    return parts + [("back_bar", bar((-x, p, 0), (x, p, 0), wide, step=0.06)) for p in places]


def _arms(model: Model, sample: Sampler, width: float, depth: float, seat_top: float) -> None:
    y = seat_top + sample.between(0.16, 0.25)
    x = width / 2 + sample.between(-0.01, 0.03)
    arm_section = rectangle(sample.between(0.03, 0.07), sample.between(0.015, 0.03))
    support = sample.deal("arm support", ("post", "posts", "slope", "panel"))
    section = sample.section("arm section", 0.016, 0.03)
    low, front, rear = seat_top - 0.02, depth / 2 - sample.between(0.02, 0.1), -depth / 2
    for s in (-1, 1):
        model.add("arm_rest", bar((s * x, y, rear - 0.02), (s * x, y, front + 0.03), arm_section))
        foot = s * (width / 2 - 0.012)
        if support == "panel":
            panel = box(0.015, y - low, front - rear - 0.1).moved(foot, (y + low) / 2, (front + rear) / 2)
            model.add("arm_support", panel)
            continue
        lean = 0.12 if support == "slope" else 0.0
        model.add("arm_support", bar((foot, low, front - lean), (s * x, y, front), section))
        if support == "posts":
            model.add("arm_support", bar((foot, low, 0), (s * x, y, 0), section))
