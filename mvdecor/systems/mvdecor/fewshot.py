"""The labelled shapes of a run: sampled, or named by a split file."""

from __future__ import annotations

from omegaconf import DictConfig

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, ShapeSet, ShapeStore
from mvdecor.shapes.loading import labels_by_shape, load_labelled
from mvdecor.shapes.splits import FewShotRun, read_split, sample_covering, sha256_of


def few_shot_shapes(cfg: DictConfig, shape_set: ShapeStore) -> tuple[list[Shape], FewShotRun, list]:
    """The k labelled shapes of run `cfg.run`, what was chosen, and the skipped shapes.

    From the file `training.finetune.split`; without one they are sampled by the same rule as covering split files.
    """
    settings = cfg.training.finetune
    if settings.split is not None:
        run = split_run(cfg, shape_set, cfg.run)
        return [_load_of_split(shape_set, id, cfg) for id in run.shapes], run, []
    labels, skipped = labels_by_shape(shape_set, shape_set.ids("train"), cfg.data.on_error)
    run = sample_run(cfg, labels, shape_set.label_names)
    if run.labels_not_covered:
        names = ", ".join(run.labels_not_covered)
        print(f"note: no sample of k={len(run.shapes)} shapes was found that covers all labels; not covered: {names}")
    return [shape_set.load(id) for id in run.shapes], run, skipped


def sample_run(cfg: DictConfig, labels: dict[str, set[int]], label_names: tuple[str, ...]) -> FewShotRun:
    """The sample of run `cfg.run` among training shapes, given the labels that each of them shows."""
    settings = cfg.training.finetune
    return sample_covering(
        labels,
        label_names,
        k=settings.k,
        v=settings.v,
        num_views=cfg.views.count,
        seed=cfg.seed,
        run=cfg.run,
        replace=settings.replace,
    )


def split_file(cfg: DictConfig) -> dict[str, str] | None:
    """Name and hash of the split file of a configuration; None if its shapes are sampled."""
    file = cfg.training.finetune.split
    return None if file is None else {"file": file, "sha256": sha256_of(file)}


def _load_of_split(shape_set: ShapeStore, id: str, cfg: DictConfig) -> Shape:
    """A shape that a split file names: it cannot be skipped, the run would be another one."""
    try:
        shape, _ = load_labelled(shape_set, id, "raise")
    except InputError as error:
        raise InputError(f"{cfg.training.finetune.split}, run {cfg.run}, shape {id}: {error}") from error
    assert shape is not None
    return shape


def split_run(cfg: DictConfig, shape_set: ShapeSet, number: int) -> FewShotRun:
    """One run of the split file `training.finetune.split`.

    Raises:
        InputError: the file is missing, damaged, or made for another task; it lacks the run; or the run names a shape that
            is not in the training list.
    """
    file, settings = cfg.training.finetune.split, cfg.training.finetune
    split = read_split(file)
    pairs = {
        "data.name": (split.dataset, cfg.data.name),
        "data.category": (split.category, cfg.data.category),
        "data.level": (split.level, cfg.data.get("level")),
        "training.finetune.k": (split.k, settings.k),
        "training.finetune.v": (split.v, settings.v),
        "views.count": (split.num_views, None if split.v is None else cfg.views.count),
    }
    differ = [
        f"{key}={in_file}, here {configured}"
        for key, (in_file, configured) in pairs.items()
        if (None if in_file is None else str(in_file)) != (None if configured is None else str(configured))
    ]
    if differ:
        raise InputError(f"{file}: this split is for {'; '.join(differ)}: change the settings or choose another file")
    run = split.find(number)
    if run is None:
        available = ", ".join(str(split_run.run) for split_run in split.runs)
        raise InputError(f"{file}: has no run {number}, only {available}: lower run or training.finetune.runs")
    unknown = sorted(set(run.shapes) - set(shape_set.ids("train")))
    if unknown:
        raise InputError(
            f"{file}: run {number} names shape {unknown[0]}, which is not in the training list of {cfg.data.root} "
            f"({cfg.data.category}): choose the data.root and data.splits that the split was sampled from ({split.source})"
        )
    return run
