"""What the viewer's pages share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def rows_of(entries: Sequence[tuple[tuple[int, ...], str]]) -> str:
    """A square of each colour with its name, as HTML."""
    box = "display:inline-block;width:0.8em;height:0.8em;margin-right:0.4em;border-radius:2px;background:rgb"
    spans = [
        f'<span style="margin-right:0.9em;white-space:nowrap"><span style="{box}({r},{g},{b})"></span>{escape(name)}</span>'
        for (r, g, b), name in entries
    ]
    return f'<div style="font-size:0.8em;line-height:1.5;padding:0 0.5em">{" ".join(spans)}</div>'


def small(text: str) -> str:
    """A line of small text."""
    return f"<div style='font-size:0.85em;padding:0 1em'>{escape(text)}</div>"
