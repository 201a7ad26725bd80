"""The report's plots of numbers: curves, IoU of each part, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mvdecor.percent import rounded
from mvdecor.results.pipeline import Results, finetuning_curve, part_iou, pretraining_curves
from mvdecor.results.runs import Run

COLOURS = ("#9aa5b1", "#2672c4", "#f08818", "#2ca050")  # of methods: those before the last one, which is the subject
CEILING = "#333333"
DIAGONAL = {"color": "#aaaaaa", "dash": "dot"}


def text(name: object) -> str:
    """A name as plotly shows it: plotly takes tags and entities in any text for markup."""
    return escape(str(name), quote=False)


def colours_of_methods(methods: Sequence[str]) -> dict[str, str]:
    """One method is blue; of several the first is grey."""
    return dict(zip(methods, COLOURS[1:] if len(methods) == 1 else COLOURS, strict=False))


def curves_figure(results: Results) -> go.Figure | None:
    """Losses and retrieval accuracy of pretraining, segmentation losses of all runs; None where nothing was trained."""
    pretraining = pretraining_curves(results)
    tuned = [(run, finetuning_curve(run)) for run in results.runs]
    titles = [f"pretraining: {figure.replace('_', ' ')}" for figure in pretraining]
    titles += ["fine-tuning: segmentation loss"] if any(curve for _, curve in tuned) else []
    if not titles:
        return None
    figure = make_subplots(cols=len(titles), subplot_titles=titles, horizontal_spacing=0.07)
    for column, curves in enumerate(pretraining.values(), start=1):
        for (name, curve), dash in zip(curves.items(), ("solid", "dash"), strict=True):
            line = {"dash": dash, "color": COLOURS[1]}
            _add_curve(figure, curve, column, name=name, legendgroup=name, showlegend=column == 1, line=line)
    colours = colours_of_methods(results.methods)
    for run, curve in tuned:
        first = run is results.of(run.method)[0]
        name = text(run.method)
        thin: dict[str, object] = {"color": colours.get(run.method, CEILING), "width": 1.2}
        _add_curve(figure, curve, len(titles), name=name, legendgroup=name, showlegend=first, line=thin)
    figure.update_xaxes(title_text="step")
    return figure.update_layout(height=320, margin_t=40)


def _add_curve(figure: go.Figure, curve: Sequence[tuple[int, float]], column: int, **style) -> None:
    if curve:
        steps, values = zip(*curve, strict=True)
        figure.add_trace(go.Scatter(x=list(steps), y=list(values), mode="lines", **style), row=1, col=column)


def short_names(names: Sequence[str]) -> list[str]:
    """The names without the folders that all paths among them begin with: arm and back/top for chair/arm and chair/back/top."""
    paths = [name.split("/") for name in names if "/" in name]
    depth = 0
    while paths and all(len(path) > depth + 1 for path in paths) and len({path[depth] for path in paths}) == 1:
        depth += 1
    short = ["/".join(name.split("/")[depth:]) if "/" in name else name for name in names]
    return short if len(set(short)) == len(short) else list(names)


def parts_that_occur(metrics: Mapping[str, Any]) -> list[str]:
    """The parts that some test shape has; all parts, where an older revision did not note that."""
    return list(metrics.get("occurring") or metrics["parts"])


def parts_figure(results: Results) -> go.Figure:
    """IoU in percent of each part that occurs: a bar a method (mean and deviation of its runs), and a mark for the ceiling."""
    figure = go.Figure()
    names = parts_that_occur(results.runs[0].metrics)
    short = [text(name) for name in short_names(names)]
    for method, colour in colours_of_methods(results.methods).items():
        bars = [part_iou(results.of(method), name) for name in names]
        figure.add_trace(
            go.Bar(
                name=text(method),
                orientation="h",
                x=[mean for mean, _ in bars],
                y=short,
                error_x={"type": "data", "array": [deviation for _, deviation in bars], "thickness": 1},
                marker_color=colour,
            )
        )
    ceiling = results.runs[-1].metrics["ceiling"]["parts"]
    marks = {"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": CEILING}}
    values = [ceiling.get(name) for name in names]
    figure.add_trace(go.Scatter(name="ceiling", x=values, y=short, mode="markers", marker=marks))
    return iou_rows(figure, len(names), len(results.methods))


def iou_rows(figure: go.Figure, names: int, bars: int) -> go.Figure:
    """The layout of horizontal bars of an IoU, the first name above: as high as its rows."""
    figure.update_xaxes(title_text="IoU in %", range=[0, 102], side="top")
    figure.update_yaxes(range=[names - 0.5, -0.5], dtick=1, automargin=True)
    legend = {"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "traceorder": "normal"}
    height = 110 + names * (12 + 11 * bars)
    return figure.update_layout(barmode="group", bargap=0.3, height=height, margin={"t": 50, "b": 40}, legend=legend)


def confusion_figure(runs: Sequence[Run]) -> go.Figure | None:
    """Where the points of each true part went, in percent of the part, over all runs of a method; None if not kept."""
    matrices = [matrix for run in runs if (matrix := run.metrics.get("confusion")) is not None]
    if len(matrices) < len(runs):
        return None
    return confusion_matrix_figure(matrices, list(runs[0].metrics["parts"]), runs[0].method)


def confusion_matrix_figure(matrices: Sequence[Sequence], parts: Sequence[str], title: str) -> go.Figure:
    """The same of matrices of points, true parts by predicted ones, which are added; without parts that are in neither.

    All cells have one size, and all names are shown; cells of more than 16 parts have a number only from 5 % on.
    """
    total = np.sum([np.array(matrix, dtype=np.float64) for matrix in matrices], axis=0)
    present = np.flatnonzero(total.sum(axis=0) + total.sum(axis=1) > 0)
    total, names = (
        total[np.ix_(present, present)],
        [text(name) for name in short_names([parts[int(k)] for k in present])],
    )
    rows = total.sum(axis=1, keepdims=True)
    # a part without a point: blank
    share = 100 * np.divide(total, rows, out=np.full_like(total, np.nan), where=rows > 0)
    hover = "truth: %{y}<br>prediction: %{x}<br>%{customdata} %<extra></extra>"
    cells = [[None if np.isnan(x) else float(x) for x in row] for row in share]
    least = 5 if len(names) > 16 else 0

    def texts(digits: int, least: float = 0) -> list[list[str]]:
        return [[text("" if x is None or x < least else rounded(x, digits)) for x in row] for row in cells]

    figure = go.Figure(
        go.Heatmap(
            z=cells,
            x=names,
            y=names,
            zmin=0,
            zmax=100,
            colorscale="Blues",
            text=texts(0, least),
            customdata=texts(1),
            texttemplate="%{text}",
            textfont={"size": 12 if least == 0 else 9},
            hovertemplate=hover,
            xgap=1,
            ygap=1,
            showscale=False,
        )
    )
    side = int(np.clip(760 / max(len(names), 1), 18, 56))  # of a cell, in pixels
    margin = 40 + 7 * max(map(len, names), default=0)
    font = {"size": 12 if side > 20 else 10}
    figure.update_xaxes(title_text="prediction", side="top", tickangle=-90, dtick=1, tickfont=font)
    figure.update_yaxes(title_text="truth", autorange="reversed", dtick=1, tickfont=font)
    size = {"width": margin + side * len(names) + 20, "height": margin + 40 + side * len(names) + 10}
    return figure.update_layout(
        title={"text": text(title), "y": 1, "yanchor": "top", "pad": {"t": 8}},
        margin={"l": margin, "t": margin + 40, "r": 20, "b": 10},
        **size,
    )


def largest_confusions(matrices: Sequence[Sequence], parts: Sequence[str], count: int = 10) -> list[dict[str, object]]:
    """The pairs of parts that are confused on most of the surface: rows of a table, the largest first; percent."""
    total = np.sum([np.array(matrix, dtype=np.float64) for matrix in matrices], axis=0)
    names = short_names(parts)
    wrong = total.copy()
    np.fill_diagonal(wrong, 0)
    rows: list[dict[str, object]] = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:count]:
        true, predicted = divmod(int(place), len(parts))
        if wrong[true, predicted] > 0:
            shares = [float(100 * wrong[true, predicted] / x) for x in (total[true].sum(), wrong.sum())]
            pair = {"truth": names[true], "prediction": names[predicted]}
            rows.append({**pair, "of the true part": shares[0], "of all that is wrong": shares[1]})
    return rows


def calibration_figure(results: Results) -> go.Figure | None:
    """Accuracy against confidence, a line per run, and the diagonal where both are equal; None if no run kept them."""
    measured = [run for run in results.runs if (run.metrics.get("calibration") or {}).get("bins")]
    if not measured:
        return None
    figure = go.Figure(go.Scatter(x=[0, 100], y=[0, 100], mode="lines", name="calibrated", line=dict(DIAGONAL)))
    colours = colours_of_methods(results.methods)
    for run in measured:
        bins = run.metrics["calibration"]["bins"]
        figure.add_trace(
            go.Scatter(
                x=[row["confidence"] for row in bins],
                y=[row["accuracy"] for row in bins],
                customdata=[row["share"] for row in bins],
                hovertemplate="confidence %{x:.1f}<br>accuracy %{y:.1f}<br>%{customdata:.1f} % of the area",
                mode="lines+markers",
                name=text(run.method),
                legendgroup=text(run.method),
                showlegend=run is results.of(run.method)[0],
                line={"color": colours.get(run.method, CEILING), "width": 1.2},
                marker={"size": [4 + 2 * row["share"] ** 0.5 for row in bins]},
            )
        )
    figure.update_xaxes(title_text="confidence in %", range=[0, 102])
    figure.update_yaxes(title_text="accuracy in %", range=[0, 102])
    return figure.update_layout(height=420, width=560, margin_t=20)
