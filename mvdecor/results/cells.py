"""What finished runs must agree in before they share a cell or a column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mvdecor.errors import InputError
from mvdecor.results.runs import Run

COLUMN_SETTINGS = (
    "data.level",
    "evaluation.protocol",
    "evaluation.points",
    "training.finetune.k",
    "training.finetune.v",
)
"""What all results of a column must agree in, beside the test shapes: otherwise its methods cannot be compared."""

OF_VIEWS = ("capture.count", "capture.size", "evaluation.measured")
"""What those of a column that are about views must agree in too."""

MAY_DIFFER = (
    *("out", "checkpoint", "seed", "run", "device", "workers", "progress", "save_every", "table", "cell"),
    *("data.root", "data.test_root", "data.splits", "data.labels", "data.meshes", "data.generate"),
    *(
        f"data.{reader}.{name}"
        for reader in ("labelled", "unlabelled")
        for name in ("root", "splits", "labels", "meshes")
    ),
    *("views.cache", "views.keep", "training.log_every", "training.finetune.runs", "training.finetune.split"),
    *("cache", "training.cudnn_benchmark", "training.finetune.validate_every"),
    *("evaluation.split", "evaluation.limit", "evaluation.batch_size", "evaluation.meshes"),
    *("evaluation.clouds", "evaluation.field"),
    *("photographs.root", "photographs.generate", "template.file", "evaluation.figures"),
    *(f"capture.{name}" for name in ("seed", "root", "splits", "labels", "memory")),
    *(f"capture.shapes.{name}" for name in ("root", "splits", "labels")),
)
"""Settings in which the runs of a cell may differ: what makes them runs, where things lie, how fast it goes, what is printed.
In all others they must agree: otherwise their mean is the mean of nothing."""

OF_PRETRAINING = (
    "training.pretrain",
    "training.crops",
    "data.pretrain_split",
    "data.pretrain_limit",
    "data.unlabelled",
)
"""Settings that may differ too where a method does not pretrain."""

OF_CONTRAST = ("loss", "training.matching", "training.gather")
"""Settings that may differ too where neither pretraining nor fine-tuning has a contrastive loss."""


def check_cells(results: Sequence[Run]) -> None:
    """Refuse results that must not share a cell or a column.

    Raises:
        InputError: the same run twice, or two results measured or trained differently; the message names both files.
            Two results of the older rule of seeds are the same run also if only the sums of seed and run are equal.
    """
    columns: dict[str, Run] = {}
    views: dict[str, Run] = {}
    cells: dict[tuple[str, str], Run] = {}
    by_identity: dict[tuple, Run] = {}
    for result in results:
        for identity in _identities(result):
            if (twin := by_identity.setdefault(identity, result)) is not result:
                raise InputError(_same_run(twin, result))
        first = columns.setdefault(result.column, result)
        settings = [{key: run.setting(key) for key in COLUMN_SETTINGS} for run in (first, result)]
        _agree(first, result, settings, f"column {result.column!r}")
        if "images" in result.metrics:
            first_of_views = views.setdefault(result.column, result)
            settings = [{key: run.setting(key) for key in OF_VIEWS} for run in (first_of_views, result)]
            _agree(first_of_views, result, settings, f"column {result.column!r}")
        if first.test_ids != result.test_ids:
            only_in_one = sorted(set(first.test_ids) ^ set(result.test_ids))
            raise InputError(
                f"{first.file} and {result.file} are both of column {result.column!r}, but were measured on different "
                f"test shapes ({len(only_in_one)} only in one of them, such as {only_in_one[0]}): gather them apart"
            )
        _check_name(result)
        first = cells.setdefault((result.method, result.column), result)
        settings = [_compared(run) for run in (first, result)]
        _agree(first, result, settings, f"{result.method} in column {result.column!r}")


def _compared(result: Run) -> dict[str, Any]:
    """By dotted key, all settings that a cell must share, those of the training as "trained with ..."."""
    left_out = MAY_DIFFER
    if result.setting("method.pretrain") is False:
        left_out += OF_PRETRAINING
        if not result.setting("training.finetune.lambda_ssl"):
            left_out += OF_CONTRAST
    configs = (("", result.metrics["config"]), ("trained with ", result.metrics.get("trained_with", {})))
    return {
        name + key: value
        for name, config in configs
        for key, value in _leaves(config).items()
        if not any(key == prefix or key.startswith(f"{prefix}.") for prefix in left_out)
    }


def _leaves(config: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        leaves |= _leaves(value, f"{group}{name}.") if isinstance(value, dict) else {f"{group}{name}": value}
    return leaves


def _check_name(result: Run) -> None:
    """A method that pretrains must not name a model that was not, nor the other way round."""
    pretrains, pretrained = result.setting("method.pretrain"), result.metrics.get("pretrained")
    if pretrains is not None and pretrained is not None and pretrains != pretrained:
        raise InputError(
            f"{result.file}: its method is {result.method} (method.pretrain={str(pretrains).lower()}), but the model was "
            f"{'pretrained' if pretrained else 'trained from scratch'}: fine-tune it again with the method's own name, "
            "method=NAME (configs/method)"
        )


def _agree(a: Run, b: Run, settings: Sequence[Mapping[str, Any]], place: str) -> None:
    unset = "not set"
    for key in dict.fromkeys([*settings[0], *settings[1]]):
        value_of_a, value_of_b = (values.get(key, unset) for values in settings)
        if value_of_a != value_of_b:
            raise InputError(
                f"{a.file} and {b.file} are both {place}, but differ in {key}: {value_of_a} and {value_of_b}: gather them apart"
            )


def _identities(result: Run) -> list[tuple]:
    """What no other result of the cell may share with this one."""
    cell = (result.method, result.column)
    sums = [(*cell, "older", result.seed + result.number)] if result.older_seeds else []
    return [(*cell, result.seed, result.number), *sums]


def _same_run(a: Run, b: Run) -> str:
    if (a.seed, a.number) == (b.seed, b.number):
        runs, reason = f"seed {b.seed}, run {b.number}", ""
    else:
        runs = f"seed {a.seed}, run {a.number} and seed {b.seed}, run {b.number}"
        reason = " (an older version sampled shapes and weights by the sum of seed and run)"
    return f"{a.file} and {b.file} are the same run: {b.method}, column {b.column!r}, {runs}{reason}: gather only one of them"
