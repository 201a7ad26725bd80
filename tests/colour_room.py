"""A made-up scene in the layout of 3D-OVS: coloured balls on a grey floor, ray by ray, with exact label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("blue ball", "gray floor", "lime ball", "red ball")
"""Sorted, as the reader of 3D-OVS sorts them."""
COLOURS = {"blue ball": (0, 0, 255), "gray floor": (128, 128, 128), "lime ball": (0, 255, 0), "red ball": (255, 0, 0)}
BALLS = {"blue ball": (-0.6, 0.0, 0.3), "lime ball": (0.6, 0.1, 0.3), "red ball": (0.0, -0.5, 0.35)}
"""x, y, radius; each lies on the floor z = 0, up is +z."""


def write_colour_room(root: Path, views: int = 12, size: int = 24) -> Path:
    """The folder of a capture; every view has masks."""
    (root / "images").mkdir(parents=True)
    (root / "segmentations").mkdir()
    (root / "segmentations" / "classes.txt").write_text("\n".join(NAMES))
    focal, rows = 1.2 * size, []
    for view in range(views):
        pose = _pose(view / (views - 1))
        labels = _labels(pose, focal, size)
        image = np.array([COLOURS[name] for name in NAMES], dtype=np.uint8)[labels]
        Image.fromarray(image).save(root / "images" / f"{view:03d}.png")
        folder = root / "segmentations" / str(view)
        folder.mkdir()
        for number, name in enumerate(NAMES):
            Image.fromarray((labels == number).astype(np.uint8) * 255).save(folder / f"{name}.png")
        right, down, forward, centre = pose.T
        llff = np.stack([down, right, -forward, centre, np.array([size, size, focal])], axis=1)
        rows.append(np.concatenate([llff.reshape(-1), [1.0, 6.0]]))
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def _pose(place: float) -> np.ndarray:
    """float64 [3, 4]: right, down, forward and the centre of a camera on an arc that looks at the middle."""
    angle = np.radians(-110 + 40 * (place - 0.5) * 2)
    centre = np.array([2.4 * np.cos(angle), 2.4 * np.sin(angle), 1.6 + 0.5 * np.sin(7 * place)])
    forward = np.array([0, 0, 0.15]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward, centre], axis=1)


def _labels(pose: np.ndarray, focal: float, size: int) -> np.ndarray:
    """int64 [size, size], what each pixel's ray meets first; the floor has no end."""
    places = (np.arange(size) + 0.5 - size / 2) / focal
    x, y = np.meshgrid(places, places)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ pose[:, :3].T
    centre, floor = pose[:, 3], NAMES.index("gray floor")
    nearest, labels = np.full(x.shape, np.inf), np.full(x.shape, floor)
    for name, (ball_x, ball_y, radius) in BALLS.items():
        offset = centre - np.array([ball_x, ball_y, radius])
        a, b, c = (rays**2).sum(-1), rays @ offset, offset @ offset - radius**2
        root = b**2 - a * c
        distance = np.where(root > 0, (-b - np.sqrt(root.clip(0))) / a, np.inf)
        hit = (distance > 0) & (distance < nearest)
        nearest, labels = np.where(hit, distance, nearest), np.where(hit, NAMES.index(name), labels)
    return labels
