"""Curves of trainings, the same for all systems whose stages are in `pretrain` and in folders of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mvdecor.apps.report.charts import COLOURS
from mvdecor.results.runs import read_stage


def training_curves(folder: Path, folders: Sequence[Path]) -> go.Figure | None:
    """Losses of the pretraining in `folder/pretrain` and of each fine-tuning; None where neither is there."""
    stages = {
        "pretraining": [folder / "pretrain" / "pretrain.json"],
        "fine-tuning": [f / "finetune.json" for f in folders],
    }
    present = {name: [file for file in files if file.exists()] for name, files in stages.items()}
    titles = [f"{name}: loss" for name, files in present.items() if files]
    if not titles:
        return None
    figure = make_subplots(cols=len(titles), subplot_titles=titles)
    for column, files in enumerate((files for files in present.values() if files), start=1):
        for file in files:
            history = read_stage(file, ("history",))["history"]
            steps, losses = [row["step"] for row in history], [row["loss"] for row in history]
            line = {"color": COLOURS[1], "width": 1.4}
            figure.add_trace(
                go.Scatter(x=steps, y=losses, mode="lines", line=line, showlegend=False), row=1, col=column
            )
    figure.update_xaxes(title_text="step").update_yaxes(type="log")
    return figure.update_layout(height=320, margin_t=40)
