"""Finished runs gathered from folders: every `metrics.json` below them, checked before they share a table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdecor.errors import InputError

COLUMN_SETTINGS = (
    "data.level",
    "evaluation.protocol",
    "evaluation.points",
    "training.finetune.k",
    "training.finetune.v",
)
"""What all results of a column must agree in, beside the test shapes: otherwise its methods cannot be compared."""

CELL_SETTINGS = (
    *("views.channels", "views.count", "views.close_ups", "views.size", "views.layers", "lifting", "loss"),
    *("network._target_", "network.encoder", "network.decoder_channels", "network.embedding_dim"),
    *("training.finetune.steps", "training.finetune.lambda_ssl"),
)
"""What all runs of a cell must agree in besides: otherwise their mean is the mean of nothing. No paths, no devices."""

PRETRAIN_CELL_SETTINGS = ("training.pretrain", "training.matching")
"""The same for methods that pretrain."""


@dataclass(frozen=True)
class RunResult:
    """One evaluated run.

    Attributes:
        file: its metrics.json.
        method: short name, as in configs/method.
        title: the method's name in tables.
        column: the table's column that it was run for, else the category.
        seed, run: which cameras and evaluation points (seed), and which labelled shapes and initial weights (both).
        part_miou, shape_miou: percent.
        test_ids: shapes that it was measured on, sorted.
        parts: names of the parts.
        occurring: names of those that occur in the test shapes; None if an older revision did not note it.
        config: the whole configuration, as plain values.
        revision: the code's.
    """

    file: Path
    method: str
    title: str
    column: str
    seed: int
    run: int
    part_miou: float
    shape_miou: float
    test_ids: tuple[str, ...]
    config: dict
    revision: str
    parts: tuple[str, ...] = ()
    occurring: tuple[str, ...] | None = None

    def setting(self, key: str) -> Any:
        """The value of a dotted key of its configuration; None where it has none."""
        value: Any = self.config
        for word in key.split("."):
            value = value.get(word) if isinstance(value, dict) else None
        return value


def read_runs(folders: Iterable[str | Path]) -> list[RunResult]:
    """Read every `metrics.json` below some folders, in order of their paths; a file reached twice is read once.

    Raises:
        InputError: a folder that is not there, or a file that is not a whole result.
    """
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: name folders that hold results (metrics.json at any depth)")
        for file in sorted(folder.rglob("metrics.json")):
            files.setdefault(file.resolve(), file)
    return [_read(file) for file in files.values()]


def check_cells(results: Sequence[RunResult]) -> None:
    """Refuse results that must not share a cell or a column.

    Raises:
        InputError: the same run twice, or two results measured or trained differently; the message names both files.
    """
    columns: dict[str, RunResult] = {}
    cells: dict[tuple[str, str], RunResult] = {}
    seen: dict[tuple, RunResult] = {}
    for result in results:
        identity = (result.method, result.column, result.seed, result.run)
        if (twin := seen.setdefault(identity, result)) is not result:
            raise InputError(
                f"{twin.file} and {result.file} are the same run: {result.method}, column {result.column!r}, seed "
                f"{result.seed}, run {result.run}: gather only one of them"
            )
        first = columns.setdefault(result.column, result)
        _same(first, result, COLUMN_SETTINGS, f"column {result.column!r}")
        if first.test_ids != result.test_ids:
            other = sorted(set(first.test_ids) ^ set(result.test_ids))
            raise InputError(
                f"{first.file} and {result.file} are both of column {result.column!r}, but were measured on different "
                f"test shapes ({len(other)} only in one of them, such as {other[0]}): gather them apart"
            )
        first = cells.setdefault((result.method, result.column), result)
        pretrained = result.setting("method.pretrain") is not False
        keys = CELL_SETTINGS + (PRETRAIN_CELL_SETTINGS if pretrained else ())
        _same(first, result, keys, f"{result.method} in column {result.column!r}")


def _same(a: RunResult, b: RunResult, keys: Sequence[str], where: str) -> None:
    for key in keys:
        if a.setting(key) != b.setting(key):
            raise InputError(
                f"{a.file} and {b.file} are both {where}, but differ in {key}: {a.setting(key)} and {b.setting(key)}: "
                "gather them apart"
            )


def _read(file: Path) -> RunResult:
    try:
        content = json.loads(file.read_bytes())
        config = content["config"]
        method = config.get("method") or {"name": _older_method(file)}
        result = RunResult(
            file=file,
            method=method["name"],
            title=method.get("title", method["name"]),
            column=(config.get("cell") or {}).get("column") or content["category"],
            seed=int(content["seed"]),
            run=int(config["run"]),
            part_miou=float(content["part_miou"]),
            shape_miou=float(content["shape_miou"]),
            test_ids=tuple(sorted(content["split"]["ids"])),
            config=config,
            revision=content["revision"],
            parts=tuple(content.get("parts", ())),
            occurring=tuple(content["occurring"]) if "occurring" in content else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{file}: not a whole result of scripts/evaluate.py ({type(error).__name__}: {error}): evaluate that run again, "
            "or move the file away"
        ) from error
    if not all(math.isfinite(value) and 0 <= value <= 100 for value in (result.part_miou, result.shape_miou)):
        raise InputError(
            f"{file}: part mIoU {result.part_miou} and shape mIoU {result.shape_miou} are no percentages: evaluate that "
            "run again"
        )
    return result


def _older_method(file: Path) -> str:
    """Results of before methods had names in the configuration lie in METHOD/run_N, as scripts/pipeline.py puts them."""
    if not re.fullmatch(r"run_\d+", file.parent.name):
        raise InputError(f"{file}: its configuration names no method: put it into a folder METHOD/run_N")
    return file.parents[1].name
