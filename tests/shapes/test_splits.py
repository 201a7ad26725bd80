"""Split files: what is written is read back, sampled sets keep their promises, damaged files are refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdecor.errors import InputError
from mvdecor.seeds import seed_of
from mvdecor.shapes.splits import (
    FewShotSplit,
    choose_diverse,
    format_split,
    read_split,
    sample_covering,
    sample_uniform,
    sha256_of,
    write_split,
)

LABELS = {f"shape_{i:02}": {i % 3, 3 + (i == 7)} for i in range(20)}
NAMES = ("a", "b", "c", "common", "rare")
IDS = sorted(LABELS)


def split(v: int | None = 2, rule: str = "covering", runs: int = 3) -> FewShotSplit:
    how = {"k": 4, "v": v, "num_views": 9, "seed": 5}
    if rule == "covering":
        sampled = [sample_covering(LABELS, NAMES, run=r, **how) for r in range(runs)]
    else:
        sampled = [sample_uniform(IDS, run=r, **how) for r in range(runs)]
    num_views = None if v is None else 9
    return FewShotSplit("partnet", "Chair", "leaf", 4, v, num_views, 5, rule, "a list", sampled)


@pytest.mark.parametrize("v", [None, 2, 9])
@pytest.mark.parametrize("rule", ["covering", "uniform"])
def test_a_file_gives_back_what_was_written(v, rule, tmp_path):
    first, path = split(v, rule), tmp_path / "new" / "split.json"
    assert write_split(path, first)
    assert read_split(path) == first
    assert not write_split(path, split(v, rule)), "the same sample is the same bytes"
    text = path.read_text()
    assert text.endswith("}\n") and text == format_split(first)
    assert list(json.loads(text))[:3] == ["format", "dataset", "category"]
    assert [p.name for p in path.parent.iterdir()] == ["split.json"]


def test_views_of_a_shape_are_on_one_line():
    lines = format_split(split()).splitlines()
    listed = [line for line in lines if line.strip().startswith('"shape_')]
    assert len(listed) == 3 * 4
    assert all(json.loads("{" + line.strip().rstrip(",") + "}") for line in listed)


def test_another_split_is_never_overwritten(tmp_path):
    write_split(tmp_path / "split.json", split())
    before = sha256_of(tmp_path / "split.json")
    with pytest.raises(InputError, match=r"split\.json: holds another split"):
        write_split(tmp_path / "split.json", split(v=3))
    assert sha256_of(tmp_path / "split.json") == before


@pytest.mark.parametrize("rule", ["covering", "uniform"])
def test_samples_are_without_replacement_seeded_and_differ_from_run_to_run(rule):
    one = split(rule=rule, runs=30)
    for run in one.runs:
        assert run.shapes == sorted(set(run.shapes)) and len(run.shapes) == 4 and set(run.shapes) <= set(IDS)
        assert list(run.views) == run.shapes
        assert all(len(set(x)) == 2 and x == sorted(x) and set(x) <= set(range(9)) for x in run.views.values())
    assert len({tuple(run.shapes) for run in one.runs}) > 25
    assert {i for run in one.runs for x in run.views.values() for i in x} == set(range(9))
    assert split(rule=rule, runs=30) == one


def test_the_rule_of_sampling_is_that_of_the_docstring():
    run = sample_uniform(IDS, seed=3, run=4, k=4, v=3, num_views=20)
    generator = np.random.default_rng(seed_of(3, 4, "labelled shapes"))
    assert run.shapes == sorted(generator.choice(IDS, 4, replace=False))
    for id, views in run.views.items():
        generator = np.random.default_rng(seed_of(3, 4, "labelled views", id))
        assert views == sorted(generator.choice(20, 3, replace=False))


def test_runs_do_not_share_the_view_sets_of_their_neighbours():
    runs = [sample_uniform(IDS, k=10, v=5, num_views=86, seed=0, run=r) for r in range(5)]
    sets = [tuple(views) for run in runs for views in run.views.values()]
    assert len(set(sets)) == 50


def test_order_of_the_shapes_does_not_matter():
    backwards = dict(reversed(LABELS.items()))
    how = {"k": 4, "v": 2, "num_views": 9, "seed": 1, "run": 2}
    assert sample_covering(LABELS, NAMES, **how) == sample_covering(backwards, NAMES, **how)
    assert sample_uniform(IDS, **how) == sample_uniform(reversed(IDS), **how)


def test_a_diverse_choice_has_the_same_shapes_in_every_run_and_other_views():
    rng = np.random.default_rng(0)
    corners = {id: 9.0 * np.eye(3, dtype=np.float32)[number % 3] for number, id in enumerate(IDS)}
    embeddings = {id: corner + rng.normal(size=3).astype(np.float32) for id, corner in corners.items()}
    how = {"k": 3, "v": 3, "num_views": 20, "seed": 3}
    runs = [choose_diverse(embeddings, run=run, **how) for run in range(9)]
    (shapes,) = {tuple(run.shapes) for run in runs}
    assert {IDS.index(id) % 3 for id in shapes} == {0, 1, 2} and sorted(shapes) == list(shapes)
    assert choose_diverse(dict(reversed(embeddings.items())), run=4, **how) == runs[4]
    kept = choose_diverse(embeddings, run=0, keep=[IDS[1]], **how).shapes
    assert IDS[1] in kept and {IDS.index(id) % 3 for id in kept} == {0, 1, 2}
    for id, views in runs[4].views.items():
        generator = np.random.default_rng(seed_of(3, 4, "labelled views", id))
        assert views == sorted(generator.choice(20, 3, replace=False))


def test_covering_shows_every_label_and_says_what_it_cannot_show():
    for run in split(runs=20).runs:
        assert set().union(*(LABELS[id] for id in run.shapes)) == {0, 1, 2, 3, 4}
        assert run.labels_not_covered == []
    run = sample_covering(LABELS, NAMES, k=1, v=None, num_views=9, seed=0, run=0)
    shown = {NAMES[label] for label in LABELS[run.shapes[0]]}
    assert set(run.labels_not_covered) == set(NAMES) - shown
    assert run.views is None and run.views_of(run.shapes[0], 3) == [0, 1, 2]
    assert sample_uniform(IDS, k=1, v=None, num_views=9, seed=0, run=0).labels_not_covered is None


def test_more_than_there_is():
    for k in (0, 21):
        with pytest.raises(InputError, match=rf"k={k} .*holds 20"):
            sample_uniform(IDS, k=k, v=None, num_views=9, seed=0, run=0)
    with pytest.raises(InputError, match=r"v=10 .*there are 9"):
        sample_uniform(IDS, k=2, v=10, num_views=9, seed=0, run=0)


def damage(path: Path, change) -> None:
    content = json.loads(format_split(split()))
    change(content)
    path.write_text(json.dumps(content))


def drop_view(content):
    next(iter(content["runs"][1]["views"].values())).pop()


def repeat_view(content):
    views = next(iter(content["runs"][1]["views"].values()))
    views[1] = views[0]


def unknown_view(content):
    next(iter(content["runs"][1]["views"].values()))[1] = 9


def repeat_shape(content):
    content["runs"][1]["shapes"][1] = content["runs"][1]["shapes"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="other"), "format"),
        (lambda c: c.pop("k"), "'k'"),
        (lambda c: c.pop("runs"), "runs"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c.update(k=3), "4 shapes instead of k=3"),
        (lambda c: c.update(k="4"), "k=4"),
        (lambda c: c.update(rule="best"), "rule 'best'"),
        (lambda c: c.update(v=None), "v and num_views"),
        (lambda c: c.update(v=None, num_views=None), "views are listed"),
        (lambda c: c.update(num_views=1), "different views of 1"),
        (lambda c: c["runs"].append(c["runs"][0]), "twice"),
        (lambda c: c["runs"][1].pop("shapes"), "shapes"),
        (lambda c: c["runs"][1].update(shapes=None), "run 1"),
        (lambda c: c["runs"][1]["views"].popitem(), "run 1: views are not those of its shapes"),
        (lambda c: c["runs"][1].update(views=None), "run 1: views"),
        (lambda c: c["runs"][1].update(views=[1]), "damaged"),
        (lambda c: c.update(runs=[1]), "damaged"),
        (drop_view, "run 1, shape_"),
        (repeat_view, "v=2 different views"),
        (unknown_view, "of 9"),
        (repeat_shape, "twice"),
    ],
)
def test_damaged_file_is_refused_by_name(change, words, tmp_path):
    damage(tmp_path / "bad.json", change)
    with pytest.raises(InputError) as info:
        read_split(tmp_path / "bad.json")
    message = str(info.value)
    assert "bad.json" in message and words in message and "scripts/splits.py" in message and "\n" not in message


def test_missing_or_cut_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read.*scripts/splits\.py"):
        read_split(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text(format_split(split())[:200])
    with pytest.raises(InputError, match=r"cut\.json: not valid JSON"):
        read_split(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r"list\.json: no split file"):
        read_split(tmp_path / "list.json")


def test_contradicting_values_cannot_be_made():
    with pytest.raises(ValueError, match="k=5"):
        replace(split(), k=5)
