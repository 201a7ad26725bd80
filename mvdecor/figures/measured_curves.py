"""Curves of measured figures against what was given, plotted by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator


def plot_measured_curves(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> np.ndarray:
    """Curves side by side, against logarithmic axes.

    Args:
        panels: for each heading of an x axis its curves by name: pairs of x (above 0) and percent.

    Returns:
        uint8 [height, width, 3].
    """
    figure = Figure(figsize=(4.6 * len(panels), 3.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, (heading, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        ticks = sorted({x for curve in curves.values() for x, _ in curve})
        for name, curve in curves.items():
            axes.plot(*zip(*curve, strict=True), marker="o", markersize=4, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.set_xlabel(heading)
        axes.set_ylabel("mIoU (%)")
        axes.legend(fontsize="small", loc="lower right")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
