"""Shapes written as ShapeNetPart and ShapeNetCore are downloaded."""

import json
from pathlib import Path

import numpy as np

from mvdecor.shapes import Shape
from mvdecor.shapes.shapenet_part import PARTS

SYNSETS = {"Chair": "03001627", "Mug": "03797390"}
CATEGORIES = "".join(f"{name}\t{synset}\n" for name, synset in SYNSETS.items())
MESHES = {1: "model.obj", 2: "models/model_normalized.obj"}


def write_mesh(path: Path, shape: Shape) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["mtllib missing.mtl", *(f"v {x} {y} {z}" for x, y, z in shape.vertices.tolist())]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in shape.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def sampled(shape: Shape, count: int = 2600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random points of the labelled faces, by area, and the faces' labels."""
    rng = np.random.default_rng(seed)
    labels = shape.face_labels.numpy()
    areas = shape.face_areas.numpy() * (labels >= 0)
    faces = rng.choice(len(labels), size=count, p=areas / areas.sum())
    corners = shape.vertices.double()[shape.faces].numpy()[faces]
    weights = rng.dirichlet((1, 1, 1), size=count)
    return (weights[:, :, None] * corners).sum(axis=1), labels[faces]


def turned(points: np.ndarray, quarters: int) -> np.ndarray:
    """Turned about the y axis by multiples of 90 degrees."""
    angle = quarters * np.pi / 2
    x, y, z = points.T
    return np.stack([np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x], axis=1)


def write_points(path: Path, points: np.ndarray, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, np.column_stack([points, np.zeros_like(points), labels]), fmt="%.6f")


def write_shape(
    root: Path, meshes: Path, shape: Shape, category: str, version: int = 2, quarters: int | None = None
) -> None:
    """One shape: `quarters` from the points' frame to the mesh's (by default the true number), other scale and place."""
    points, labels = sampled(shape)
    quarters = version - 1 if quarters is None else quarters
    moved = turned(points, -quarters) * 0.37 + np.array([0.1, -0.2, 3.0])
    write_points(root / SYNSETS[category] / f"{shape.id}.txt", moved, labels + PARTS[category][0])
    write_mesh(meshes / SYNSETS[category] / shape.id / MESHES[version], shape)


def write_lists(root: Path, **lists: list[str]) -> None:
    """`synsetoffset2category.txt` and the lists train, val and test of "SYNSET/ID"."""
    (root / "synsetoffset2category.txt").write_text(CATEGORIES)
    folder = root / "train_test_split"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        rows = [f"shape_data/{entry}" for entry in lists.get(split, [])]
        (folder / f"shuffled_{split}_file_list.json").write_text(json.dumps(rows))
