"""Rows of a table at an index: on the CPU by a compiled loop, which takes a fraction of PyTorch's time for short rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

SHORTEST_LOOP = 1000
"""So few rows are left to PyTorch: Numba takes longer to import."""


def rows_of(table: Tensor, index: Tensor) -> Tensor:
    """[Q, ...], the rows of a table [R, ...] at an index int [Q], all of them in [0, R), which is not checked."""
    if table.device.type != "cpu" or len(index) < SHORTEST_LOOP:
        return table.index_select(0, index)
    rows = table.reshape(len(table), -1).contiguous()
    result = rows.new_empty(len(index), rows.shape[1])
    _loop()(rows.numpy(), index.contiguous().numpy(), result.numpy())
    return result.view(len(index), *table.shape[1:])


def _take(table: np.ndarray, index: np.ndarray, result: np.ndarray) -> None:
    if table.shape[1] == 3:  # a constant, which the compiler unrolls
        for i in range(len(index)):
            for k in range(3):
                result[i, k] = table[index[i], k]
    else:
        for i in range(len(index)):
            for k in range(table.shape[1]):
                result[i, k] = table[index[i], k]


@cache
def _loop() -> Any:
    from mvdecor.compiled import compiled  # here, for a GPU needs no Numba

    return compiled(_take)
