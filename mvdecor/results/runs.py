"""Finished runs read back: the one reader of metrics.json, finetune.json and pretrain.json."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes import Shape

METRICS = ("config", "category", "part_miou", "shape_miou", "split", "seed")
"""What metrics.json holds whatever revision wrote it."""
UNNAMED = "run"
"""The method of a result of before methods had names, in a folder that names none."""


@dataclass(frozen=True)
class Run:
    """A few-shot run that was evaluated.

    Attributes:
        folder: where its files are.
        method: short name, as in configs/method; in a pipeline "scratch" or "pretrained".
        column: the table's column that it was run for, else the category.
        seed, number: of the training: which labelled shapes and initial weights.
        part_miou, shape_miou: percent; None where there are views but no meshes.
        test_ids: shapes that it was measured on, sorted.
        metrics: all of metrics.json.
        finetuned: finetune.json, if it was read.
        untrained: whether it is a way that needs no training, of which a result holds the figures beside its own.
    """

    folder: Path
    method: str
    column: str
    seed: int
    number: int
    part_miou: float | None
    shape_miou: float | None
    test_ids: tuple[str, ...]
    metrics: dict
    finetuned: dict | None = None
    untrained: bool = False

    @property
    def file(self) -> Path:
        """Its metrics.json."""
        return self.folder / "metrics.json"

    @property
    def title(self) -> str:
        """The method's name in tables."""
        return (self.metrics["config"].get("method") or {}).get("title", self.method)

    @property
    def revision(self) -> str:
        """That of the code."""
        return self.metrics.get("revision", "unknown")

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(self.metrics.get("parts", ()))

    @property
    def occurring(self) -> tuple[str, ...] | None:
        """Names of the parts that occur in the test shapes; None if an older revision did not note it."""
        return tuple(self.metrics["occurring"]) if "occurring" in self.metrics else None

    @property
    def older_seeds(self) -> bool:
        """Whether labelled shapes and weights depend on the sum of seed and number only: before results had a key."""
        return "key" not in self.metrics

    def setting(self, key: str) -> Any:
        """The value of a dotted key of its configuration; None where it has none."""
        value: Any = self.metrics["config"]
        for word in key.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        return value

    def predicted_labels(self, shape: Shape) -> np.ndarray:
        """int [F], what the evaluation gave a test shape.

        Raises:
            InputError: it cannot be read, or is of another state of the mesh.
        """
        file = self.folder / "labels" / f"{shape.id}.npy"
        try:
            labels = np.load(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: predicted labels cannot be read ({error}): evaluate again") from error
        if labels.shape != (shape.num_faces,) or labels.max() >= len(shape.label_names):
            raise InputError(
                f"{file}: these labels are of another state of shape {shape.id} ({shape.num_faces} faces, "
                f"{len(shape.label_names)} parts): give data_root= of the data that was evaluated"
            )
        return labels

    def confidence(self, shape: Shape) -> np.ndarray | None:
        """float [F], how sure the evaluation was of each of `predicted_labels`; None for a run of an older revision.

        Raises:
            InputError: it cannot be read, or is of another state of the mesh.
        """
        file = self.folder / "confidence" / f"{shape.id}.npy"
        if not file.exists():
            return None
        try:
            values = np.load(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read ({error}): evaluate again") from error
        if values.shape != (shape.num_faces,):
            raise InputError(
                f"{file}: is of another state of shape {shape.id} ({shape.num_faces} faces): give data_root= of the data "
                "that was evaluated"
            )
        return values.astype(np.float32)


def read_runs(folders: Iterable[str | Path]) -> list[Run]:
    """Read every `metrics.json` below some folders, in order of their paths; a file reached twice is read once.

    Where a result holds figures of ways that need no training, or of the same model without any image, these are runs
    before it; those without training once, however many methods stand beside them.

    Raises:
        InputError: a folder that is not there, a file that is not a whole result, or one whose method has no name.
    """
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name folders that hold results (metrics.json at any depth)")
        for file in sorted(folder.rglob("metrics.json")):
            files.setdefault(file.resolve(), file)
    runs = [read_run(file.parent) for file in files.values()]
    for run in runs:
        if run.method == UNNAMED:
            raise InputError(f"{run.file}: its configuration names no method: put it into a folder METHOD/run_N")
    rows: dict[tuple[str, str, int, int], Run] = {}
    for row in (row for run in runs for row in untrained(run)):
        rows.setdefault((row.method, row.column, row.seed, row.number), row)
    return [*rows.values(), *(row for run in runs for row in with_baseline(run))]


def untrained(run: Run) -> list[Run]:
    """The ways of an open-vocabulary result that need no training, as runs with the way's name."""
    return [
        replace(_row(run, name, name, figures), untrained=True)
        for name, figures in run.metrics.get("rows", {}).items()
        if name != "distilled"
    ]


WITHOUT_IMAGE = {"mean_code": "mean code", "no_image": "no image"}
"""Where a result holds the figures of the same model without any image, and how a table calls them."""


def with_baseline(run: Run) -> list[Run]:
    """The run, and before it that of the same model without any image if it holds one (Semantic SRN, To The Point)."""
    for key, words in WITHOUT_IMAGE.items():
        if (figures := run.metrics.get(key)) is not None:
            return [_row(run, f"{run.method}_{key}", f"{run.title}, {words}", {**figures, key: None}), run]
    return [run]


def _row(run: Run, method: str, title: str, figures: Mapping[str, Any]) -> Run:
    """A run of other figures: of a method that the result of `run` holds beside its own."""
    config = {**run.metrics["config"], "method": {"name": method, "title": title}}
    scores = {key: figures.get(key) for key in ("part_miou", "shape_miou")}
    metrics = {**run.metrics, **figures, **scores, "config": config, "cost": None}
    return replace(run, method=method, metrics=metrics, part_miou=scores["part_miou"], shape_miou=scores["shape_miou"])


def read_run(folder: Path, method: str | None = None, keys: Sequence[str] = ()) -> Run:
    """Read the metrics.json of a folder.

    Args:
        folder: `out` of scripts/evaluate.py.
        method: its name; None = as the configuration says, else as the folder METHOD/run_N does, else `UNNAMED`.
        keys: what the file must hold beside `METRICS`.

    Raises:
        InputError: it is not there, or not a whole result.
    """
    file = folder / "metrics.json"
    metrics = read_stage(file, (*METRICS, *keys))
    try:
        config = metrics["config"]
        run = Run(
            folder=folder,
            method=method or (config.get("method") or {"name": _older_method(folder)})["name"],
            column=(config.get("cell") or {}).get("column") or metrics["category"],
            seed=int(metrics.get("trained_with", {}).get("seed", metrics["seed"])),
            number=int(config.get("run", 0)),
            part_miou=_score(metrics, "part_miou"),
            shape_miou=_score(metrics, "shape_miou"),
            test_ids=tuple(sorted(metrics["split"]["ids"])),
            metrics=metrics,
        )
        _ = run.title, run.parts, run.occurring  # damage shows here, with the name of the file
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{file}: not a whole result ({type(error).__name__}: {error}): evaluate that run again, or move the file away"
        ) from error
    scores = [value for value in (run.part_miou, run.shape_miou) if value is not None]
    if not all(math.isfinite(value) and 0 <= value <= 100 for value in scores):
        raise InputError(
            f"{file}: part mIoU {run.part_miou} and shape mIoU {run.shape_miou} are no percentages: evaluate that run again"
        )
    return run


def system_of(folder: Path) -> str | None:
    """The system that a folder holds a pipeline or an evaluation of; None where it does not say."""
    for file in (folder / "table.json", folder / "metrics.json"):
        try:
            return json.loads(file.read_text())["config"].get("system")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # what is wrong with it, the reader of results says
    return None


def _score(metrics: dict, key: str) -> float | None:
    """A percentage; None only of a result about views, reconstructions or words."""
    is_about_images = any(key in metrics for key in ("images", "mask_iou", "rows"))
    return None if metrics[key] is None and is_about_images else float(metrics[key])


def read_stage(file: Path, keys: Sequence[str]) -> dict:
    """The JSON file that closes a stage.

    Raises:
        InputError: it cannot be read, or lacks one of the keys.
    """
    result = read_json(file, "evaluate that run again" if file.name == "metrics.json" else "run that stage again")
    missing = [key for key in keys if not isinstance(result, dict) or key not in result]
    if missing:
        raise InputError(
            f"{file}: not a whole result of this kind of run ({', '.join(missing)} missing): evaluate that run again, name "
            "another folder, or move the file away"
        )
    return result


def _older_method(folder: Path) -> str:
    """Results of before methods had names in the configuration lie in METHOD/run_N, as scripts/pipeline.py puts them."""
    return folder.parent.name if re.fullmatch(r"run_\d+", folder.name) else UNNAMED
