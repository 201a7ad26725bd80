"""A folder of scripts/pipeline.py or of one evaluation: its stages, and the curves of its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvdecor.engine.log import SCALARS, read_scalars
from mvdecor.errors import InputError
from mvdecor.results.runs import Run, read_run, read_stage
from mvdecor.results.table import mean_and_deviation

Curve = list[tuple[int, float]]
"""(steps taken, value) in order."""

MEASURED = ("accuracy", "parts", "shapes", "coverage", "ceiling", "cost")
"""What a page about a run needs of metrics.json."""
TRAINED = ("history", "shapes", "cost")
"""What it needs of finetune.json and pretrain.json."""


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
        table = read_stage(folder / "table.json", ("rows", "runs", "config"))
        runs = [_run(folder / row["method"] / f"run_{row['run']}", row["method"]) for row in table["runs"]]
        stage_file = folder / "pretrain" / "pretrain.json"
        pretrained = read_stage(stage_file, TRAINED) if stage_file.exists() else None
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


def part_iou(runs: Sequence[Run], part: str) -> tuple[float | None, float | None]:
    """Mean and sample deviation of a part's IoU over runs, percent; None where no run counted it, or only one did."""
    return mean_and_deviation(run.metrics["parts"][part] for run in runs)


def _scalars(stage: Path) -> dict[str, Curve]:
    """The scalars of a stage with steps counted from 1, as the JSON files count; none if it wrote no CSV."""
    file = stage / "log" / SCALARS
    if not file.exists():
        return {}
    return {name: [(step + 1, value) for step, value in curve] for name, curve in read_scalars(file).items()}


def _run(folder: Path, method: str | None) -> Run:
    run = read_run(folder, method, MEASURED)
    stage_file = folder / "finetune.json"
    return replace(run, finetuned=read_stage(stage_file, TRAINED)) if stage_file.exists() else run
