"""Sample few-shot splits of a data set and write them as files (scripts/splits.py, configs/splits.yaml)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import DictConfig, OmegaConf
from pydantic import Field, model_validator

from mvdecor.errors import InputError
from mvdecor.progress import with_progress
from mvdecor.settings import Count, PathName, Settings, WholeNumber, shown
from mvdecor.shapes import ShapeStore, load_shapes
from mvdecor.shapes.loading import labels_by_shape
from mvdecor.shapes.partnet import train_lists
from mvdecor.shapes.splits import (
    FewShotRun,
    FewShotSplit,
    choose_diverse,
    sample_covering,
    sample_uniform,
    write_split,
)
from mvdecor.systems.mvdecor.check import check_labels
from mvdecor.systems.mvdecor.embedder import Embedder
from mvdecor.systems.mvdecor.settings import DataSettings
from mvdecor.systems.mvdecor.setup import make_shape_set, make_store


class SplitsSettings(Settings):
    """configs/splits.yaml."""

    data: DataSettings
    out: PathName
    cache: PathName | None
    rule: Literal["covering", "uniform", "diverse"]
    checkpoint: PathName | None
    keep: Annotated[list[str | int], Field(description="give a list of ids, for example keep=[1234,1235]")]
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


@dataclass(frozen=True)
class _TrainingList:
    """What a rule samples from.

    Attributes:
        count: shapes that it can choose.
        sample: makes a run, called with k, v, num_views, seed and run.
        source: `FewShotSplit.source`.
    """

    count: int
    sample: Callable[..., FewShotRun]
    source: str


def run_splits(cfg: DictConfig) -> list[Path]:
    """Sample and write the split files that configs/splits.yaml describes; the same command writes the same bytes.

    With `data.category=all` (PartNet) every category is tried; those that cannot be sampled are listed with the reason.

    Returns:
        The files.

    Raises:
        InputError: a bad setting; a split that cannot be sampled if one category was asked for, or if it is so for all.
    """
    SplitsSettings.of(cfg)
    _check_embeddings(cfg)
    all_categories = cfg.data.category == "all"
    splits: list[FewShotSplit] = []
    skipped: list[str] = []
    for category, ids in _training_ids(cfg).items():
        category_cfg: Any = OmegaConf.merge(cfg, {"data": {"category": category}})
        try:
            training_list = _read(category_cfg, ids)
        except InputError as error:
            if not all_categories:
                raise
            skipped.append(f"{category}: {error}")
            continue
        for k in cfg.k:
            try:
                splits += [_sample(category_cfg, training_list, k, v) for v in cfg.v]
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


def _check_embeddings(cfg: DictConfig) -> None:
    if cfg.rule == "diverse" and cfg.checkpoint is None:
        raise InputError("rule=diverse compares embeddings: give checkpoint=FOLDER (out/model of scripts/pretrain.py)")
    if cfg.rule != "diverse" and cfg.keep:
        raise InputError(f"keep={shown(list(cfg.keep))}, but rule={cfg.rule} samples all k: choose rule=diverse")


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


def _read(cfg: DictConfig, ids: list[str]) -> _TrainingList:
    """What `rule` needs to know of the shapes of a list; bad ones that it reads are left out under data.on_error=skip."""
    if cfg.rule == "uniform":
        return _TrainingList(len(ids), partial(sample_uniform, ids), _source(cfg, ids, len(ids)))
    shape_set = make_store(cfg, cfg.data.labelled)
    if cfg.rule == "covering":
        check_labels(cfg, shape_set.label_names)
        labels = labels_by_shape(shape_set, ids, cfg.data.on_error)[0]
        sample = partial(sample_covering, labels, shape_set.label_names)
        return _TrainingList(len(labels), sample, _source(cfg, ids, len(labels)))
    return _embedded(cfg, ids, shape_set)


def _embedded(cfg: DictConfig, ids: list[str], shape_set: ShapeStore) -> _TrainingList:
    """The shapes of a list by the embeddings of `checkpoint`."""
    keep = [str(id) for id in cfg.keep]
    if unknown := [id for id in keep if id not in ids or keep.count(id) > 1]:
        raise InputError(f"keep={shown(keep)}: {unknown[0]} is not in the training list, or there twice: name others")
    embedder = Embedder(cfg.checkpoint, precision="32-true", seed=cfg.seed)  # the same choice on every device
    shapes = load_shapes(shape_set, ids, cfg.data.on_error)[0]
    embeddings = {s.id: embedder.of_shape(s).numpy() for s in with_progress(shapes, "embedding shapes", len(shapes))}
    if unread := [id for id in keep if id not in embeddings]:
        raise InputError(f"keep={shown(keep)}: shape {unread[0]} was skipped, for it could not be read: leave it out")
    source = f"{_source(cfg, ids, len(embeddings))}; chosen by embeddings of model {embedder.weights_sha256[:12]}"
    source += f", {', '.join(keep)} kept" if keep else ""
    return _TrainingList(len(embeddings), partial(choose_diverse, embeddings, keep=keep), source)


def _source(cfg: DictConfig, ids: list[str], count: int) -> str:
    left_out = "" if count == len(ids) else f", of which {count} could be read"
    return f"training list, {_lists(cfg)}: {len(ids)} shapes{left_out}"


def _sample(cfg: DictConfig, training_list: _TrainingList, k: int, v: int | None) -> FewShotSplit:
    if k > training_list.count:
        raise InputError(f"k={k} is more than {cfg.data.category} has ({training_list.source}): lower k")
    options: dict[str, Any] = {"k": k, "v": v, "num_views": cfg.num_views, "seed": cfg.seed}
    runs = [training_list.sample(run=run, **options) for run in range(cfg.runs)]
    return FewShotSplit(
        dataset=cfg.data.name,
        category=cfg.data.category,
        level=cfg.data.get("level"),
        k=k,
        v=v,
        num_views=None if v is None else cfg.num_views,
        seed=cfg.seed,
        rule=cfg.rule,
        source=training_list.source,
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
    if split.rule == "diverse":
        note = f"; the same in every run: {', '.join(split.runs[0].shapes)}"
    print(f"{file}{'' if written else ' (already there, the same)'}{note}")
    return file
