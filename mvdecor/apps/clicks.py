"""How many clicks it takes to label shapes, tool by tool, by a simulated annotator (scripts/clicks.py, configs/clicks.yaml)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import numpy as np
from omegaconf import DictConfig
from pydantic import Field

from mvdecor.apps.viewer.annotator import ACTIONS, Annotator, clicks_until, faces_until
from mvdecor.apps.viewer.tools import FaceTools
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.files import write_atomically, write_json
from mvdecor.progress import with_progress
from mvdecor.results.table import format_table
from mvdecor.settings import Count, PathName, Settings, Text
from mvdecor.shapes import Shape
from mvdecor.shapes.objects import read_objects
from mvdecor.systems.mvdecor.settings import DataSettings
from mvdecor.systems.mvdecor.setup import make_shape_set

ANY = "any"
"""Stands for all tools at once."""
Objects = Callable[[], Any]


class ClicksSettings(Settings):
    """configs/clicks.yaml."""

    data: DataSettings
    out: PathName
    split: Text
    limit: Count | None
    tools: Annotated[
        list[Text], Field(min_length=1, description="give a list of tools, for example tools=[crease,brush]")
    ]
    goal: Annotated[float, Field(gt=0, le=1, description="give a share of the area, above 0 and at most 1")]
    most: Count


def run_clicks(cfg: DictConfig) -> list[dict[str, Any]]:
    """Have the simulated annotator label shapes, and write `clicks.json` and `clicks.md`.

    Returns:
        the rows of the table.

    Raises:
        InputError: a bad setting, no shapes, or shapes without labels.
    """
    settings = ClicksSettings.of(cfg)
    if unknown := [tool for tool in settings.tools if tool not in (*ACTIONS, ANY)]:
        raise InputError(f"tools: {unknown[0]!r} is unknown: choose from {', '.join(ACTIONS)}, {ANY}")
    out = Path(settings.out)
    check_out(out)
    shape_set = make_shape_set(cfg.data.labelled)
    ids = shape_set.ids(settings.split)[: settings.limit]
    if not ids:
        raise InputError(f"split={settings.split}: there are no shapes in it: choose another")
    results: dict[str, Any] = {}
    for id in with_progress(ids, "labelling shapes", len(ids)):
        results[id] = _of_shape(shape_set.load(id), settings, _objects(shape_set, id))
    rows = [_row(tool, [result[tool] for result in results.values()], settings) for tool in settings.tools]
    write_json(out / "clicks.json", {"goal": settings.goal, "most": settings.most, "shapes": results, "rows": rows})
    table = format_table(rows)
    write_atomically(out / "clicks.md", f"{table}\n".encode())
    print(f"{table}\n{out / 'clicks.json'}", flush=True)
    return rows


def _objects(shape_set: Any, id: str) -> Objects | None:
    """The objects of a shape's file, where it is read from one."""
    meshes = [file for file in shape_set.files(id, labels=False) if file.suffix in (".obj", ".glb", ".gltf")]
    return (lambda: read_objects(meshes[0])) if len(meshes) == 1 else None


def _of_shape(shape: Shape, settings: ClicksSettings, objects: Objects | None) -> dict[str, Any]:
    """Clicks, and the share of the area that is right, of each tool; None where a shape has nothing that it works on."""
    if shape.face_labels is None:
        raise InputError(f"shape {shape.id} has no labels: nothing can be counted")
    truth, tools = shape.face_labels.numpy(), FaceTools(shape, objects)
    result: dict[str, Any] = {}
    for tool in settings.tools:
        annotator = Annotator(shape, tools, truth)
        try:
            if tool == "face":
                clicks, right = faces_until(shape, truth, settings.goal), settings.goal
            else:
                tools_of_row = [name for name in ACTIONS if name != "face"] if tool == ANY else [tool]
                clicks, right = clicks_until(annotator, tools_of_row, settings.goal, settings.most)
        except InputError:
            result[tool] = None
            continue
        result[tool] = {"clicks": clicks, "right": right}
    return result


def _row(tool: str, results: list[Any], settings: ClicksSettings) -> dict[str, Any]:
    """A row of the table: how many shapes reach the goal with a tool, with how many clicks, and how far the others come."""
    reached = [result["clicks"] for result in results if result is not None and result["right"] >= settings.goal]
    rights = [result["right"] for result in results if result is not None]
    return {
        "tool": tool,
        "shapes that reach it": f"{len(reached)} of {len(results)}",
        "median clicks to it": f"{median(reached):g}" if reached else None,
        "area right at the end": 100 * fmean(rights) if rights else None,
        "least": 100 * float(np.min(rights)) if rights else None,
    }
