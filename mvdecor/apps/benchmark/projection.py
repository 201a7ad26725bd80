"""What the whole training would take on several devices, from the measured times of a step."""

from __future__ import annotations

from rich.table import Table

from mvdecor.apps.benchmark.measure import Row

DEVICES = (1, 8, 32)
ASSUMPTION = (
    "Hours of the whole training if n devices did n times the work of one: the averaging of gradients is not counted, nor "
    "that a smaller share of the batch fills a device less. On more devices than the batch has items the batch is larger, "
    "and the steps are fewer by as much. step: as measured, batches prepared in the training process; network: forward, "
    "backward and optimizer alone, on images that are ready; loader: batches alone, prepared by one process per device, "
    "which is the least that a training takes whose network is faster."
)


def project(row: Row) -> dict:
    """Images per second of a row's training on one device, and its hours on `DEVICES`.

    Hours are images per step x steps / (devices x images per second) / 3600.
    """
    training = row.training
    assert training is not None, f"row {row.row} is of no training"
    milliseconds = {"step": row.ours.median, "network": row.reference.median, "loader": training.sampling}
    rates = {name: 1e3 * training.images / time for name, time in milliseconds.items()}
    images = training.images * training.steps
    return {
        "training": training.name,
        "steps": training.steps,
        "images_per_step": training.images,
        "device": row.device,
        "images_per_second": rates,
        "hours": {
            str(count): {name: images / (count * rate) / 3600 for name, rate in rates.items()} for count in DEVICES
        },
    }


def projection_table(projections: list[dict]) -> Table:
    """For the terminal: one line per training and limit."""
    table = Table("training", "limit", "images/s", *(f"hours on {count}" for count in DEVICES), caption=ASSUMPTION)
    for projection in projections:
        name = f"{projection['training']}, {projection['steps']} steps of {projection['images_per_step']} images"
        for limit, rate in projection["images_per_second"].items():
            hours = (f"{projection['hours'][str(count)][limit]:.3g}" for count in DEVICES)
            table.add_row(name, limit, f"{rate:.4g}", *hours)
    return table
