"""Every setting of every program, against tables of what is right and wrong that are written here a second time."""

from __future__ import annotations

import math
import re
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pydantic import model_validator

from mvdecor.apps.benchmark.run import BenchmarkSettings
from mvdecor.apps.cache import RenderSettings
from mvdecor.apps.doctor import DoctorSettings
from mvdecor.apps.embeddings import FiguresConfig
from mvdecor.apps.report.page import ReportSettings
from mvdecor.apps.segment import SegmentSettings
from mvdecor.apps.splits import SplitsSettings
from mvdecor.apps.tables import TablesConfig, TableSettings
from mvdecor.apps.viewer.app import ViewerSettings
from mvdecor.correspondences import Matching
from mvdecor.engine.cli import compose_config
from mvdecor.errors import InputError
from mvdecor.lifting import LiftingSettings
from mvdecor.made_up.generate import GenerateSettings
from mvdecor.results.measures import MEASURES
from mvdecor.settings import Count, NotNegative, Settings, nearest
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.views import ViewSettings

PROGRAMS: dict[str, tuple[type[Settings], str, list[str]]] = {
    "config": (MvDeCorSettings, "", []),
    "render": (RenderSettings, "", []),
    "figures": (FiguresConfig, "", []),
    "view": (ViewerSettings, "", ["~experiment"]),
    "table": (TablesConfig, "", []),
    "doctor": (DoctorSettings, "doctor", []),
    "segment": (SegmentSettings, "", ["mesh=a.obj", "checkpoint=b"]),
    "splits": (SplitsSettings, "", []),
    "report": (ReportSettings, "", ["run=a"]),
    "generate": (GenerateSettings, "", ["out=a"]),
    "benchmark": (BenchmarkSettings, "", []),
}
"""By configuration: the class of its settings, the group that it is of, and overrides that set what is mandatory."""


def keys(*names: str) -> list[str]:
    return [key for name in names for key in name.split()]


FROM_0 = keys(
    "renders.lines",
    "training.finetune.substitutes training.self_train.rounds seed run workers views.close_ups evaluation.points",
)
FROM_1 = keys(
    "crops.stride",
    "save_every views.count views.size views.layers training.log_every training.matching.tries doctor.rows batch_size",
    *(f"training.pretrain.{name}" for name in ("steps", "pairs", "points", "validate_every", "validation_batches")),
    *(f"training.finetune.{name}" for name in ("k", "runs", "steps", "batch_size", "decay_every", "pairs")),
    "evaluation.batch_size figures.limit figures.pairs figures.points num_views splits:runs count",
    "render:workers repeats slow_repeats benchmark:size slow_views benchmark:pairs benchmark:points dim classes vote_faces",
    "renders.patches",
    "vote_sample view_faces benchmark:steps few_shapes slow_size few_captures field_objects field_rays field_loop_rays samples",
)
OR_NULL = keys(
    "training.finetune.v training.finetune.validate_every evaluation.limit evaluation.meshes data.pretrain_limit"
)
POSITIVE = keys("crops.temperature training.pretrain.learning_rate training.finetune.learning_rate")
NOT_NEGATIVE = keys(
    "views.jitter training.matching.tolerance training.crops.colour_jitter training.pretrain.colour_jitter",
    "training.finetune.colour_jitter training.finetune.lambda_ssl training.finetune.lambda_consistency",
    "lifting.power lifting.smooth renders.roll renders.off_centre renders.noise renders.blur",
    "renders.deformations.stretch renders.deformations.bend renders.deformations.waves",
)
BETWEEN = {
    "views.fov": (0, 180, False),
    "crops.growth": (0, 1, True),
    "crops.quantile": (0, 0.49, True),
    "training.matching.min_overlap": (0, 1, True),
    "training.matching.min_cosine": (-1, 1, True),
    "training.crops.flip": (0, 1, True),
    "training.finetune.decay": (0, 1, False),
    "training.pretrain.validation_share": (0, 1, False),
    "figures.threshold": (-1, 1, True),
    "low_confidence": (0, 1, True),
    "training.self_train.confidence": (0, 1, True),
    "training.self_train.agreement": (0, 1, True),
    "lifting.crease": (0, 180, True),
    "test_fraction": (0, 1, False),
    "renders.parts": (0, 1, True),
}
"""Least, greatest, and whether these are allowed."""
FLAGS = keys(
    "progress views.keep training.random_light training.gather training.compile training.cudnn_benchmark parts",
    "training.matching.unique",
    "training.pretrain.replace training.finetune.joint training.finetune.replace method.pretrain dry_run doctor.coverage",
)
WORDS = {
    "system": "mvdecor",
    "device": "auto cpu cuda cuda:0 cuda:11",
    "data.on_error": "raise skip",
    "on_error": "raise skip",
    "data.pretrain_split": "train unlabelled all",
    "views.rasterizer": "auto embree pytorch3d",
    "views.depth": "minmax metric",
    "views.normal_frame": "camera world",
    "training.pretrain.source": "views crops",
    "training.pretrain.schedule": "plateau cosine constant",
    "training.finetune.schedule": "decay cosine constant",
    "training.finetune.batch_norm": "train eval_pretrained",
    "lifting.rule": "entropy mean majority logits official",
    "lifting.layer_order": "all outer_first outer_only",
    "lifting.fill": "nearest component",
    "evaluation.protocol": "mvdecor partnet shapenet",
    "evaluation.split": "train val test all",
    "up": "y z x -y -z -x",
    "rule": "covering uniform diverse",
    "format": "partnet people birds renders",
    "crops.over": "view all",
    "view:split": "all train val test unlabelled",
    "segment:labels": "predicted mine",
}
PATHS = keys(
    "out cache checkpoint views.cache training.finetune.split data_root doctor.json view:run report:run json plot",
    "benchmark:shapes host step_experiment evaluate_network template.file template.keypoints",
)
whole = st.integers(1, 10**6)
numbers = st.floats(0.001, 1e6) | whole
PAIRS = {
    "views.distance": st.tuples(numbers, numbers).map(sorted),
    "training.crops.scale": st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted),
    "training.crops.ratio": st.tuples(numbers, numbers).map(sorted),
    "scaling_faces": st.tuples(whole, whole).map(list),
    "rate_faces": st.tuples(whole, whole, whole).map(list),
    "figures.views": st.tuples(st.integers(0, 85), st.integers(0, 85)).map(list),
}
LISTS = {
    "views.channels": st.lists(
        st.sampled_from(["rgb", "depth", "normal", "points", "front_depth", "layer"]), min_size=1, unique=True
    ),
    "stages": st.lists(st.sampled_from(["pretrain", "finetune", "evaluate"]), min_size=1),
    "labels": st.lists(st.text(min_size=1)),
    "crops.parts": st.lists(whole),
    "mesh": st.lists(st.text(min_size=1), min_size=1) | st.text(min_size=1),
    "figures.shapes": st.lists(st.text(min_size=1) | st.integers()),
    "keep": st.lists(st.text(min_size=1) | st.integers()),
    "splits:k": st.lists(whole, min_size=1),
    "splits:v": st.lists(st.none() | st.integers(1, 86), min_size=1),
    "categories": st.lists(st.sampled_from(["Chair", "Table", "Lamp"]), min_size=1),
    "table:columns": st.lists(st.text()),
    "gather": st.lists(st.text()),
    "measures": st.lists(st.sampled_from(sorted(MEASURES)), min_size=1, unique=True),
    "rows": st.lists(st.sampled_from(["match", "vote"])),
    "overrides": st.lists(st.text()),
    **dict.fromkeys(("plot_views", "plot_faces", "plot_shapes"), st.lists(whole, min_size=1)),
}
FREE = {
    "network",
    "loss",
    "segmentation_loss",
    "method.name",
    "method.title",
    "table",
    "cell",
    "data",
    "views",
    "lifting",
    "shard",
    "precision",
}
FREE |= {
    "evaluation.metrics",
    "capture",
    "words",
    "text_image",
    "data.labelled",
    "data.unlabelled",
    "training.pretrain.optimizer",
    "training.finetune.optimizer",
}
"""Checked by whom they are for, or of any type; groups whose settings are checked one by one."""

no_number = st.text("abcxyz", min_size=1) | st.booleans() | st.lists(st.integers(), min_size=1) | st.just(math.nan)


TABLES: tuple[Any, ...] = (FROM_0, FROM_1, OR_NULL, POSITIVE, NOT_NEGATIVE, BETWEEN, FLAGS, WORDS, PATHS, PAIRS, LISTS)


def entry(name: str, key: str) -> str:
    """A setting's name in the tables: with its configuration in front where that takes other values, or a word of its own."""
    return f"{name}:{key}" if any(f"{name}:{key}" in table for table in TABLES) else key


def wrong(own: str) -> st.SearchStrategy[Any]:
    """Values that a setting of the tables refuses."""
    if own in (*FROM_0, *FROM_1, *OR_NULL):
        below = st.integers(max_value=-1 if own in (*FROM_0, "evaluation.meshes") else 0)
        return (
            below
            | st.integers(min_value=2**63)
            | st.floats()
            | no_number
            | (st.nothing() if own in OR_NULL else st.none())
        )
    if own in POSITIVE:
        return st.floats(max_value=0) | st.integers(max_value=0) | no_number | st.none() | st.just(math.inf)
    if own in NOT_NEGATIVE:
        return st.floats(max_value=-1e-300) | st.integers(max_value=-1) | no_number | st.none() | st.just(math.inf)
    if own in BETWEEN:
        least, greatest, inside = BETWEEN[own]
        below, above = st.floats(max_value=least, exclude_max=inside), st.floats(min_value=greatest, exclude_min=inside)
        return below | above | no_number | st.none()
    if own in FLAGS:
        return st.none() | st.integers() | st.floats() | st.text() | st.lists(st.booleans())
    if own in WORDS:
        words = [*WORDS[own].split(), *([None] if own == "view:split" else [])]
        return (st.text() | st.integers() | st.none() | st.booleans()).filter(lambda value: value not in words)
    if own in PATHS:
        return st.integers() | st.booleans() | st.floats() | st.lists(st.text(), min_size=1)
    if own in PAIRS:
        length = 3 if own == "rate_faces" else 2
        wrong_number = st.lists(st.floats(1, 2)).filter(lambda values: len(values) != length)
        not_right = st.tuples(st.floats(-9, -1), st.floats(1, 2)).map(list) | st.just(["a", "b"])
        return st.text() | st.booleans() | st.integers() | wrong_number | not_right
    assert own in LISTS
    return st.booleans() | st.floats()


def right(own: str) -> st.SearchStrategy[Any]:
    """Values that a setting of the tables takes."""
    if own in (*FROM_0, *FROM_1, *OR_NULL):
        counts = st.integers(
            0 if own in (*FROM_0, "evaluation.meshes") else 1, 86 if own == "views.close_ups" else 2**31 - 1
        )
        return counts | st.none() if own in OR_NULL else counts
    if own in (*POSITIVE, *NOT_NEGATIVE):
        positive = st.floats(0, exclude_min=True, allow_infinity=False) | st.integers(1, 2**60)
        return positive if own in POSITIVE else positive | st.just(0)
    if own in BETWEEN:
        least, greatest, inside = BETWEEN[own]
        return st.floats(least, greatest, exclude_min=not inside, exclude_max=not inside)
    if own in FLAGS:
        return st.booleans()
    if own in WORDS:
        return st.sampled_from(WORDS[own].split())
    if own in PATHS:
        return st.text(min_size=1).filter(lambda text: text != "???")
    return PAIRS[own] if own in PAIRS else LISTS[own]


def leaves(cls: type[Settings], group: str) -> list[str]:
    """Dotted names of all settings."""
    names = []
    for name, field in cls.model_fields.items():
        key = f"{group}.{field.alias or name}" if group else field.alias or name
        kind = field.annotation
        inner = [kind, *get_args(kind)] if get_origin(kind) in (Union, UnionType) else [kind]
        nested = [x for x in inner if isinstance(x, type) and issubclass(x, Settings)]
        names += leaves(nested[0], key) if nested else [key]
    return names


LEAVES = [(name, key) for name, (cls, group, _) in PROGRAMS.items() for key in leaves(cls, group)]
OWN = [(n, k) for n, k in LEAVES if n == "config" or ("config", k) not in LEAVES or f"{n}:{k}" in {*FROM_1, *PATHS}]
CHECKED = [
    (n, k)
    for n, k in OWN
    if k not in FREE
    and (n, k) not in (("view", "port"), ("report", "shapes"), ("generate", "size"))
    and k not in ("renders.elevation", "renders.padding")
]
few = settings(max_examples=20)


@cache
def composed(name: str) -> Any:
    _, group, overrides = PROGRAMS[name]
    cfg = compose_config(overrides, name)
    return OmegaConf.to_container(cfg[group] if group else cfg, resolve=True)


def defaults(name: str) -> tuple[type[Settings], Any, str]:
    """The class of a configuration's settings, its values in the YAML files, and their group."""
    cls, group, _ = PROGRAMS[name]
    return cls, _copied(composed(name)), group


def _copied(values: Any) -> Any:
    return {key: _copied(value) for key, value in values.items()} if isinstance(values, dict) else values


def changed(name: str, key: str, value: Any) -> tuple[type[Settings], Any, str]:
    cls, values, group = defaults(name)
    *way, last = (key.removeprefix(f"{group}.") if group else key).split(".")
    part = values
    for step in way:
        part = part[step]
    part[last] = value
    return cls, values, group


def refusal(cls: type[Settings], values: Any, group: str) -> str:
    with pytest.raises(InputError) as info:
        cls.of(values, group)
    message = str(info.value)
    assert "\n" not in message and "pydantic" not in message and "nput should" not in message, message
    return message


def test_the_tables_have_every_setting():
    known = {key for table in TABLES for key in table}
    assert not [(name, key) for name, key in CHECKED if entry(name, key) not in known]
    names = {k for _, k in LEAVES} | {f"{n}:{k}" for n, k in LEAVES}
    assert not [key for key in known if key not in names], "no setting has this name any more"


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_yaml_files_are_right(name):
    cls, values, group = defaults(name)
    settings = cls.of(values, group, complete=True)
    for own, kind in (("views", ViewSettings), ("lifting", LiftingSettings)):
        if isinstance(getattr(settings, own, None), Settings):
            assert getattr(settings, own) == kind(), "defaults of the class are those of the YAML file"
    if isinstance(settings, MvDeCorSettings):
        assert settings.training.matching == Matching()


@pytest.mark.parametrize(("name", "key"), CHECKED)
def test_wrong_values_are_refused_by_name(name, key):
    @few
    @given(wrong(entry(name, key)))
    def check(value: Any) -> None:
        message = refusal(*changed(name, key, value))
        assert message.startswith(f"{key}="), message
        assert re.search(r": (give|choose|name|did you mean) ", message), message

    check()


@pytest.mark.parametrize(("name", "key"), CHECKED)
def test_right_values_are_taken(name, key):
    @few
    @given(right(entry(name, key)))
    def check(value: Any) -> None:
        cls, values, group = changed(name, key, value)
        if key == "lifting.rule":
            values["lifting"]["power"] = 2
        if key == "format":
            values["categories"] = ["Chair"]
            values["template"]["file"] = "a.obj"
        got: Any = cls.of(values, group)
        for step in (key.removeprefix(f"{group}.") if group else key).split("."):
            fields = {field.alias or own: own for own, field in type(got).model_fields.items()}
            got = getattr(got, fields[step])
        assert got == value or list(got) == list(value)

    check()


@pytest.mark.parametrize(("name", "key"), [pair for pair in OWN if not pair[1].startswith("data.")])
def test_misspelt_names_are_refused_with_the_nearest(name, key):
    """But for those of `data`, where each reader of shapes has its own."""
    group, _, last = key.rpartition(".")

    @few
    @given(st.integers(0, len(last)), st.sampled_from("qzj"))
    def check(at: int, letter: str) -> None:
        misspelt = ".".join(filter(None, (group, last[:at] + letter + last[at:])))
        message = refusal(*changed(name, misspelt, 1))
        assert message.startswith(f"{misspelt} is unknown: "), message
        if len(last) > 4 and at > 0:
            assert "did you mean" in message, message
        if len(last) > 6:
            assert f"did you mean {key}?" in message, message

    check()


@pytest.mark.parametrize("group", ["views", "training", "training.crops", "lifting", "data"])
@given(st.integers() | st.none() | st.text() | st.lists(st.integers()))
def test_a_value_in_place_of_a_group(group, value):
    message = refusal(*changed("config", group, value))
    assert message.startswith(f"{group}=") and "give its settings, " in message


@pytest.mark.parametrize(
    "key", ["views.layers", "training.matching.tries", "lifting.fill", "evaluation.points", "seed"]
)
def test_a_configuration_that_lacks_a_setting(key):
    cls, values, _ = defaults("config")
    *way, last = key.split(".")
    part = values
    for step in way:
        part = part[step]
    del part[last]
    with pytest.raises(InputError, match=f"{key} is missing: give"):
        cls.of(values, complete=True)


RULES = [
    ("config", {"views.close_ups": 87}, "views.close_ups=87: give at most .* count=86"),
    ("config", {"lifting.rule": "official", "lifting.power": 3}, "lifting.power=3: rule=official needs an even number"),
    ("config", {"training.crops.scale": [0.5, 0.2]}, r"training.crops.scale=\[0.5,0.2\]: give \[least, greatest\]"),
    ("config", {"views.distance": [2.0, 1.0]}, r"views.distance=\[2.0,1.0\]: give \[least, greatest\]"),
    (
        "config",
        {"views.channels": ["rgb", "foo"]},
        r"views.channels=\[rgb,foo\]: 'foo' is unknown; choose one or more of rgb",
    ),
    ("config", {"views.size": "64"}, "views.size='64': give a whole number of at least 1"),
    ("figures", {"figures.views": [0, 86]}, r"figures.views=\[0,86\]: .* from 0 to 85"),
    ("splits", {"v": [None, 87]}, r"v=\[null,87\], but num_views=86: lower v"),
    ("generate", {"format": "people"}, r"categories=\[Chair,Table,Lamp\]: format=people takes exactly one"),
    (
        "generate",
        {"format": "renders"},
        r"template\.file=null: format=renders needs a mesh to render: give template\.file=",
    ),
    ("generate", {"renders.padding": 0.5}, r"renders\.padding=0\.5: give a share of at least 0, below 0\.5"),
    ("generate", {"renders.elevation": [0, 91]}, r"renders\.elevation=\[0,91\]: give \[least, greatest\] in degrees"),
    ("segment", {"mesh": None}, "mesh=null: name a file, a folder or a pattern"),
    ("segment", {"checkpoint": None}, "checkpoint=null: give a fine-tuned model"),
    ("report", {"run": None}, "run=null: name the folder of a run"),
    ("report", {"shapes": 21}, "shapes=21: give a whole number from 0"),
    ("view", {"port": 65536}, "port=65536: give a number from 0"),
    ("benchmark", {"rows": ["speed"]}, r"rows=\[speed\]: give a list of some of .*match"),
    ("config", {"views.size": 0, "lifting.rule": "x"}, "views.size=0: .*; lifting.rule=x is unknown: choose entropy"),
]


@pytest.mark.parametrize(("name", "values", "message"), RULES)
def test_rules_between_settings_and_several_errors(name, values, message):
    cls, whole, group = defaults(name)
    for key, value in values.items():
        part = whole
        *way, last = key.split(".")
        for step in way:
            part = part[step]
        part[last] = value
    assert re.search(message, refusal(cls, whole, group))


def test_a_table_without_columns_or_runs():
    table = {"name": "t", "methods": ["mvdecor"], "columns": [{"name": "a"}], "runs": 2, "paper": None}
    assert TableSettings.of(table, "table").runs == 2
    for key, value in {"columns": [], "methods": [], "runs": 0}.items():
        assert refusal(TableSettings, {**table, key: value}, "table").startswith(f"table.{key}=")
    for column, message in (
        ({"overrides": []}, "table.columns[1].name is missing: give a word"),
        (
            {"name": "b", "overides": []},
            "table.columns[1].overides is unknown: did you mean table.columns[1].overrides?",
        ),
        ({"name": 3}, "table.columns[1].name=3: give a word"),
        (3, "table.columns[1]=3: give its settings, name, overrides, mean_of and paper"),
    ):
        assert refusal(TableSettings, {**table, "columns": [{"name": "a"}, column]}, "table") == message


def test_settings_of_a_program_outside_the_package():
    """As the docstring of mvdecor.settings shows it."""

    class Shading(Settings):
        model: Literal["lambert", "flat"] = "lambert"
        samples: Count
        weight: NotNegative = 0.1

        @model_validator(mode="after")
        def _even(self) -> Shading:
            if self.model == "flat" and self.samples % 2:
                raise ValueError(f"samples={self.samples}: model=flat needs an even number")
            return self

    assert Shading.of(OmegaConf.create({"samples": 3}), "shading") == Shading(samples=3)
    assert refusal(Shading, {"sampels": 4, "samples": 4}, "shading") == (
        "shading.sampels is unknown: did you mean shading.samples?"
    )
    assert refusal(Shading, {"model": "flat", "samples": 3}, "shading") == (
        "shading.samples=3: model=flat needs an even number"
    )
    assert (
        refusal(Shading, {}, "shading") == "shading.samples is missing: give a whole number of at least 1, below 2^31"
    )
    assert refusal(Shading, {"samples": 1, "model": "phong"}, "shading") == (
        "shading.model=phong is unknown: choose lambert or flat"
    )


@given(st.lists(st.text("abc.", min_size=1, max_size=6), min_size=1), st.text("abc.", max_size=6))
def test_the_nearest_name_is_one_of_the_names(names, name):
    found = nearest(name, names)
    assert found is None or found in names
    assume(name and name not in names)
    assert nearest(names[0], names) is not None
