"""Evaluations whose items are divided among all processes; each item has a record, so that a kill loses none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mvdecor.engine.cost import Cost, total_cost
from mvdecor.engine.distributed import barrier, own_part, processes, rank
from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords
from mvdecor.progress import with_progress

Measure = Callable[[Sequence[str], Sequence[str]], Iterator[tuple[str, Mapping[str, Any]]]]
"""Called with the ids of a block and those of them without a record; yields the records of the latter, plain values."""


def measure_missing(
    records: ShapeRecords,
    blocks: Sequence[Sequence[str]],
    measure: Measure,
    cost: Cost,
    purpose: str,
    is_final: Callable[[Mapping[str, Any]], bool] = lambda record: True,
) -> dict[str, Mapping[str, Any]]:
    """Measure what has no record; all processes together, which wait for each other. Gives every record, by id.

    Args:
        records: of what is done, which any number of processes may have begun.
        blocks: ids that one process measures together.
        measure: see `Measure`.
        cost: so far; what the records took is added.
        purpose: said beside the progress.
        is_final: whether a record stays; others are measured again.

    Raises:
        InputError: records of another evaluation, or files that changed meanwhile.
    """
    ids = [id for block in blocks for id in block]
    earlier = {id: record for id in ids if (record := records.read(id)) is not None}
    if earlier:
        print(f"{records.folder}: resuming after {len(earlier)} of {len(ids)}", flush=True)
        if rank() == 0:
            cost.load_state_dict(total_cost([record["cost"] for record in earlier.values()]))
    barrier()  # the first process is in the folder of the results now, and nobody else
    final = {id for id, record in earlier.items() if is_final(record)}
    own_blocks = own_part(list(blocks))
    for block in with_progress(own_blocks, purpose, len(own_blocks)):
        if missing := [id for id in block if id not in final]:
            cost_of_item = Cost()
            for id, figures in measure(block, missing):
                item_cost = cost_of_item.here()
                item_cost["wall_seconds"] /= processes()  # the others measure other items meanwhile
                records.write(id, {**figures, "cost": item_cost})
                cost_of_item = Cost()
    barrier()
    by_id: dict[str, Mapping[str, Any]] = {}
    for id in ids:
        measured = records.read(id)
        if measured is None:
            raise InputError(f"{id}: its files changed while it was measured: run the same command again")
        by_id[id] = measured
    barrier()  # all have read
    return by_id
