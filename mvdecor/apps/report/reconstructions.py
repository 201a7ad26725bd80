"""The page of a run of To The Point: its figures, its curves, and reconstructions of its first photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from mvdecor.apps.report.curves import training_curves
from mvdecor.apps.report.html import config_html, figure_html, plot_html, section, summary_html, whole_page
from mvdecor.results.measures import MEASURES
from mvdecor.results.runs import read_stage
from mvdecor.results.table import html_table, mean_and_deviation, spread

SYSTEM = "to_the_point"
EVALUATED = ("mask_iou", "pck", "rotation", "no_image", "mask_ious", "config", "category", "cost")
"""What the page needs of metrics.json."""
SHOWN = ("rotation", "rotation_below_30", "swaps", "mask_iou", "pck", "picture_miou", "chamfer")


def reconstruction_page(folder: Path) -> str:
    """The page as text.

    Args:
        folder: of scripts/pipeline.py, or of one evaluation.

    Raises:
        InputError: damaged results.
    """
    is_pipeline = (folder / "table.json").exists()
    folders = sorted((folder / SYSTEM).glob("run_*")) if is_pipeline else [folder]
    runs = [read_stage(run / "metrics.json", EVALUATED) for run in folders]
    record = read_stage(folder / "table.json", ("config", "cost")) if is_pipeline else runs[-1]
    rows = {"no image": [run["no_image"] for run in runs]}
    if is_pipeline:
        rows["pretrained"] = [read_stage(folder / "pretrained" / "metrics.json", EVALUATED)]
    rows["fine-tuned" if is_pipeline else "reconstructed"] = runs
    revisions = ", ".join(dict.fromkeys(run.get("revision", "unknown") for run in runs))
    curves = training_curves(folder, folders)
    sections = [
        section("results", "Results", _results(rows)),
        section("masks", "Masks", plot_html("plot-masks", _masks(runs))),
        section("shapes", "Photographs", _pictures(folders[0])),
        section("curves", "Curves", plot_html("plot-curves", curves, "no training is in this folder")),
        section("config", "Configuration", config_html(record["config"])),
        section("run", "Run", summary_html(folder, runs[-1], revisions, record["cost"])),
    ]
    return whole_page(f"To The Point, {runs[-1]['category']}: {folder}", sections)


def _results(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    table: list[dict[str, object]] = []
    for name, results in rows.items():
        row: dict[str, object] = {"model": name, "runs": len(results)}
        for measure in SHOWN:
            values = [MEASURES[measure].of(result) for result in results]
            row[MEASURES[measure].title] = spread(*mean_and_deviation(values))
        table.append(row)
    notes = "; ".join(MEASURES[measure].note for measure in SHOWN)
    note = f"Mean ± sample deviation over the runs. {notes[0].upper()}{notes[1:]}. No image: the template from the mean camera."
    return html_table(table) + f'<p class="note">{escape(note)}</p>'


def _masks(runs: Sequence[Mapping[str, Any]]) -> go.Figure:
    """How the mask IoU is distributed over the photographs."""
    figure = go.Figure()
    ious = [100 * iou for run in runs for iou in run["mask_ious"].values()]
    figure.add_trace(go.Histogram(x=ious, xbins={"start": 0, "end": 100, "size": 5}))
    figure.update_xaxes(title_text="mask IoU in %", range=[0, 100]).update_yaxes(title_text="photographs")
    return figure.update_layout(height=300, margin_t=20)


def _pictures(folder: Path) -> str:
    file = folder / "figures" / "reconstructions.png"
    if not file.exists():
        return '<p class="note">None were asked for (evaluation.figures=0).</p>'
    return figure_html(np.array(Image.open(file).convert("RGB")), "photograph, mask, positions, mesh, part labels")
