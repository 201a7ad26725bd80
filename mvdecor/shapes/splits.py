"""Few-shot splits as files: which shapes and which of their views are labelled in each run (paper section 4).

A seed is not a split: it gives other shapes with other files on disk or another version of numpy. A file does not.

The rule of sampling: run r samples its shapes with the seed `seed_of(seed, r, "labelled shapes")`, and the views of a shape
with `seed_of(seed, r, "labelled views", id)`, all without replacement, by numpy's default generator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from mvdecor.errors import InputError
from mvdecor.files import read_json, write_atomically
from mvdecor.seeds import seed_of
from mvdecor.shapes.annotations import id_list
from mvdecor.shapes.diversity import k_medoids
from mvdecor.shapes.fewshot import sample_few_shot, sample_views

FORMAT = "mvdecor few-shot split 1"
RULES = ("covering", "uniform", "diverse")
REMEDY = "write it again with scripts/splits.py (data/README.md)"


@dataclass(frozen=True)
class FewShotRun:
    """The labelled shapes of one run.

    Attributes:
        run: its number.
        shapes: k ids.
        views: for each id its v labelled views, as indices of its cameras; None: all.
        labels_not_covered: names of the labels that these shapes do not show; None: not known (uniform, diverse).
    """

    run: int
    shapes: list[str]
    views: dict[str, list[int]] | None
    labels_not_covered: list[str] | None

    def views_of(self, id: str, num_views: int) -> list[int]:
        """The labelled views of a shape that has `num_views` of them."""
        return list(range(num_views)) if self.views is None else self.views[id]


@dataclass(frozen=True)
class FewShotSplit:
    """The runs of one data set, category and level with k shapes and v views each.

    Attributes:
        dataset: `data.name` of the configuration.
        category: its category.
        level: PartNet's 1, 2, 3 or "leaf"; None for data without levels.
        k: labelled shapes of a run.
        v: labelled views of a shape; None: all.
        num_views: views of a shape, of which v were sampled; None with v: all, however many there are.
        seed: of the samples, see the rule above.
        rule: "covering" (`sample_few_shot`), "uniform" (any k of the list, for shapes whose labels are unknown) or "diverse"
            (chosen by their embeddings, the same shapes in every run).
        source: the list of ids that the shapes were sampled from, and the model whose embeddings chose, in words.
        runs: one per sample.

    Raises:
        ValueError: values that contradict each other.
    """

    dataset: str
    category: str
    level: int | str | None
    k: int
    v: int | None
    num_views: int | None
    seed: int
    rule: str
    source: str
    runs: list[FewShotRun]

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule {self.rule!r} is not one of {', '.join(RULES)}")
        if (self.v is None) != (self.num_views is None):
            raise ValueError("v and num_views must both be numbers or both be null")
        if len({run.run for run in self.runs}) != len(self.runs):
            raise ValueError("a run is there twice")
        for run in self.runs:
            self._check(run)

    def _check(self, run: FewShotRun) -> None:
        location = f"run {run.run}"
        if len(id_list(run.shapes, location)) != self.k:
            raise ValueError(f"{location}: {len(run.shapes)} shapes instead of k={self.k}")
        if self.v is None or self.num_views is None or run.views is None:
            if self.v is not None or run.views is not None:
                raise ValueError(f"{location}: views are listed if and only if v is a number")
            return
        if list(run.views) != run.shapes:
            raise ValueError(f"{location}: views are not those of its shapes, in their order")
        for id, views in run.views.items():
            valid = all(isinstance(i, int) and 0 <= i < self.num_views for i in views)
            if not valid or len(set(views)) != len(views) or len(views) != self.v:
                raise ValueError(f"{location}, {id}: should be v={self.v} different views of {self.num_views}")

    def find(self, run: int) -> FewShotRun | None:
        """The run of that number, if it is there."""
        return next((candidate for candidate in self.runs if candidate.run == run), None)


def sample_covering(
    labels: Mapping[str, Set[int]],
    label_names: tuple[str, ...],
    *,
    k: int,
    v: int | None,
    num_views: int,
    seed: int,
    run: int,
    replace: bool = False,
) -> FewShotRun:
    """Sample k shapes that together show all labels if any such set is found (`sample_few_shot`), and v views of each.

    Args:
        labels: for each shape id the labels it shows (without undetermined); their order does not matter.
        label_names: name of each label.
        k: number of shapes.
        v: number of views; None: all.
        num_views: views of a shape.
        seed: of the split; see the rule above.
        run: number of the run.
        replace: sample shapes and views with replacement, as the released code does (`sample_few_shot`, `sample_views`).

    Raises:
        InputError: k or v larger than what there is, or no labels at all.
    """
    ids, uncovered = sample_few_shot(labels, k, seed_of(seed, run, "labelled shapes"), replace=replace)
    views = _sample_views(ids, v, num_views, seed, run, replace)
    return FewShotRun(run, ids, views, [label_names[label] for label in sorted(uncovered)])


def choose_diverse(
    embeddings: Mapping[str, NDArray[np.float32]],
    *,
    k: int,
    v: int | None,
    num_views: int,
    seed: int,
    run: int,
    keep: Sequence[str] = (),
) -> FewShotRun:
    """Choose k shapes such that every shape is near one of them (`k_medoids`), and sample v views of each.

    The choice has nothing random: all runs have the same shapes, and differ in the views.

    Args:
        embeddings: for each shape id float32 [D]; distances are Euclidean. Their order does not matter.
        keep: ids of shapes that are labelled already: they are among the k.

        The others as in `sample_covering`.

    Raises:
        InputError: k or v larger than what there is, or k smaller than `keep`.
    """
    ids = sorted(embeddings)
    points = np.stack([embeddings[id] for id in ids]).astype(np.float64)
    medoids = k_medoids(squareform(pdist(points)), k, [ids.index(id) for id in keep])
    shapes = [ids[number] for number in medoids]
    return FewShotRun(run, shapes, _sample_views(shapes, v, num_views, seed, run), None)


def sample_uniform(ids: Iterable[str], *, k: int, v: int | None, num_views: int, seed: int, run: int) -> FewShotRun:
    """Sample k shapes of a list, whatever they show, and v views of each; the list's order does not matter.

    Args as in `sample_covering`.

    Raises:
        InputError: k or v larger than what there is.
    """
    candidates = sorted(ids)
    if not 1 <= k <= len(candidates):
        raise InputError(f"k={k} labelled shapes were asked for, but the list holds {len(candidates)}: lower k")
    sampled = np.random.default_rng(seed_of(seed, run, "labelled shapes")).choice(
        len(candidates), size=k, replace=False
    )
    shapes = sorted(candidates[i] for i in sampled)
    return FewShotRun(run, shapes, _sample_views(shapes, v, num_views, seed, run), None)


def _sample_views(
    ids: list[str], v: int | None, num_views: int, seed: int, run: int, replace: bool = False
) -> dict[str, list[int]] | None:
    if v is None:
        return None
    views_seed = partial(seed_of, seed, run, "labelled views")
    return {id: sample_views(num_views, v, views_seed(id), replace) for id in dict.fromkeys(ids)}


def read_split(path: str | Path) -> FewShotSplit:
    """Read a split file.

    Raises:
        InputError: the file is missing, or damaged in any way.
    """
    content = read_json(Path(path), REMEDY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f'{path}: no split file ("format" should be "{FORMAT}"); {REMEDY}')
    try:
        runs = [FewShotRun(**run) for run in content["runs"]]
        return FewShotSplit(**{k: v for k, v in content.items() if k not in ("format", "runs")}, runs=runs)
    except (ValueError, TypeError, AttributeError, KeyError, InputError) as error:
        raise InputError(f"{path}: damaged split file ({error}); {REMEDY}") from error


def write_split(path: str | Path, split: FewShotSplit) -> bool:
    """Write a split file whole or not at all; False if the very same file is there already.

    Raises:
        InputError: another split is there: a file that results refer to is never changed.
    """
    path, text = Path(path), format_split(split)
    if path.exists():
        if path.read_bytes() == text.encode():
            return False
        raise InputError(f"{path}: holds another split than this command samples; remove it or choose another out=")
    write_atomically(path, text.encode())
    return True


def sha256_of(path: str | Path) -> str:
    """Hash of a split file's bytes, in hexadecimal digits. Raises InputError if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def format_split(split: FewShotSplit) -> str:
    """The text of a split file: JSON with the keys in a fixed order, and a shape's views on one line."""
    head = {"format": FORMAT, **{key: value for key, value in asdict(split).items() if key != "runs"}}
    runs = [_block({key: _run_value(value) for key, value in vars(run).items()}, 2) for run in split.runs]
    lines = {key: _json(value) for key, value in head.items()} | {"runs": "[\n  " + ",\n  ".join(runs) + "\n ]"}
    return _block(lines, 0) + "\n"


def _run_value(value: Any) -> str:
    return _block({id: _json(views) for id, views in value.items()}, 3) if isinstance(value, dict) else _json(value)


def _block(lines: dict[str, str], indent: int) -> str:
    """A JSON object with a key per line; the values are JSON already."""
    space = "\n" + " " * indent
    return "{" + ",".join(f"{space} {_json(key)}: {value}" for key, value in lines.items()) + space + "}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
