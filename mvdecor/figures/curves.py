"""Curves, plotted by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_transfer_curves(summary: Mapping[str, Any]) -> np.ndarray:
    """How often points carried by embedding arrive: against the angle between the views, and within which distance.

    Args:
        summary: of `mvdecor.evaluation.summarize_landings`. Angles that fewer than 1 % of the points have are left out.

    Returns:
        uint8 [height, width, 3].
    """
    figure = Figure(figsize=(9.6, 3.8), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    total = sum(row["points"] for row in summary["by_angle"])
    _against_angle(left, [row for row in summary["by_angle"] if row["points"] >= 0.01 * total])
    _within_distance(right, summary["by_distance"])
    for axes in (left, right):
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.set_ylabel("points that arrive (%)")
        axes.legend(fontsize="small")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _against_angle(axes: Axes, rows: list[dict[str, Any]]) -> None:
    middles = [(row["from"] + row["to"]) / 2 for row in rows]
    for percent in rows[0]["within"]:
        (line,) = axes.plot(
            middles,
            [row["within"][percent] for row in rows],
            marker="o",
            markersize=3,
            label=f"within {percent} % of height",
        )
        axes.plot(middles, [row["chance"][percent] for row in rows], linestyle=":", color=line.get_color())
    axes.plot(
        middles,
        [row["same_pixel"] for row in rows],
        color="black",
        marker="o",
        markersize=3,
        label="same pixel or next",
    )
    axes.set_xlabel("angle between the two lines of sight (degrees; dotted: random pixel)")
    axes.set_xlim(0, max(row["to"] for row in rows))


def _within_distance(axes: Axes, rows: list[dict[str, Any]]) -> None:
    distances = [row["distance"] for row in rows]
    axes.plot(distances, [row["share"] for row in rows], label="most similar pixel")
    axes.plot(distances, [row["chance"] for row in rows], linestyle=":", color="grey", label="random pixel")
    axes.set_xlabel("distance from the true point (% of height)")
    axes.set_xlim(0, distances[-1])
