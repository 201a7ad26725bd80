"""What the pages of all systems share: sections, plots, the frame that fetches nothing from outside."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
from omegaconf import OmegaConf
from plotly.offline import get_plotlyjs

from mvdecor.figures import png_bytes
from mvdecor.results.table import value_text

MARK = "<!doctype html>\n<!-- report of mvdecor -->\n"
"""How a report begins: only a file like that is written over."""
# Whatever a name may smuggle in, the browser fetches nothing. Plotly's 3D views compile functions from text.
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.5em 0; } img { max-width: 100%; } pre { overflow-x: auto; background: #f6f6f6; padding: 1em; }
nav { position: sticky; top: 0; background: #fff; padding: .4em 0; border-bottom: 1px solid #ddd; z-index: 9; }
.note { color: #666; } summary { cursor: pointer; }
"""


def whole_page(title: str, sections: Sequence[str]) -> str:
    """The page as text, with the scripts within it."""
    return (
        f'{MARK}<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{_contents(sections)}{''.join(sections)}</body></html>\n"
    )


def _contents(sections: Sequence[str]) -> str:
    """Links to the sections."""
    heads = [re.match(r'<section id="([^"]*)"><h2>(.*?)</h2>', text) for text in sections]
    return "<nav>" + " · ".join(f'<a href="#{head[1]}">{head[2]}</a>' for head in heads if head) + "</nav>\n"


def section(id: str, title: str, content: str) -> str:
    """A section with its heading; the content is HTML, the title text without any."""
    return f'<section id="{id}"><h2>{title}</h2>\n{content}\n</section>\n'


def plot_html(id: str, figure: go.Figure | None, fallback: str = "", script: str | None = None) -> str:
    """A figure as HTML without plotly itself, which the page holds once; a note where there is none."""
    if figure is None:
        return f'<p class="note">{escape(fallback)}</p>'
    figure.update_layout(template="plotly_white", font_family="system-ui, sans-serif")
    config = {"displaylogo": False, "responsive": True}
    return plotly.io.to_html(
        figure, config=config, include_plotlyjs=False, full_html=False, post_script=script, div_id=id
    )


def figure_html(picture: np.ndarray, caption: str) -> str:
    """A picture uint8 [H, W, 3] within the page, its caption (text) above."""
    source = f"data:image/png;base64,{b64encode(png_bytes(picture)).decode()}"
    text = escape(caption)
    return f'<figure><figcaption>{text}</figcaption><img src="{source}" alt="{text}"></figure>'


def summary_html(folder: Path, metrics: Mapping[str, Any], revisions: str, cost: Mapping[str, Any]) -> str:
    """Where, when and with what the numbers of a metrics.json were made, as a table."""
    facts: dict[str, object] = {
        "folder": folder,
        "category": metrics["config"]["data"].get("category", metrics["category"]),
        "revision of the code": revisions,
        "seed": metrics["seed"],
        **{f"machine: {name}": value for name, value in metrics.get("machine", {}).items() if name != "packages"},
        **{f"package: {name}": value for name, value in metrics.get("machine", {}).get("packages", {}).items()},
        "seconds by the clock": cost.get("wall_seconds"),
        "seconds of processors": cost.get("cpu_seconds"),
        **{f"peak memory in GB: {kind}": value for kind, value in cost.get("peak_memory_gb", {}).items()},
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(value_text(v))}</td></tr>" for k, v in facts.items())
    return f"<table>{rows}</table>"


def config_html(config: dict[str, Any]) -> str:
    """A configuration as YAML, folded."""
    text = escape(OmegaConf.to_yaml(OmegaConf.create(config)))
    return f"<details><summary>all settings</summary><pre>{text}</pre></details>"
