"""Pictures of cameras: where they stand and look, as frusta."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from numpy.typing import NDArray

from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import meeting_point

LENGTH = 0.12  # of a frustum, relative to the extent of all cameras
ELEVATION = 25  # degrees, from which the plot is seen


def plot_cameras(cameras: Cameras, title: str = "", size: int = 320) -> NDArray[np.uint8]:
    """N cameras in 3D as frusta, coloured by number, the first one's picture plane in red.

    A black cross marks the point nearest to all optical axes: where an object stands that all of them look at. What is up
    in the pictures, on average, is up in the plot.

    Args:
        cameras: the cameras.
        title: above the plot.
        size: width and height in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    figure = Figure(figsize=(size / 100, size / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 0.94), projection="3d")
    assert isinstance(axes, Axes3D)
    centers = cameras.centers.double().cpu().numpy()
    target = meeting_point(cameras)
    extent = max(float(np.ptp(centers, axis=0).max()), float(np.linalg.norm(centers - target, axis=1).min()))
    corners = frustum_corners(cameras, LENGTH * extent)
    turn = _upright(cameras)
    centers, corners, target = centers @ turn.T, corners @ turn.T, turn @ target
    lines = [[centers[i], corners[i, k]] for i in range(len(cameras)) for k in range(4)] + [
        [corners[i, k], corners[i, (k + 1) % 4]] for i in range(len(cameras)) for k in range(4)
    ]
    numbers = np.tile(np.repeat(np.arange(len(cameras)), 4), 2)
    axes.add_collection3d(Line3DCollection(lines, array=numbers, cmap="viridis", linewidths=0.8))
    axes.plot(*np.vstack([corners[0], corners[0, :1]]).T, color="red", linewidth=1.5)
    axes.scatter(*target[:, None], color="black", marker="x", s=40)
    points = np.vstack([centers, corners.reshape(-1, 3), target])
    middle, half = (points.max(axis=0) + points.min(axis=0)) / 2, np.ptp(points, axis=0).max() / 2
    axes.set(xlim=_around(middle[0], half), ylim=_around(middle[1], half), zlim=_around(middle[2], half))
    axes.set_box_aspect((1, 1, 1), zoom=0.92)
    axes.view_init(elev=ELEVATION, azim=-60)
    axes.tick_params(labelsize=6, pad=-2)
    figure.suptitle(title, fontsize=8, y=0.98)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def frustum_corners(cameras: Cameras, depth: float) -> NDArray[np.float64]:
    """float64 [N, 4, 3], world positions at camera z `depth` of the corners of each picture, around it."""
    across, down, first = cameras.ray_steps().double().cpu().numpy().transpose(1, 0, 2)
    corners = [(0, 0), (cameras.width, 0), (cameras.width, cameras.height), (0, cameras.height)]
    rays = np.stack([x * across + y * down + first for x, y in corners], axis=1)
    return cameras.centers.double().cpu().numpy()[:, None] + depth * rays


def _upright(cameras: Cameras) -> NDArray[np.float64]:
    """Rotation [3, 3] that takes the pictures' mean direction up, or else +y, to +z."""
    up = -cameras.rotation[:, 1].double().mean(dim=0).cpu().numpy()
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0.1 else np.array([0.0, 1.0, 0.0])
    right = np.cross(np.eye(3)[int(np.abs(up).argmin())], up)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up])


def _around(middle: float, half: float) -> tuple[float, float]:
    return middle - half, middle + half
