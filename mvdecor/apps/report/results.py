"""A results folder for the report: JSON files of the stages, curves of the trainings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mvdecor.engine.log import SCALARS, read_scalars
from mvdecor.errors import InputError

Curve = list[tuple[int, float]]
"""(steps taken, value) in order."""

METRICS = ("part_miou", "shape_miou", "accuracy", "parts", "shapes", "coverage", "ceiling", "cost", "config", "seed")


@dataclass(frozen=True)
class Run:
    """A fine-tuned model that was measured.

    Attributes:
        method: "scratch" or "pretrained" in a pipeline, else the method of its configuration.
        number: of its few-shot draw.
        folder: where its files are.
        metrics: metrics.json.
        finetuned: finetune.json; None if the model was fine-tuned elsewhere.
    """

    method: str
    number: int
    folder: Path
    metrics: dict
    finetuned: dict | None


@dataclass(frozen=True)
class Results:
    """What a folder holds.

    Attributes:
        folder: the folder.
        runs: at least one, the methods in the order of the pipeline.
        table: table.json of a pipeline; None for a single run.
        pretrained: pretrain.json of a pipeline that pretrained itself, else None.
    """

    folder: Path
    runs: tuple[Run, ...]
    table: dict | None
    pretrained: dict | None

    @property
    def methods(self) -> list[str]:
        """Each method once, in order; the last is what the others are compared with."""
        return list(dict.fromkeys(run.method for run in self.runs))

    def of(self, method: str) -> list[Run]:
        """The runs of a method."""
        return [run for run in self.runs if run.method == method]


def read_results(folder: Path) -> Results:
    """Read a folder of scripts/pipeline.py, or of one finetune.py and evaluate.py.

    Raises:
        InputError: there is no such folder, no finished run in it, or a file is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"run={folder}: no such folder; name the out= of scripts/pipeline.py or scripts/evaluate.py")
    if (folder / "table.json").exists():
        table = _read(folder / "table.json", ("rows", "runs", "config"))
        runs = [_run(folder / row["method"] / f"run_{row['run']}", row["method"]) for row in table["runs"]]
        own = folder / "pretrain" / "pretrain.json"
        pretrained = _read(own, ("history", "shapes", "cost")) if own.exists() else None
        return Results(folder, tuple(runs), table, pretrained)
    if not (folder / "metrics.json").exists():
        raise InputError(
            f"run={folder}: neither table.json nor metrics.json is there: name the out= of a scripts/pipeline.py or "
            "scripts/evaluate.py that has finished"
        )
    return Results(folder, (_run(folder, None),), None, None)


def pretraining_curves(results: Results) -> dict[str, dict[str, Curve]]:
    """By figure ("loss", "retrieval_accuracy") the curves "training" and "validation" of a pipeline's pretraining."""
    if results.pretrained is None:
        return {}
    logged = _scalars(results.folder / "pretrain")
    curves: dict[str, dict[str, Curve]] = {}
    for figure in ("loss", "retrieval_accuracy"):
        validation = [(int(row["step"]), float(row[figure])) for row in results.pretrained["history"]]
        curves[figure] = {"training": logged.get(f"pretrain/{figure}", []), "validation": validation}
    return curves


def finetuning_curve(run: Run) -> Curve:
    """The segmentation loss, averaged between the steps logged; empty if the model was fine-tuned elsewhere."""
    return [(int(row["step"]), float(row["loss"])) for row in run.finetuned["history"]] if run.finetuned else []


def _scalars(stage: Path) -> dict[str, Curve]:
    """The scalars of a stage with steps counted from 1, as the JSON files count; none if it wrote no CSV."""
    file = stage / "log" / SCALARS
    return {name: [(s + 1, v) for s, v in curve] for name, curve in read_scalars(file).items()} if file.exists() else {}


def _run(folder: Path, method: str | None) -> Run:
    metrics = _read(folder / "metrics.json", METRICS)
    own = folder / "finetune.json"
    finetuned = _read(own, ("history", "shapes", "cost")) if own.exists() else None
    config = metrics["config"]
    name = method or (config.get("method") or {}).get("name", "run")
    return Run(name, int(config.get("run", 0)), folder, metrics, finetuned)


def _read(file: Path, keys: tuple[str, ...]) -> dict:
    """A result, checked to hold some keys."""
    try:
        result = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}): run that stage again") from error
    except ValueError as error:
        raise InputError(f"{file}: damaged result ({error}): remove it and run that stage again") from error
    missing = [key for key in keys if not isinstance(result, dict) or key not in result]
    if missing:
        raise InputError(f"{file}: not a result of this kind of run ({', '.join(missing)} missing): name another run=")
    return result
