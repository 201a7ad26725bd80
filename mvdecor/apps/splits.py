"""Sample few-shot splits of a data set and write them as files (scripts/splits.py, configs/splits.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import Field, model_validator

from mvdecor.errors import InputError
from mvdecor.settings import Count, PathName, Settings, WholeNumber, shown
from mvdecor.shapes.loading import labels_by_shape
from mvdecor.shapes.partnet import train_lists
from mvdecor.shapes.splits import FewShotSplit, sample_covering, sample_uniform, write_split
from mvdecor.systems.mvdecor.check import check_labels
from mvdecor.systems.mvdecor.settings import DataSettings
from mvdecor.systems.mvdecor.setup import make_shape_set, make_store


class SplitsSettings(Settings):
    """configs/splits.yaml."""

    data: DataSettings
    out: PathName
    cache: PathName | None
    rule: Literal["covering", "uniform"]
    k: Annotated[
        list[Count],
        Field(min_length=1, description="give a list of whole numbers of at least 1, for example k=[10,30]"),
    ]
    v: Annotated[
        list[Count | None],
        Field(min_length=1, description="give a list of whole numbers of at least 1, or null, for example v=[null,5]"),
    ]
    num_views: Count
    runs: Count
    seed: WholeNumber

    @model_validator(mode="after")
    def _enough_views(self) -> Self:
        largest_v = max((v for v in self.v if v is not None), default=0)
        if largest_v > self.num_views:
            raise ValueError(f"v={shown(self.v)}, but num_views={self.num_views}: lower v or raise num_views")
        return self


def run_splits(cfg: DictConfig) -> list[Path]:
    """Sample and write the split files that configs/splits.yaml describes; the same command writes the same bytes.

    With `data.category=all` (PartNet) every category is tried; those that cannot be sampled are listed with the reason.

    Returns:
        The files.

    Raises:
        InputError: a bad setting; a split that cannot be sampled if one category was asked for, or if it is so for all.
    """
    SplitsSettings.of(cfg)
    all_categories = cfg.data.category == "all"
    splits: list[FewShotSplit] = []
    skipped: list[str] = []
    for category, ids in _training_ids(cfg).items():
        category_cfg: Any = OmegaConf.merge(cfg, {"data": {"category": category}})
        try:
            names, labels = _labels(category_cfg, ids) if cfg.rule == "covering" else ((), {id: set() for id in ids})
        except InputError as error:
            if not all_categories:
                raise
            skipped.append(f"{category}: {error}")
            continue
        for k in cfg.k:
            try:
                splits += [_sample(category_cfg, ids, names, labels, k, v) for v in cfg.v]
            except InputError as error:
                if not all_categories:
                    raise
                skipped.append(f"{category}, k={k}: {error}")
    if not splits:
        raise InputError(f"no split could be sampled; the first because: {skipped[0]}")
    files = [_write(cfg, split) for split in splits]
    if skipped:
        print(f"skipped, because they could not be sampled ({len(skipped)}):")
        for reason in skipped:
            print(f"  {reason}")
    return files


def _training_ids(cfg: DictConfig) -> dict[str, list[str]]:
    """{category: ids of its training list}. For PartNet from `stats/` alone: no shape has to be there."""
    if "level" not in cfg.data:
        return {cfg.data.category: make_shape_set(cfg.data.labelled).ids("train")}
    lists = train_lists(cfg.data.root, cfg.data.level, cfg.data.splits)
    if cfg.data.category == "all":
        return lists
    if cfg.data.category not in lists:
        raise InputError(
            f"data.category={cfg.data.category} has no training list or no labels of level {cfg.data.level} in "
            f"{cfg.data.root}: choose all or one of {', '.join(lists)}"
        )
    return {cfg.data.category: lists[cfg.data.category]}


def _labels(cfg: DictConfig, ids: list[str]) -> tuple[tuple[str, ...], dict[str, set[int]]]:
    """Label names, and the labels that each shape of a list shows; bad shapes are left out under data.on_error=skip."""
    shape_set = make_store(cfg, cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    return shape_set.label_names, labels_by_shape(shape_set, ids, cfg.data.on_error)[0]


def _sample(
    cfg: DictConfig, ids: list[str], names: tuple[str, ...], labels: dict[str, set[int]], k: int, v: int | None
) -> FewShotSplit:
    left_out = "" if len(labels) == len(ids) else f", of which {len(labels)} could be read"
    source = f"training list, {_lists(cfg)}: {len(ids)} shapes{left_out}"
    if k > len(labels):
        raise InputError(f"k={k} is more than {cfg.data.category} has ({source}): lower k")
    options: dict[str, Any] = {"k": k, "v": v, "num_views": cfg.num_views, "seed": cfg.seed}
    if cfg.rule == "covering":
        runs = [sample_covering(labels, names, run=run, **options) for run in range(cfg.runs)]
    else:
        runs = [sample_uniform(labels, run=run, **options) for run in range(cfg.runs)]
    return FewShotSplit(
        dataset=cfg.data.name,
        category=cfg.data.category,
        level=cfg.data.get("level"),
        k=k,
        v=v,
        num_views=None if v is None else cfg.num_views,
        seed=cfg.seed,
        rule=cfg.rule,
        source=source,
        runs=runs,
    )


def _lists(cfg: DictConfig) -> str:
    """Where the lists of ids come from: "official", or the name of a file."""
    return Path(str(cfg.data.get("splits") or "split.json")).name


def _write(cfg: DictConfig, split: FewShotSplit) -> Path:
    """`out/<data set>_<lists>/<category>[_level<level>]_k<k>[_v<v>of<views>]_<rule>.json`"""
    level = "" if split.level is None else f"_level{split.level}" if split.level != "leaf" else "_leaf"
    views = "" if split.v is None else f"_v{split.v}of{split.num_views}"
    folder = Path(cfg.out) / f"{split.dataset}_{Path(_lists(cfg)).stem}"
    file = folder / f"{split.category}{level}_k{split.k}{views}_{split.rule}.json"
    written = write_split(file, split)
    open_labels = sorted({name for run in split.runs for name in run.labels_not_covered or ()})
    note = f"; some run does not cover {', '.join(open_labels)}" if open_labels else ""
    print(f"{file}{'' if written else ' (already there, the same)'}{note}")
    return file
