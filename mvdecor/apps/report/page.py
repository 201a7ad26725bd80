"""scripts/report.py: the sections of the page and the page itself, which needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.apps.report.charts import (
    calibration_figure,
    confusion_figure,
    curves_figure,
    largest_confusions,
    parts_figure,
    parts_that_occur,
)
from mvdecor.apps.report.cost import cost_table
from mvdecor.apps.report.fields import field_page
from mvdecor.apps.report.html import MARK, config_html, figure_html, plot_html, section, summary_html, whole_page
from mvdecor.apps.report.links import links
from mvdecor.apps.report.reconstructions import reconstruction_page
from mvdecor.apps.report.shapes import TURN_TOGETHER, ReportedShape, picture, turning_figure, worst_and_best
from mvdecor.engine.log import SCALARS
from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import undetermined_shares
from mvdecor.files import write_atomically
from mvdecor.percent import percent, rounded
from mvdecor.results.pipeline import Results, part_iou, pretraining_curves, read_results
from mvdecor.results.runs import system_of
from mvdecor.results.table import html_table, mean_and_deviation, occurrence, spread
from mvdecor.settings import PathName, Settings

FIGURES = {"part mIoU": "part_miou", "shape mIoU": "shape_miou", "accuracy": "accuracy", "area seen": "coverage"}
"""Columns of the results, and their names in metrics.json."""


class ReportSettings(Settings):
    """configs/report.yaml."""

    run: Annotated[str, Field(description="name the folder of a run, for example run=outputs/demo")]
    out: PathName
    shapes: Annotated[int, Field(ge=0, le=20, description="give a whole number from 0 (none, needs no data) to 20")]
    data_root: PathName | None


def run_report(cfg: DictConfig) -> Path:
    """Write the page that configs/report.yaml asks for and say where it is; an older report of that name is written over.

    Raises:
        InputError: a bad setting, no finished run, damaged results, test shapes that are no longer there, or an `out` that
            holds something else.
    """
    ReportSettings.of(cfg)
    out = Path(cfg.out)
    if out.is_dir() or (out.exists() and not out.read_bytes().startswith(MARK.encode())):
        raise InputError(f"out={out} is there already and is no report: name another file")
    system = system_of(Path(cfg.run))
    if system == "semantic_srn":
        page = field_page(Path(cfg.run), cfg.shapes, cfg.data_root).encode()
    elif system == "to_the_point":
        page = reconstruction_page(Path(cfg.run)).encode()
    else:
        results = read_results(Path(cfg.run))
        page = report_page(results, worst_and_best(results, cfg.shapes, cfg.data_root), out.parent).encode()
    write_atomically(out, page)
    print(f"{out}: {len(page) / 1e6:.1f} MB, opens in any browser", flush=True)
    return out


def report_page(results: Results, shapes: Sequence[ReportedShape], folder: Path | None = None) -> str:
    """The whole page as text: every section, the pictures and the scripts within it.

    Args:
        results: what was measured.
        shapes: those to show.
        folder: where the page will be, which its links start from; None: in the folder of the results.
    """
    title = f"{results.runs[-1].metrics['config']['data']['category']}: {results.folder}"
    sections = [
        section("results", "Results", _results(results)),
        section("parts", "Parts", plot_html("plot-parts", parts_figure(results)) + _parts_table(results)),
        section("confusion", "Confusion", _confusion(results)),
        section("shapes", "Worst and best shapes", _shapes(results, shapes)),
        section("turn", "In 3D", _turning(shapes)),
        section("curves", "Curves", _curves(results)),
        section("calibration", "Calibration", _calibration(results)),
        section("cost", "Cost", cost_table(results)),
        section("links", "Files and other runs", links(results, folder or results.folder)),
        section("config", "Configuration", config_html((results.table or results.runs[-1].metrics)["config"])),
        section("run", "Run", _summary(results)),
    ]
    return whole_page(title, sections)


def _summary(results: Results) -> str:
    """Where, when and with what the numbers were made."""
    last = results.runs[-1].metrics
    revisions = ", ".join(dict.fromkeys(run.revision for run in results.runs))
    return summary_html(results.folder, last, revisions, (results.table or last).get("cost") or {})


def _results(results: Results) -> str:
    """Means and deviations of each method, then every run."""
    methods: list[dict[str, object]] = []
    singles: list[dict[str, object]] = []
    for method in results.methods:
        runs = results.of(method)
        row: dict[str, object] = {"method": method, "runs": len(runs)}
        for name, key in FIGURES.items():
            row[name] = spread(*mean_and_deviation(run.metrics[key] for run in runs))
        methods.append(row)
        for run in runs:
            scores = {name: run.metrics[key] for name, key in FIGURES.items()}
            context = {"ceiling": run.metrics["ceiling"]["part_miou"], "test shapes": len(run.metrics["shapes"])}
            singles.append({"method": run.method, "run": run.number, **scores, **context})
    note = (
        "Percent; mean ± sample deviation over the runs. The ceiling is what a perfect network would reach with these views on "
        f"the parts that occur. {_counted(results.runs[-1].metrics)}"
    )
    every = "<details><summary>every run</summary>" + html_table(singles) + "</details>"
    return html_table(methods) + f'<p class="note">{escape(note)}</p>' + every + _skipped(results)


def _counted(metrics: dict) -> str:
    """Which parts and how much of the test shapes the figures of a run are about; empty for results of older revisions."""
    if "occurring" not in metrics or "undetermined" not in metrics:
        return ""
    undetermined = metrics["undetermined"]
    return (
        f"{occurrence(metrics)}. Undetermined and counted nowhere: {percent(undetermined['area'] / 100, 1)} of the area, "
        f"{percent(undetermined['faces'] / 100, 1)} of the faces."
    )


def _skipped(results: Results) -> str:
    """Shapes that could not be read, with the reasons; empty if all could."""
    skipped = (results.table or results.runs[-1].metrics).get("skipped") or []
    if not skipped:
        return ""
    rows: list[dict[str, object]] = [{"shape": id, "reason": reason} for id, reason in skipped]
    return f"<p>Skipped, since they could not be read: {len(skipped)}</p>" + html_table(rows)


def _curves(results: Results) -> str:
    """Curves of all loops, and a word where one is not there."""
    plot = plot_html("plot-curves", curves_figure(results), "no training was logged in this folder")
    missing = not all(curves["training"] for curves in pretraining_curves(results).values())
    note = f"The training curves of the pretraining are not there: it left no {escape(SCALARS)}."
    return plot + (f'<p class="note">{note}</p>' if missing else "")


def _parts_table(results: Results) -> str:
    metrics = results.runs[0].metrics
    ceiling = results.runs[-1].metrics["ceiling"]["parts"]
    rows: list[dict[str, object]] = []
    for name in metrics["parts"]:
        means = {method: part_iou(results.of(method), name)[0] for method in results.methods}
        rows.append({"part": name, **means, "ceiling": ceiling.get(name)})
    hidden = len(rows) - len(parts_that_occur(metrics))
    note = f'<p class="note">{hidden} parts that no test shape has are in the table only.</p>' if hidden else ""
    return note + "<details><summary>as a table</summary>" + html_table(rows) + "</details>"


def _confusion(results: Results) -> str:
    missing = (
        "metrics.json of these runs holds no confusion matrix (it was written by an older revision): evaluate again"
    )
    figures = [
        plot_html(f"plot-confusion-{number}", confusion_figure(results.of(method)), missing)
        for number, method in enumerate(results.methods)
    ]
    last = results.of(results.methods[-1])
    matrices = [run.metrics["confusion"] for run in last if "confusion" in run.metrics]
    rows = largest_confusions(matrices, list(last[0].metrics["parts"])) if matrices else []
    table = (
        f'<p class="note">What {escape(last[0].method)} confuses most, in percent:</p>' + html_table(rows)
        if rows
        else ""
    )
    return table + '<p class="note">Percent of each true part, over all runs.</p>' + "".join(dict.fromkeys(figures))


def _calibration(results: Results) -> str:
    """How often labels of a confidence are right, and the calibration error of each run."""
    rows: list[dict[str, object]] = []
    rankings: list[dict[str, object]] = []
    for run in results.runs:
        if figures := run.metrics.get("calibration"):
            errors = {"calibration error": figures["ece"], "of the share of the votes": figures["vote_share"]["ece"]}
            means = {"mean confidence": figures["confidence"], "accuracy": figures["accuracy"]}
            rows.append({"method": run.method, "run": run.number, **means, **errors})
            rankings.append({"method": run.method, "run": run.number, **_rankings(figures)})
    missing = "metrics.json of these runs holds no calibration (it was written by an older revision): evaluate again"
    plot = plot_html("plot-calibration", calibration_figure(results), missing)
    note = "Percent of the area; all shapes have equal weight. On the dotted line accuracy equals confidence."
    ranked = (
        "How well errors are ranked. Rank correlations "
        "(Spearman, 1 is best) are between the true error and the expected one, 1 - confidence: over the shapes; with the "
        "disagreement of the views in its place; and over the least sure regions of all shapes, of which the first of each "
        "shape, and the first five, are counted. Told apart: pairs of a wrong and a right point of a shape of which the wrong "
        "one is less sure (by chance 50)."
    )
    if not rows:
        return plot
    return "".join(
        [f'<p class="note">{note}</p>', plot, html_table(rows), f'<p class="note">{ranked}</p>', html_table(rankings)]
    )


def _rankings(figures: Mapping[str, Any]) -> dict[str, object]:
    """How well shapes and regions are ranked by what is expected to be wrong; dashes for an older revision."""
    rank, regions, points = (figures.get(key) or {} for key in ("rank_correlation", "regions", "points"))
    correlations = {
        "rank, shapes": rank.get("one_minus_confidence"),
        "rank by disagreement": rank.get("disagreement"),
        "rank, regions": regions.get("rank_correlation"),
    }
    cells: dict[str, object] = {name: "–" if x is None else f"{x:.2f}" for name, x in correlations.items()}
    apart = {"told apart": points.get("one_minus_confidence"), "by disagreement": points.get("disagreement")}
    shares = {"first region wrong": "first_wrong", "area of five": "area", "wrong area in them": "found"}
    return cells | apart | {name: regions.get(key) for name, key in shares.items()}


def _shapes(results: Results, shapes: Sequence[ReportedShape]) -> str:
    if not shapes:
        return '<p class="note">None were asked for (shapes=0).</p>' + _all_shapes(results)
    parts = []
    for entry in shapes:
        figures = ", ".join(f"{method} {rounded(miou)}" for method, miou in entry.miou.items())
        lost = undetermined_shares(entry.shape)["area"] / 100
        unknown = f"; {percent(lost)} of its area is undetermined and not counted" if lost > 0 else ""
        caption = f"{entry.rank}: {entry.shape.id} (mean IoU of its parts in %: {figures}{unknown})"
        parts.append(figure_html(picture(entry), caption))
    ranking = escape(f"First run of each method; ranked by {results.methods[-1]}.")
    return f'<p class="note">{ranking}</p>' + "\n".join(parts) + _all_shapes(results)


def _all_shapes(results: Results) -> str:
    """Every test shape of the last method's first run, the worst first."""
    run = results.of(results.methods[-1])[0]
    rows: list[dict[str, object]] = []
    for id, shape in sorted(run.metrics["shapes"].items(), key=lambda item: item[1]["miou"]):
        sure = shape.get("confidence")
        figures = {"mean IoU": shape["miou"], "accuracy": shape.get("accuracy"), "area seen": shape.get("coverage")}
        rows.append({"shape": id, **figures, "expected accuracy": sure})
    return f"<details><summary>all {len(rows)} test shapes</summary>" + html_table(rows) + "</details>"


def _turning(shapes: Sequence[ReportedShape]) -> str:
    if not shapes:
        return '<p class="note">None were asked for (shapes=0).</p>'
    note = '<p class="note">Drag to turn, scroll to come closer; all views turn together. Colours as in the pictures above.</p>'
    return note + plot_html("plot-turn", turning_figure(shapes), script=TURN_TOGETHER)
