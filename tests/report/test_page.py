"""The page: every section, the numbers of the files, names as text, and nothing from outside."""

import json
import shutil
import statistics
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from mvdecor.apps.report import run_report
from mvdecor.apps.report.html import MARK
from mvdecor.apps.report.page import report_page
from mvdecor.errors import InputError
from mvdecor.results.pipeline import read_results

SECTIONS = [
    "results",
    "parts",
    "confusion",
    "shapes",
    "turn",
    "curves",
    "calibration",
    "cost",
    "links",
    "config",
    "run",
]
"""Results first, the machine last."""
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser would find: sections with their text, tables, and whatever points somewhere."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tables: list[list[list[str]]] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.section = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[key] for key in ("src", "href", "action", "data", "srcset") if key in values]
        self.handlers += [key for key in values if key.startswith("on")]
        if tag == "section":
            self.section = values["id"]
            self.sections[self.section] = ""
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        self.section = "" if tag == "section" else self.section

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
            return
        if self.section:
            self.sections[self.section] += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def html(results, shown) -> str:
    return report_page(results, shown)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def table(page: Page, *header: str) -> list[list[str]]:
    """The rows of the only table with that header."""
    (found,) = [rows[1:] for rows in page.tables if rows[0] == list(header)]
    return found


def test_every_section_is_there_and_closed(page):
    assert list(page.sections) == SECTIONS
    assert all(len(content) > 20 for content in page.sections.values())
    assert page.open == []


def test_nothing_is_fetched(page, html):
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,")]
    contents = [link for link in page.links if link.startswith("#")]
    assert pictures and contents == [f"#{name}" for name in SECTIONS]
    assert not any(":" in link or link.startswith("/") for link in page.links if link not in pictures), (
        "files beside it"
    )
    assert page.handlers == []
    assert "default-src 'none'" in html
    assert html.count("Content-Security-Policy") == 1 and html.index("Content-Security-Policy") < html.index("<script")


def test_page_is_no_larger_than_promised(html):
    assert len(html.encode()) < 15_000_000


def test_results_are_those_of_the_files(page, run_folder):
    figures = ("part_miou", "shape_miou", "accuracy", "coverage")
    names = ("part mIoU", "shape mIoU", "accuracy", "area seen")
    files = {
        (method, run): json.loads((run_folder / method / f"run_{run}" / "metrics.json").read_text())
        for method in ("scratch", "pretrained")
        for run in (0, 1)
    }
    means = table(page, "method", "runs", *names)
    assert [row[0] for row in means] == ["scratch", "pretrained"]
    for method, runs, *cells in means:
        assert runs == "2"
        for key, cell in zip(figures, cells, strict=True):
            values = [files[method, run][key] for run in (0, 1)]
            assert cell == f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
    singles = table(page, "method", "run", *names, "ceiling", "test shapes")
    assert {(row[0], int(row[1])) for row in singles} == set(files)
    for method, run, *cells in singles:
        metrics = files[method, int(run)]
        expected = [metrics[key] for key in figures] + [metrics["ceiling"]["part_miou"]]
        assert cells == [f"{value:.1f}" for value in expected] + [str(len(metrics["shapes"]))]
    for part, scratch, pretrained, _ in table(page, "part", "scratch", "pretrained", "ceiling"):
        for method, cell in (("scratch", scratch), ("pretrained", pretrained)):
            assert cell == f"{statistics.mean(files[method, run]['parts'][part] for run in (0, 1)):.1f}"


def test_what_it_was_made_with(page):
    facts = {row[0]: row[1] for rows in page.tables if rows[0][0] == "folder" for row in rows}
    assert facts["revision of the code"] == "0123abcd"
    assert facts["seed"] == "0"
    assert facts["machine: processor"] == "a processor"
    assert facts["package: torch"] == "2.12.0"
    assert facts["seconds by the clock"] == "12.5"
    assert "category: balls" in page.sections["config"]


def test_calibration_is_that_of_the_files(page, results):
    header = ("method", "run", "mean confidence", "accuracy", "calibration error", "of the share of the votes")
    ranks = ("rank, shapes", "rank by disagreement", "rank, regions")
    shares = ("first region wrong", "area of five", "wrong area in them")
    rows = table(page, *header)
    rankings = table(page, *header[:2], *ranks, "told apart", "by disagreement", *shares)
    for row, ranking, run in zip(rows, rankings, results.runs, strict=True):
        figures = run.metrics["calibration"]
        assert row[:2] == ranking[:2] == [run.method, str(run.number)]
        assert row[2:] == [f"{figures[key]:.1f}" for key in ("confidence", "accuracy", "ece")] + ["77.7"]
        rank, regions = figures["rank_correlation"], figures["regions"]
        expected = (rank["one_minus_confidence"], rank["disagreement"], regions["rank_correlation"])
        assert ranking[2:5] == ["–" if x is None else f"{x:.2f}" for x in expected]
        assert ranking[5:7] == [f"{figures['points'][key]:.1f}" for key in ("one_minus_confidence", "disagreement")]
        assert ranking[7:] == [f"{regions[key]:.1f}" for key in ("first_wrong", "area", "found")]


def test_cost_of_each_stage_and_test_shape(page, results):
    rows = table(page, "stage", "seconds", "of processors", "of processors, per test shape", "memory in GB")
    assert [row[0] for row in rows][:3] == ["pretraining", "scratch, run 0: fine-tuning", "scratch, run 0: evaluation"]
    assert len(rows) == 1 + 2 * len(results.runs)
    for row in rows:
        assert row[1:3] == ["12.5", "11.5"] and row[4] == "host 0.5"
        assert row[3] == ("2.3" if row[0].endswith("evaluation") else "–")


def test_links_lead_to_files_and_to_other_pages(run_folder, tmp_path, make_config):
    copy = Path(shutil.copytree(run_folder, tmp_path / "a & b" / "run"))
    for folder in (copy / "scratch" / "run_0", copy, tmp_path / "a & b" / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "report.html").write_text(MARK)
    page = Path(tmp_path / "elsewhere" / "page.html")
    cfg = make_config("shapes=0", name="report")
    cfg.run, cfg.out = str(copy), str(page)
    html = run_report(cfg).read_text()
    links = [unquote(link) for link in Page(html).links if not link.startswith("#")]
    assert "../a & b/run/scratch/run_0/report.html" in links, "the page of a single run"
    assert {"../a & b/run/pretrained/run_1", "../a & b/run/table.json", "../a & b/other/report.html"} <= set(links)
    assert all((page.parent / link).exists() for link in links)
    single = copy / "scratch" / "run_0"
    cfg.run, cfg.out = str(single), str(single / "report.html")
    html = run_report(cfg).read_text()
    assert {"metrics.json", "labels", "../../report.html"} <= set(Page(html).links), "and from there to the pipeline's"


def test_a_run_of_an_older_revision_has_no_calibration(results):
    runs = [replace(run, metrics={k: v for k, v in run.metrics.items() if k != "calibration"}) for run in results.runs]
    text = Page(report_page(replace(results, runs=tuple(runs)), [])).sections["calibration"]
    assert "holds no calibration" in text


def test_shapes_that_were_skipped_are_listed(results):
    table = {**results.table, "skipped": [["ball_9", "no <such> file"]]}
    text = Page(report_page(replace(results, table=table), [])).sections["results"]
    assert "could not be read: 1" in text and "ball_9" in text and "no <such> file" in text


def test_worst_and_best_are_captioned(page, shown):
    text = page.sections["shapes"]
    for one in shown:
        assert f"{one.rank}: {one.shape.id} (" in text
        assert all(f"{method} {miou:.1f}" in text for method, miou in one.miou.items())


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>&amp;", "</title><b>"])
def test_names_are_text_wherever_they_appear(rename, results, page, name):
    html = report_page(*rename(name))
    renamed = Page(html)
    assert list(renamed.sections) == SECTIONS and renamed.open == [], "no name may open or close a tag"
    assert len(renamed.scripts) == len(page.scripts)
    fixed = [link for link in page.links if link.startswith(("#", "data:"))]
    assert len(renamed.links) == len(fixed) + len(results.runs) and renamed.handlers == [], "no other file is there"
    assert name not in html.replace("</title>", "", 1) and name in renamed.sections["results"]
    assert all(name not in script for script in renamed.scripts)
    assert (
        f"category: {name}" in renamed.sections["config"].replace("'", "") or "category: " in renamed.sections["config"]
    )


def test_page_of_a_single_run(run_folder, tmp_path, make_config):
    out = run_report(
        make_config(f"run={run_folder / 'pretrained' / 'run_0'}", f"out={tmp_path / 'page.html'}", name="report")
    )
    single = Page(out.read_text())
    assert list(single.sections) == SECTIONS
    metrics = json.loads((run_folder / "pretrained" / "run_0" / "metrics.json").read_text())
    ((method, runs, miou, *_),) = table(single, "method", "runs", "part mIoU", "shape mIoU", "accuracy", "area seen")
    assert (method, runs, miou) == ("mvdecor", "1", f"{metrics['part_miou']:.1f}")


def test_curves_that_are_not_there_are_named(run_folder, results, tmp_path):
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    assert "curves of the pretraining are not there" not in Page(report_page(results, [])).sections["curves"]
    (copy / "pretrain" / "log" / "scalars.csv").unlink()
    assert "curves of the pretraining are not there" in Page(report_page(read_results(copy), [])).sections["curves"]


def test_page_without_shapes_needs_no_data(run_folder, tmp_path, make_config):
    overrides = (f"run={run_folder}", f"out={tmp_path / 'page.html'}", "shapes=0", "data_root=nowhere")
    assert list(Page(run_report(make_config(*overrides, name="report")).read_text()).sections) == SECTIONS


def test_a_report_is_made_anew_but_nothing_else_is_written_over(run_folder, tmp_path, make_config):
    out = tmp_path / "page.html"
    cfg = make_config(f"run={run_folder}", f"out={out}", "shapes=0", name="report")
    assert run_report(cfg).read_bytes() == run_report(cfg).read_bytes()
    out.write_text("mine")
    with pytest.raises(InputError, match=r"page.html is there already and is no report: name another file"):
        run_report(cfg)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"run=null: name the folder of a run"),
        (["run=nowhere"], r"run=nowhere: no such folder"),
        (["run={empty}"], r"neither table.json nor metrics.json"),
        (["run={run}", "shapes=-1"], r"shapes=-1: give a whole number from 0"),
        (["run={run}", "shapes=many"], r"shapes=many: give a whole number"),
        (["run={run}", "data_root=nowhere"], r"nowhere: no such folder.*data_root=DIR"),
        (["run={run}", "out={empty}"], r"is there already and is no report"),
    ],
)
def test_bad_settings_are_refused_with_a_remedy(overrides, message, run_folder, tmp_path, make_config):
    words = [word.format(run=run_folder, empty=tmp_path) for word in overrides]
    with pytest.raises(InputError, match=message):
        run_report(make_config(*words, name="report"))
    assert list(tmp_path.iterdir()) == []
