"""The page of a run of Semantic SRN: its numbers, and objects as their fields show them beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from mvdecor.apps.report.charts import COLOURS, confusion_matrix_figure, iou_rows, short_names, text
from mvdecor.apps.report.curves import training_curves
from mvdecor.apps.report.html import config_html, figure_html, plot_html, section, summary_html, whole_page
from mvdecor.apps.report.objects import ReportedObject, objects_of, turning_objects
from mvdecor.apps.report.shapes import TURN_TOGETHER
from mvdecor.errors import InputError
from mvdecor.percent import rounded
from mvdecor.results.runs import read_stage
from mvdecor.results.table import html_table, mean_and_deviation, spread

SYSTEM = "semantic_srn"
EVALUATED = ("images", "mean_code", "given", "split", "config", "category", "cost")
"""What the page needs of metrics.json."""


def field_page(folder: Path, shapes: int, data_root: str | None) -> str:
    """The page as text.

    Args:
        folder: of scripts/pipeline.py, or of one evaluation.
        shapes: worst objects, and best ones, that are shown; 0: none, and no data is needed.
        data_root: where the data is now; None = where it was.

    Raises:
        InputError: damaged results, data or model.
    """
    is_pipeline = (folder / "table.json").exists()
    folders = sorted((folder / SYSTEM).glob("run_*"), key=_number) if is_pipeline else [folder]
    runs = [read_stage(run / "metrics.json", EVALUATED) for run in folders]
    if not runs:
        raise InputError(f"run={folder}: no {SYSTEM}/run_* is there: run the pipeline again")
    record = read_stage(folder / "table.json", ("config", "cost")) if is_pipeline else runs[-1]
    objects = objects_of(folders[0], runs[0], shapes, data_root)
    revisions = ", ".join(dict.fromkeys(run.get("revision", "unknown") for run in runs))
    sections = [
        section("results", "Results", _results(runs)),
        section("parts", "Labels", _labels(runs)),
        section("confusion", "Confusion", _confusion(runs)),
        section("shapes", "Objects", _objects(objects)),
        section("turn", "In 3D", _turning(objects)),
        section(
            "curves",
            "Curves",
            plot_html("plot-curves", training_curves(folder, folders), "no training is in this folder"),
        ),
        section("config", "Configuration", config_html(record["config"])),
        section("run", "Run", summary_html(folder, runs[-1], revisions, record["cost"])),
    ]
    return whole_page(f"Semantic SRN, {runs[-1]['category']}: {folder}", sections)


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("run_")) if folder.name.removeprefix("run_").isdecimal() else -1


def _codes(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """By name the results of each way to give codes, over the runs."""
    measured: dict[str, list[Mapping[str, Any]]] = {}
    if all(run["mean_code"] for run in runs):
        measured["mean code"] = [run["mean_code"] for run in runs]
    return measured | {"inferred code": list(runs)}


def _results(runs: Sequence[Mapping[str, Any]]) -> str:
    rows: list[dict[str, object]] = []
    for name, results in _codes(runs).items():
        images = [result["images"] for result in results]
        labels = [image["labels"] or {} for image in images]
        figures = {
            "PSNR in dB": [image["psnr"] for image in images],
            "SSIM in %": [None if image["ssim"] is None else 100 * image["ssim"] for image in images],
            "label mIoU": [label.get("miou") for label in labels],
            "with background": [label.get("miou_with_background") for label in labels],
            "part mIoU on meshes": [result["part_miou"] for result in results],
        }
        row: dict[str, object] = {"code": name, "runs": len(results)}
        rows.append(row | {key: spread(*mean_and_deviation(values)) for key, values in figures.items()})
    inputs = runs[-1]["given"]
    counts = sorted({len(views) for views in inputs["views"].values()})
    note = (
        f"Mean ± sample deviation over the runs; mIoU in percent. Codes are inferred from {' to '.join(map(str, counts))} "
        f"{'label map' if inputs['kind'] == 'labels' else 'image'}(s) of each object, and the given views "
        f"{'count' if inputs['counted'] else 'do not count'}. The mean code is that of the training objects: it needs no image."
    )
    return html_table(rows) + f'<p class="note">{escape(note)}</p>'


def _labels(runs: Sequence[Mapping[str, Any]]) -> str:
    """IoU of each label in views, and of each part on meshes."""
    figure, rows = go.Figure(), []
    names: list[str] = []
    for (code, results), colour in zip(_codes(runs).items(), COLOURS, strict=False):
        ious_by_place = {"in views": [(result["images"]["labels"] or {}).get("iou", {}) for result in results]}
        ious_by_place |= {"on meshes": [result.get("parts") or {} for result in results]}
        for place, ious in ious_by_place.items():
            values = {name: mean_and_deviation(iou[name] for iou in ious)[0] for name in ious[0]}
            if not values:
                continue
            names = names or list(values)
            pattern = {"shape": "/" if place == "on meshes" else ""}
            short = [text(name) for name in short_names(list(values))]
            bars = {"x": list(values.values()), "y": short, "orientation": "h"}
            figure.add_trace(go.Bar(name=text(f"{code}, {place}"), marker_color=colour, marker_pattern=pattern, **bars))
            rows.append({"code": code, "": place} | {name: values.get(name) for name in names})
    if not rows:
        return '<p class="note">The captures have no label maps.</p>'
    return (
        plot_html("plot-parts", iou_rows(figure, len(names), len(rows)))
        + "<details><summary>as a table</summary>"
        + html_table(rows)
        + "</details>"
    )


def _confusion(runs: Sequence[Mapping[str, Any]]) -> str:
    if not all(run.get("confusion") for run in runs):
        return '<p class="note">Needs meshes of the test objects: capture=rendered.</p>'
    figure = confusion_matrix_figure([run["confusion"] for run in runs], list(runs[0]["parts"]), "inferred code")
    return '<p class="note">Percent of each true part on the meshes, over all runs.</p>' + plot_html(
        "plot-confusion-0", figure
    )


def _objects(objects: Sequence[ReportedObject]) -> str:
    if not objects:
        return '<p class="note">None were asked for (shapes=0).</p>'
    parts = []
    for entry in objects:
        figures = {name: value for name, value in entry.figures.items() if value is not None}
        numbers = ", ".join(f"{name} {rounded(value, 3 if name == 'SSIM' else 1)}" for name, value in figures.items())
        parts.append(
            figure_html(entry.picture, f"{entry.rank}: {entry.id} ({numbers or 'all of its views were given'})")
        )
    return '<p class="note">Objects of the first run. On the left what the code was inferred from.</p>' + "\n".join(
        parts
    )


def _turning(objects: Sequence[ReportedObject]) -> str:
    if not objects:
        return '<p class="note">None were asked for (shapes=0).</p>'
    note = '<p class="note">Drag to turn, scroll to come closer; all views turn together. Colours as above.</p>'
    return note + plot_html("plot-turn", turning_objects(objects), script=TURN_TOGETHER)
