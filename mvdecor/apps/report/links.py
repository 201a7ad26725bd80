"""Links of a page to the files of its run and to the pages of others; all relative, so that a folder can be moved whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

from mvdecor.results.pipeline import Results
from mvdecor.results.table import value_text

FILES = ("metrics.json", "table.json", "config.yaml", "finetune.json", "figures", "meshes", "labels", "log", "model")
"""What is linked of the folder of a run, where it is there."""
REPORT = "report.html"
OTHERS = 50
"""Pages of other runs that are listed, at most."""


def links(results: Results, start: Path) -> str:
    """The files of the run, its single runs with their figures, and the pages beside and above it.

    Args:
        results: of the page.
        start: the folder that the page will be in.
    """
    folder = results.folder
    parts = [_list("Files", [folder / name for name in FILES], start, folder)]
    if results.table is not None:
        rows = []
        for run in results.runs:
            page = run.folder / REPORT
            name = escape(f"{run.method}, run {run.number}")
            target = _link(page, name, start) if page.is_file() else _link(run.folder, name, start)
            rows.append(f"<li>{target}: part mIoU {escape(value_text(run.part_miou))}</li>")
        parts.append(f"<p>Runs</p><ul>{''.join(rows)}</ul>")
    parents = [parent / REPORT for parent in list(folder.absolute().parents)[:2]]
    siblings = sorted(folder.absolute().parent.glob(f"*/{REPORT}"))[:OTHERS]
    others = [page for page in (*parents, *siblings) if page.parent != folder.absolute()]
    parts.append(_list("Pages of other runs", others, start, folder.absolute().parent))
    return "".join(parts) or '<p class="note">There are no files and no other pages here.</p>'


def _list(title: str, targets: Iterable[Path], start: Path, folder: Path) -> str:
    rows = [
        f"<li>{_link(target, escape(os.path.relpath(target, folder)), start)}</li>"
        for target in targets
        if target.exists()
    ]
    return f"<p>{escape(title)}</p><ul>{''.join(rows)}</ul>" if rows else ""


def _link(target: Path, name: str, start: Path) -> str:
    """A link to an existing file or folder; the name is HTML."""
    return f'<a href="{quote(os.path.relpath(target, start))}">{name}</a>'
