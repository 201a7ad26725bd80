"""Random polygons, cut into triangles by the readers and checked by areas and by points, in files of every dialect.

`python -m tests.fuzz` calls it. Nothing here shares code with the readers: files are written line by line, areas come from
the shoelace formula, and whether a point is inside from counting the edges to its right.
"""

from __future__ import annotations

import random
import struct
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from mvdecor.shapes import Shape, read_mesh


def star(rng: np.random.Generator, corners: int) -> np.ndarray:
    """float64 [corners, 2]: a simple polygon around the origin, counterclockwise, nearly always concave."""
    steps = rng.uniform(0.2, 1, corners)
    angles = np.cumsum(steps) / steps.sum() * 2 * np.pi
    radii = rng.uniform(0.2, 1, corners)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def comb(rng: np.random.Generator, teeth: int) -> np.ndarray:
    """float64 [4 * teeth, 2]: a bar with teeth of random lengths, with corners in line and no centre that sees all."""
    top = [(x, y) for k in range(teeth) for x, y in ((2 * k, 1), (2 * k, 1 + rng.uniform(0.1, 9)), (2 * k + 1, 1))]
    return np.array([(x, 0) for x in range(teeth)] + top[::-1], dtype=float)


def area_of(polygon: np.ndarray) -> float:
    """Area of a flat polygon, positive if counterclockwise."""
    x, y = polygon.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def inside(polygon: np.ndarray, point: np.ndarray) -> bool:
    """Whether an odd number of edges lies to the right of a point."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    spans = (a[:, 1] > point[1]) != (b[:, 1] > point[1])
    a, b = a[spans], b[spans]
    return bool(((b[:, 0] - a[:, 0]) * (point[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) + a[:, 0] > point[0]).sum() % 2)


def check_cut(polygon: np.ndarray, triangles: np.ndarray) -> None:
    """Assert that triangles, int [n - 2, 3] of positions in a polygon [n, 2], are a cut of it."""
    assert triangles.shape == (len(polygon) - 2, 3)
    assert set(triangles.reshape(-1).tolist()) == set(range(len(polygon)))
    areas = np.array([area_of(polygon[triangle]) for triangle in triangles])
    whole = area_of(polygon)
    assert (areas * np.sign(whole) >= -1e-5 * abs(whole)).all()
    assert abs(areas.sum() - whole) <= 1e-9 * abs(whole)
    for triangle, area in zip(triangles, areas):
        if abs(area) > 1e-4 * abs(whole):
            assert inside(polygon, polygon[triangle].mean(axis=0))


def random_polygon(rng: np.random.Generator) -> np.ndarray:
    """float64 [n, 2] of either direction, from any first corner."""
    polygon = star(rng, int(rng.integers(3, 12))) if rng.random() < 0.7 else comb(rng, int(rng.integers(2, 6)))
    polygon = np.roll(polygon, int(rng.integers(len(polygon))), axis=0)
    return polygon if rng.random() < 0.5 else polygon[::-1].copy()


def number(value: float, rng: random.Random) -> str:
    """A number as some program might write it, with at least nine digits."""
    return rng.choice((f"{value:.12f}", f"{value:.12e}", f"{value:+.14g}", repr(float(value)), f"{value:.12E}"))


def texts(points: np.ndarray, polygons: list[list[int]], rng: random.Random) -> dict[str, bytes]:
    """The same polygons as OBJ, OFF, ASCII PLY and binary PLY, each in a random dialect."""
    space = rng.choice((" ", "\t", "  ", " \t "))
    rows = [space.join(number(x, rng) for x in point) for point in points]
    faces = [[str(len(p)), *map(str, p)] for p in polygons]
    comment = rng.choice(("# any comment é\n", "#\n", "", "# v 1 2 3\n"))
    obj = comment + "".join(f"v{space}{row}\n" for row in rows)
    for p in polygons:
        corners = [rng.choice((str(i + 1), str(i - len(points)), f"{i + 1}//")) for i in p]
        between = rng.choice((space, " \\\n "))
        obj += f"f{space}{between.join(corners)}{rng.choice(('', ' # here', '  '))}\n"
    head = rng.choice(("OFF\n", "OFF ", "OFF # new\n"))
    off = f"{head}{len(points)} {len(polygons)} {rng.choice(('0', '', '7'))}\n{comment}"
    off += "".join(f"{row}\n" for row in rows) + "".join(space.join(face) + "\n" for face in faces)
    kind = rng.choice(("float", "double", "float64"))
    order = rng.choice(("little", "big"))

    def header(form: str) -> str:
        count, index = rng.choice((("uchar", "int"), ("int", "uint"), ("uint8", "ushort")))
        names = "".join(f"property {kind} {axis}\n" for axis in "xyz")
        lists = f"property list {count} {index} {rng.choice(('vertex_indices', 'vertex_index'))}\n"
        counts = f"element vertex {len(points)}\n{names}element face {len(polygons)}\n{lists}"
        return f"ply\nformat {form} 1.0\ncomment é\n{counts}end_header\n"

    ascii_ply = header("ascii") + "".join(f"{row}\n" for row in rows) + "".join(space.join(f) + "\n" for f in faces)
    head = header(f"binary_{order}_endian")
    mark = "<" if order == "little" else ">"
    codes = {"uchar": "B", "uint8": "B", "int": "i", "uint": "I", "ushort": "H"}
    count, index = (codes[word] for word in head.split("property list ")[1].split()[:2])
    body = points.astype(mark + ("f4" if kind == "float" else "f8")).tobytes()
    body += b"".join(
        struct.pack(f"{mark}{count}", len(p)) + struct.pack(f"{mark}{len(p)}{index}", *p) for p in polygons
    )
    encoding = rng.choice(("utf-8", "utf-8-sig", "latin-1"))
    ends = rng.choice(("\n", "\r\n", "\r"))
    written = {
        "a.obj": obj.replace("\n", ends).encode(encoding),
        "a.off": off.replace("\n", ends).encode(encoding),
        "ascii.ply": ascii_ply.replace("\n", ends).encode("latin-1" if encoding == "latin-1" else "utf-8"),
        "binary.ply": head.replace("\n", "\n" if ends == "\r" else ends).encode() + body,
    }
    return written


def check_case(folder: Path, seed: str) -> None:
    """Write one mesh of random polygons in every format, read it, and assert that each polygon is cut in its place."""
    rng, numpy_rng = random.Random(seed), np.random.default_rng(random.Random(seed).randrange(2**32))
    flat = [random_polygon(numpy_rng) for _ in range(rng.randint(1, 4))]
    first = np.cumsum([0, *(len(p) for p in flat)])
    polygons = [list(range(first[k], first[k + 1])) for k in range(len(flat))]
    turned, _ = np.linalg.qr(numpy_rng.normal(size=(3, 3)))  # any plane
    points = np.concatenate([np.column_stack([p, np.full(len(p), k)]) for k, p in enumerate(flat)]) @ turned.T
    answers = {}
    for name, content in texts(points, polygons, rng).items():
        (folder / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shape = read_mesh(folder / name)
        _check_shape(shape, points, flat, first)
        answers[name] = shape.faces.tolist()
    assert answers["a.obj"] == answers["a.off"] == answers["ascii.ply"]


def _check_shape(shape: Shape, points: np.ndarray, flat: list[np.ndarray], first: np.ndarray) -> None:
    assert np.abs(shape.vertices.double().numpy() - points).max() < 1e-5
    owner = shape.polygons if shape.polygons is not None else np.arange(shape.num_faces)
    assert np.asarray(owner).tolist() == [k for k, p in enumerate(flat) for _ in range(len(p) - 2)]
    for k, polygon in enumerate(flat):
        check_cut(polygon, shape.faces.numpy()[np.asarray(owner) == k] - first[k])


def fuzz_polygons(folder: Path, cases: int, seed: int) -> Counter[str]:
    """Try `cases` meshes; prints each fault and counts "read" and "faults"."""
    counts = Counter[str]()
    folder.mkdir()
    for case in range(cases):
        try:
            check_case(folder, f"{seed} polygons {case}")
            counts["read"] += 1
        except Exception as error:
            counts["faults"] += 1
            print(f"fault: polygons {case}: {type(error).__name__}: {error}", flush=True)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    print(f"polygons: {counts['read']} read, {counts['faults']} faults", flush=True)
    return counts
