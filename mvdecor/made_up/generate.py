"""Write made-up data to disk: chairs, tables and lamps in PartNet's format or as a textured delivery; pictures of birds;
renders of any template.

Everything follows from the seed: the same arguments give the same files. A data set appears under its name only once
it is complete; it is written into a folder beside it first.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from omegaconf import DictConfig
from pydantic import Field, model_validator

from mvdecor.captures.render_settings import RendersSettings
from mvdecor.captures.template_renders import RenderSettings
from mvdecor.errors import InputError
from mvdecor.files import content_hash
from mvdecor.made_up import chair, lamp, table
from mvdecor.made_up.files import model_id, names_at_level, write_annotation, write_stats, write_textured
from mvdecor.made_up.model import Model, Sampler
from mvdecor.settings import Count, PathName, Settings, Share, WholeNumber, shown
from mvdecor.shapes.template import read_template

VERSION = 1
"""Raised whenever the same seed gives other files; part of `generated.json`."""

CATEGORIES: dict[str, tuple[Callable[[Sampler], Model], tuple[str, ...]]] = {
    "Chair": (chair.make_chair, chair.LABELS),
    "Table": (table.make_table, table.LABELS),
    "Lamp": (lamp.make_lamp, lamp.LABELS),
}
"""For each category its maker and its leaf labels (at most three levels below the root)."""


class RenderedTemplate(Settings):
    """The group `template`; configs/template/file.yaml says what each setting is."""

    file: PathName | None
    keypoints: PathName | None


class GenerateSettings(Settings):
    """configs/generate.yaml."""

    out: Annotated[str, Field(description="name the folder to make, for example out=data/made_up")]
    format: Literal["partnet", "people", "birds", "renders"]
    count: Count
    seed: WholeNumber
    categories: Annotated[
        list[Literal["Chair", "Table", "Lamp"]], Field(min_length=1, description="name some of Chair, Table and Lamp")
    ]
    test_fraction: Share
    size: Annotated[int, Field(ge=16, le=1024, description="give the pixels per side of a picture, 16 to 1024")]
    template: RenderedTemplate
    renders: RendersSettings

    @model_validator(mode="after")
    def _people_are_of_one_category(self) -> Self:
        if self.format == "people" and len(self.categories) != 1:
            raise ValueError(
                f"categories={shown(self.categories)}: format=people takes exactly one, as in categories=[Chair]"
            )
        return self

    @model_validator(mode="after")
    def _renders_are_of_a_template(self) -> Self:
        if self.format == "renders" and self.template.file is None:
            raise ValueError("template.file=null: format=renders needs a mesh to render: give template.file=FILE")
        return self


def make_models(category: str, count: int, seed: int = 0) -> list[Model]:
    """The first `count` made-up shapes of a category, each scaled into the unit sphere.

    The first shapes of a longer list are the same shapes.

    Raises:
        InputError: for an unknown category, a count below 1 or above 9999, or a negative seed.
    """
    if category not in CATEGORIES:
        raise InputError(f"cannot make shapes of category {category!r}; choose from {', '.join(CATEGORIES)}")
    if not 1 <= count <= 9999:
        raise InputError(f"count={count} made-up shapes of {category}: it must be 1 to 9999")
    if seed < 0:
        raise InputError(f"seed={seed} of made-up shapes: it must not be negative")
    sample = Sampler(seed, list(CATEGORIES).index(category))
    return [CATEGORIES[category][0](sample).scaled() for _ in range(count)]


def write_partnet(
    root: str | Path,
    count: int = 24,
    seed: int = 0,
    categories: Sequence[str] = ("Chair", "Table", "Lamp"),
    test_fraction: float = 0.4,
    val_fraction: float = 0.1,
) -> Path:
    """Write made-up shapes in the format of PartNet v0 (`data_v0/`, `stats/`).

    Args:
        root: folder to make. A folder that already holds this very data set is left as it is.
        count: number of shapes *of each category*.
        seed: everything follows from it.
        categories: some of "Chair", "Table", "Lamp".
        test_fraction: share of each category in the test split.
        val_fraction: share of each category in the validation split; the rest is for training.

    Returns:
        `root`.

    Raises:
        InputError: if `root` exists and holds anything else, if an argument is out of range, or if `count` is too small
            for the training split to show every label.
    """
    if not categories or len(set(categories)) != len(categories):
        raise InputError(
            f"categories={list(categories)} of made-up shapes: name each of {', '.join(CATEGORIES)} at most once"
        )
    recipe = {
        "format": "partnet",
        "version": VERSION,
        "seed": seed,
        "count": count,
        "categories": list(categories),
        "test_fraction": test_fraction,
        "val_fraction": val_fraction,
    }

    def write(folder: Path) -> None:
        """All categories: annotations, splits and the list of all."""
        rows = []
        for category in categories:
            models = make_models(category, count, seed)
            ids = [str(seed * 100_000 + (list(CATEGORIES).index(category) + 1) * 10_000 + i) for i in range(count)]
            splits = split_models(models, test_fraction, val_fraction, seed)
            for anno_id, model in zip(ids, models, strict=True):
                write_annotation(folder / "data_v0" / anno_id, model, anno_id)
                rows.append(f"{anno_id} 1 {category} {model_id(anno_id)} generator\n")
            write_stats(folder / "stats", category, CATEGORIES[category][1], ids, splits)
        (folder / "stats" / "all_valid_anno_info.txt").write_text("".join(rows))

    return _write_once(Path(root), recipe, write)


def write_people_like(
    root: str | Path,
    count: int = 24,
    seed: int = 0,
    category: str = "Chair",
    test_fraction: float = 0.4,
    level: int | None = None,
) -> Path:
    """Write textured made-up shapes in the layout of a RenderPeople-like delivery.

    `NAME/NAME.obj` + `NAME.mtl` + `tex/NAME_dif.jpg` + `NAME_labels.npy` (uint8, one per face, 255 = undetermined), and
    `split.json` with the label names and the train and test names. One shape in four has a small undetermined patch.

    Args, returns and errors as for `write_partnet`, with one `category` and no validation split. Labels are the leaves of
    the category's tree, or its nodes at a `level` (1: back, arm, ...).
    """
    recipe = {
        "format": "people",
        "version": VERSION,
        "seed": seed,
        "count": count,
        "category": category,
        "test_fraction": test_fraction,
    } | ({} if level is None else {"level": level})

    def write(folder: Path) -> None:
        """All people, and their split."""
        models = make_models(category, count, seed)
        names = [f"{category.lower()}_{i:03d}" for i in range(count)]
        splits = split_models(models, test_fraction, 0.0, seed)
        for i, (name, model) in enumerate(zip(names, models, strict=True)):
            write_textured(folder / name, name, model, np.random.default_rng([seed, i, 7]), level)
        content = {
            "labels": names_at_level(CATEGORIES[category][1], level),
            "train": [names[i] for i in splits["train"]],
            "test": [names[i] for i in splits["test"]],
        }
        (folder / "split.json").write_text(json.dumps(content, indent=1) + "\n")

    return _write_once(Path(root), recipe, write)


def write_birds(root: str | Path, count: int = 24, seed: int = 0, test_fraction: float = 0.4, size: int = 64) -> Path:
    """Write pictures of made-up birds, one bird each, with masks, keypoints, cameras and their template.

    `images/ID.png`, `masks/ID.png`, `keypoints.json`, `split.json` as a folder of photographs has them; `cameras.json`
    (rotation, scale in pixels per unit, shift in pixels), `birds.json` (shape parameters) and `template/` besides.

    Args:
        root: folder to make. A folder that already holds this very data set is left as it is.
        count: number of pictures.
        seed: everything follows from it.
        test_fraction: share of the pictures in the test split; they are the last ones.
        size: pixels per side.

    Returns:
        `root`.

    Raises:
        InputError: if `root` exists and holds anything else, or if an argument is out of range.
    """
    from mvdecor.made_up.bird_files import write_bird_pictures  # here, since furniture needs no rasterizer

    splits = _split_pictures("bird", count, test_fraction)
    recipe = {
        "format": "birds",
        "version": VERSION,
        "seed": seed,
        "count": count,
        "test_fraction": test_fraction,
        "size": size,
    }
    return _write_once(Path(root), recipe, lambda folder: write_bird_pictures(folder, splits, seed, size))


def write_template_renders(
    root: str | Path,
    file: str | Path,
    keypoints: str | Path | None = None,
    count: int = 24,
    seed: int = 0,
    test_fraction: float = 0.4,
    size: int = 64,
    settings: RenderSettings | None = None,
) -> Path:
    """Write renders of a template as a folder of photographs, with masks, cameras and, if the template has any, keypoints.

    Files as of `write_birds`, with `vertices/` (the deformed template of each render) in place of `birds.json`; see
    `mvdecor.made_up.render_files`.

    Args:
        root: folder to make. A folder that already holds this very data set is left as it is.
        file, keypoints: the template, see `read_template`.
        count: number of renders.
        seed: everything follows from it.
        test_fraction: share of the renders in the test split; they are the last ones.
        size: pixels per side.
        settings: what is sampled, as for a pretraining; None: the defaults of `RenderSettings`.

    Returns:
        `root`.

    Raises:
        InputError: a bad template, `root` exists and holds anything else, or an argument is out of range.
    """
    from mvdecor.made_up.render_files import write_renders  # here, since furniture needs no rasterizer

    splits = _split_pictures("render", count, test_fraction)
    template, settings = read_template(file, keypoints), settings or RenderSettings()
    files = [Path(name) for name in (file, Path(file).with_suffix(".json"), keypoints) if name is not None]
    recipe = {
        "format": "renders",
        "version": VERSION,
        "seed": seed,
        "count": count,
        "test_fraction": test_fraction,
        "size": size,
        "template": [content_hash(path).hex() for path in files],
        "renders": asdict(settings) | {"elevation": list(settings.elevation)},
    }
    return _write_once(Path(root), recipe, lambda folder: write_renders(folder, splits, template, seed, size, settings))


def _split_pictures(name: str, count: int, test_fraction: float) -> dict[str, list[str]]:
    """Names of the pictures of each split; the last ones are the test pictures."""
    tests = round(test_fraction * count)
    if not (0 <= test_fraction < 1 and 0 <= tests < count):
        raise InputError(f"test_fraction={test_fraction} of {count} pictures leaves none to train on")
    ids = [f"{name}_{number:05d}" for number in range(count)]
    return {"train": ids[: count - tests], "test": ids[count - tests :]}


def split_models(models: Sequence[Model], test: float, val: float, seed: int) -> dict[str, list[int]]:
    """Indices of the train, val and test shapes: random, but with every label in train and, where it can be, in test.

    Raises:
        InputError: if the fractions leave no training shape, or no split was found whose train part shows every label.
    """
    count, category = len(models), models[0].category
    tests, vals = round(test * count), round(val * count)
    if not (0 <= test < 1 and 0 <= val < 1 and tests + vals < count):
        raise InputError(
            f"test_fraction={test} and val_fraction={val} of {count} made-up shapes leave none to train on"
        )
    labels = set(CATEGORIES[category][1])
    shown_labels = [{part.label for part in model.parts} for model in models]
    rng = np.random.default_rng([seed, count, 11])
    best: tuple[int, int] | None = None
    for _ in range(500):
        order = rng.permutation(count)
        ends = {"test": order[:tests], "val": order[tests : tests + vals], "train": order[tests + vals :]}
        missing = {name: len(labels.difference(*(shown_labels[i] for i in part))) for name, part in ends.items()}
        score = (missing["train"], missing["test"])
        if best is None or score < best:
            best, split = score, {name: sorted(part.tolist()) for name, part in ends.items()}
        if best == (0, 0):
            break
    if best is None or best[0] > 0:
        raise InputError(
            f"{count} made-up shapes of {category} are too few: no split of them shows all {len(labels)} labels in the "
            f"training part; raise count (12 or more of each category always do)"
        )
    return split


def _write_once(root: Path, recipe: dict, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a folder beside `root`, add `generated.json`, and only then give it its name."""
    if _holds(root, recipe):
        return root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(
            f"{root} exists and is not this set of made-up shapes; name another folder, or remove it to write it anew"
        )
    partial = root.absolute().with_name(f".{root.absolute().name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        write(partial)
        (partial / "generated.json").write_text(json.dumps(recipe, indent=1) + "\n")
        partial.replace(root)
    except OSError as error:
        # another process may have finished the same set meanwhile
        if not _holds(root, recipe):
            raise InputError(f"cannot write made-up shapes to {root}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _holds(root: Path, recipe: dict) -> bool:
    try:
        return json.loads((root / "generated.json").read_text()) == recipe
    except (OSError, ValueError):
        return False


def run_generate(cfg: DictConfig) -> None:
    """Write the data set that configs/generate.yaml describes and print where it is."""
    settings = GenerateSettings.of(cfg)
    out = settings.out
    shared = {"count": cfg.count, "seed": cfg.seed, "test_fraction": cfg.test_fraction}
    if cfg.format == "birds":
        print(f"{cfg.count} pictures of made-up birds are in {write_birds(out, size=cfg.size, **shared)}")
        return
    if settings.format == "renders":
        file, keypoints = settings.template.file, settings.template.keypoints
        assert file is not None, "refused by the settings"
        renders = settings.renders.make()
        root = write_template_renders(out, file, keypoints, size=cfg.size, settings=renders, **shared)
        print(f"{cfg.count} renders of {file} are in {root}")
        return
    if cfg.format == "partnet":
        root = write_partnet(out, categories=tuple(cfg.categories), **shared)
    else:
        root = write_people_like(out, category=cfg.categories[0], **shared)
    print(f"{cfg.count} made-up shapes of each of {', '.join(cfg.categories)} are in {root}")
