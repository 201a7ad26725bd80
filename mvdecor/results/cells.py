"""What finished runs must agree in before they share a cell or a column of a table."""

from __future__ import annotations

from collections.abc import Sequence

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

CELL_SETTINGS = (
    *("views.channels", "views.count", "views.close_ups", "views.size", "views.layers", "lifting", "loss"),
    *("network._target_", "network.encoder", "network.decoder_channels", "network.embedding_dim"),
    *("training.finetune.steps", "training.finetune.lambda_ssl"),
)
"""What all runs of a cell must agree in besides: otherwise their mean is the mean of nothing. No paths, no devices."""

PRETRAIN_CELL_SETTINGS = ("training.pretrain", "training.matching")
"""The same for methods that pretrain."""


def check_cells(results: Sequence[Run]) -> None:
    """Refuse results that must not share a cell or a column.

    Raises:
        InputError: the same run twice, or two results measured or trained differently; the message names both files.
            Two results of the older rule of seeds are the same run also if only the sums of seed and run are equal.
    """
    columns: dict[str, Run] = {}
    cells: dict[tuple[str, str], Run] = {}
    by_identity: dict[tuple, Run] = {}
    for result in results:
        for identity in _identities(result):
            if (twin := by_identity.setdefault(identity, result)) is not result:
                raise InputError(_same_run(twin, result))
        first = columns.setdefault(result.column, result)
        _same(first, result, COLUMN_SETTINGS, f"column {result.column!r}")
        if first.test_ids != result.test_ids:
            only_in_one = sorted(set(first.test_ids) ^ set(result.test_ids))
            raise InputError(
                f"{first.file} and {result.file} are both of column {result.column!r}, but were measured on different "
                f"test shapes ({len(only_in_one)} only in one of them, such as {only_in_one[0]}): gather them apart"
            )
        first = cells.setdefault((result.method, result.column), result)
        pretrained = result.setting("method.pretrain") is not False
        keys = CELL_SETTINGS + (PRETRAIN_CELL_SETTINGS if pretrained else ())
        _same(first, result, keys, f"{result.method} in column {result.column!r}")


def _same(a: Run, b: Run, keys: Sequence[str], group: str) -> None:
    for key in keys:
        if a.setting(key) != b.setting(key):
            raise InputError(
                f"{a.file} and {b.file} are both {group}, but differ in {key}: {a.setting(key)} and {b.setting(key)}: "
                "gather them apart"
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
