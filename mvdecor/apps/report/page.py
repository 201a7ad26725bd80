"""scripts/report.py: the sections of the page and the page itself, which needs nothing from outside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated

import plotly.graph_objects as go
import plotly.io
from omegaconf import DictConfig, OmegaConf
from plotly.offline import get_plotlyjs
from pydantic import Field

from mvdecor.apps.report.charts import calibration_figure, confusion_figure, curves_figure, parts_figure
from mvdecor.apps.report.shapes import TURN_TOGETHER, ReportedShape, picture, turning_figure, worst_and_best
from mvdecor.engine.log import SCALARS
from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import undetermined_shares
from mvdecor.figures import png_bytes
from mvdecor.files import write_atomically
from mvdecor.percent import percent, rounded
from mvdecor.results.pipeline import Results, part_iou, pretraining_curves, read_results
from mvdecor.results.table import html_table, mean_and_deviation, occurrence, spread, value_text
from mvdecor.settings import PathName, Settings

MARK = "<!doctype html>\n<!-- report of mvdecor -->\n"
"""How a report begins: only a file like that is written over."""
# Whatever a name may smuggle in, the browser fetches nothing. Plotly's 3D views compile functions from text.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
FIGURES = {"part mIoU": "part_miou", "shape mIoU": "shape_miou", "accuracy": "accuracy", "area seen": "coverage"}
"""Columns of the results, and their names in metrics.json."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5em 0; } img { max-width: 100%; } pre { overflow-x: auto; background: #f6f6f6; padding: 1em; }
.note { color: #666; }
"""


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
    results = read_results(Path(cfg.run))
    shapes = worst_and_best(results, cfg.shapes, cfg.data_root)
    page = report_page(results, shapes).encode()
    write_atomically(out, page)
    print(f"{out}: {len(page) / 1e6:.1f} MB, opens in any browser", flush=True)
    return out


def report_page(results: Results, shapes: Sequence[ReportedShape]) -> str:
    """The whole page as text: every section, the pictures and the scripts within it."""
    title = escape(f"{results.runs[-1].metrics['config']['data']['category']}: {results.folder}")
    sections = [
        _section("run", "Run", _summary(results)),
        _section("results", "Results", _results(results)),
        _section("curves", "Curves", _curves(results)),
        _section("parts", "Parts", _plot("plot-parts", parts_figure(results)) + _parts_table(results)),
        _section("confusion", "Confusion", _confusion(results)),
        _section("calibration", "Calibration", _calibration(results)),
        _section("shapes", "Worst and best shapes", _shapes(results, shapes)),
        _section("turn", "In 3D", _turning(shapes)),
        _section("config", "Configuration", _config(results)),
    ]
    return (
        f'{MARK}<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{title}</h1>\n{''.join(sections)}</body></html>\n"
    )


def _section(id: str, title: str, content: str) -> str:
    return f'<section id="{id}"><h2>{title}</h2>\n{content}\n</section>\n'


def _plot(id: str, figure: go.Figure | None, fallback: str = "", script: str | None = None) -> str:
    """A figure as HTML without plotly itself, which the page holds once; a note where there is none."""
    if figure is None:
        return f'<p class="note">{escape(fallback)}</p>'
    figure.update_layout(template="plotly_white", font_family="system-ui, sans-serif")
    config = {"displaylogo": False, "responsive": True}
    return plotly.io.to_html(
        figure, config=config, include_plotlyjs=False, full_html=False, post_script=script, div_id=id
    )


def _summary(results: Results) -> str:
    """Where, when and with what the numbers were made."""
    last = results.runs[-1].metrics
    cost = (results.table or last).get("cost") or {}
    facts: dict[str, object] = {
        "folder": results.folder,
        "category": last["config"]["data"]["category"],
        "revision of the code": ", ".join(dict.fromkeys(run.revision for run in results.runs)),
        "seed": last["seed"],
        **{f"machine: {name}": value for name, value in last.get("machine", {}).items() if name != "packages"},
        **{f"package: {name}": value for name, value in last.get("machine", {}).get("packages", {}).items()},
        "seconds by the clock": cost.get("wall_seconds"),
        "seconds of processors": cost.get("cpu_seconds"),
        **{f"peak memory in GB: {kind}": value for kind, value in cost.get("peak_memory_gb", {}).items()},
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(value_text(v))}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


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
    return html_table(methods) + f'<p class="note">{escape(note)}</p>' + html_table(singles) + _skipped(results)


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
    plot = _plot("plot-curves", curves_figure(results), "no training was logged in this folder")
    missing = not all(curves["training"] for curves in pretraining_curves(results).values())
    note = f"The training curves of the pretraining are not there: it left no {escape(SCALARS)}."
    return plot + (f'<p class="note">{note}</p>' if missing else "")


def _parts_table(results: Results) -> str:
    ceiling = results.runs[-1].metrics["ceiling"]["parts"]
    rows: list[dict[str, object]] = []
    for name in results.runs[0].metrics["parts"]:
        means = {method: part_iou(results.of(method), name)[0] for method in results.methods}
        rows.append({"part": name, **means, "ceiling": ceiling.get(name)})
    return "<details><summary>as a table</summary>" + html_table(rows) + "</details>"


def _confusion(results: Results) -> str:
    missing = (
        "metrics.json of these runs holds no confusion matrix (it was written by an older revision): evaluate again"
    )
    figures = [
        _plot(f"plot-confusion-{number}", confusion_figure(results.of(method)), missing)
        for number, method in enumerate(results.methods)
    ]
    return '<p class="note">Percent of each true part, over all runs.</p>' + "".join(dict.fromkeys(figures))


def _calibration(results: Results) -> str:
    """How often labels of a confidence are right, and the calibration error of each run."""
    rows: list[dict[str, object]] = []
    for run in results.runs:
        if figures := run.metrics.get("calibration"):
            errors = {"calibration error": figures["ece"], "of the share of the votes": figures["vote_share"]["ece"]}
            means = {"mean confidence": figures["confidence"], "accuracy": figures["accuracy"]}
            rows.append({"method": run.method, "run": run.number, **means, **errors})
    missing = "metrics.json of these runs holds no calibration (it was written by an older revision): evaluate again"
    plot = _plot("plot-calibration", calibration_figure(results), missing)
    note = "Percent of the area; all shapes have equal weight. On the dotted line accuracy equals confidence."
    return (f'<p class="note">{note}</p>' + plot + html_table(rows)) if rows else plot


def _shapes(results: Results, shapes: Sequence[ReportedShape]) -> str:
    if not shapes:
        return '<p class="note">None were asked for (shapes=0).</p>'
    parts = []
    for entry in shapes:
        figures = ", ".join(f"{method} {rounded(miou)}" for method, miou in entry.miou.items())
        lost = undetermined_shares(entry.shape)["area"] / 100
        unknown = f"; {percent(lost)} of its area is undetermined and not counted" if lost > 0 else ""
        caption = escape(f"{entry.rank}: {entry.shape.id} (mean IoU of its parts in %: {figures}{unknown})")
        image = b64encode(png_bytes(picture(entry))).decode()
        source = f"data:image/png;base64,{image}"
        parts.append(f'<figure><figcaption>{caption}</figcaption><img src="{source}" alt="{caption}"></figure>')
    ranking = escape(f"First run of each method; ranked by {results.methods[-1]}.")
    return f'<p class="note">{ranking}</p>' + "\n".join(parts)


def _turning(shapes: Sequence[ReportedShape]) -> str:
    if not shapes:
        return '<p class="note">None were asked for (shapes=0).</p>'
    note = '<p class="note">Drag to turn, scroll to come closer; all views turn together. Colours as in the pictures above.</p>'
    return note + _plot("plot-turn", turning_figure(shapes), script=TURN_TOGETHER)


def _config(results: Results) -> str:
    """The configuration of the pipeline or the run, as YAML."""
    config = OmegaConf.create((results.table or results.runs[-1].metrics)["config"])
    return f"<details><summary>all settings</summary><pre>{escape(OmegaConf.to_yaml(config))}</pre></details>"
