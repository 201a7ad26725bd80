"""scripts/splits.py: committed files come out again bit for bit, coverage holds on the labels themselves, clear errors."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mvdecor.apps.splits import run_splits
from mvdecor.errors import InputError
from mvdecor.shapes.partnet import train_lists
from mvdecor.shapes.people import RenderPeople
from mvdecor.shapes.splits import read_split
from mvdecor.systems.mvdecor.embedder import Embedder
from mvdecor.systems.mvdecor.stages import run_pretrain

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "data" / "splits"
CATEGORIES = (
    *("Bed", "Bottle", "Chair", "Clock", "Dishwasher", "Display", "Door", "Earphone", "Faucet", "Knife", "Lamp"),
    *("Microwave", "Refrigerator", "StorageFurniture", "Table", "TrashCan", "Vase"),
)


@pytest.fixture(scope="module")
def sample_splits(make_config):
    """Runs the script's stage with overrides and returns the files."""
    return lambda *overrides: run_splits(make_config(*overrides, name="splits"))


@pytest.fixture
def stats(tmp_path) -> Path:
    """`stats/` alone, of three categories with 4, 12 and 40 training shapes, one without level 3."""
    lists, labels = tmp_path / "stats" / "train_val_test_split", tmp_path / "stats" / "after_merging_label_ids"
    lists.mkdir(parents=True)
    labels.mkdir()
    for category, count in {"Few": 4, "Some": 12, "Many": 40, "Flat": 40}.items():
        rows = [{"anno_id": str(1000 + 7 * i), "model_id": "x"} for i in range(count)]
        (lists / f"{category}.train.json").write_text(json.dumps(rows))
        for level in ("", "-level-1", "-level-3"):
            if (category, level) != ("Flat", "-level-3"):
                (labels / f"{category}{level}.txt").write_text(f"1 {category.lower()}/part leaf\n")
    return tmp_path


def test_uniform_needs_only_the_lists_and_skips_out_loud(sample_splits, stats, tmp_path, capsys):
    files = sample_splits(
        f"data.root={stats}", "rule=uniform", "data.category=all", "k=[10]", "v=[5]", f"out={tmp_path / 'o'}"
    )
    assert [file.name for file in files] == [
        "Many_level3_k10_v5of86_uniform.json",
        "Some_level3_k10_v5of86_uniform.json",
    ]
    printed = capsys.readouterr().out
    assert "Few, k=10: k=10 is more than Few has" in printed and "4 shapes" in printed
    split = read_split(files[1])
    assert [run.run for run in split.runs] == [0, 1, 2, 3, 4]
    ids = {row["anno_id"] for row in json.loads(next(stats.rglob("Some.train.json")).read_text())}
    assert all(set(run.shapes) <= ids for run in split.runs)


def test_order_of_the_lists_does_not_matter(sample_splits, stats, tmp_path):
    overrides = (f"data.root={stats}", "rule=uniform", "data.category=Some", "k=[3,5]", "v=[null,5]")
    first = sample_splits(*overrides, f"out={tmp_path / 'a'}")
    assert len(first) == 4
    path = next(stats.rglob("Some.train.json"))
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    again = sample_splits(*overrides, f"out={tmp_path / 'b'}")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]
    assert sample_splits(*overrides, f"out={tmp_path / 'a'}") == first, "and over the same files"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["k=[10]"], ["k=10 is more than Few has", "4 shapes", "lower k"]),
        (["k=10"], ["k=10", "k=[10,30]"]),
        (["k=[null]"], ["k=[null]", "k=[10,30]"]),
        (["k=[2]", "v=[0]"], ["v=[0]"]),
        (["k=[2]", "v=[87]"], ["num_views=86"]),
        (["k=[2]", "runs=0"], ["runs=0"]),
        (["k=[2]", "seed=x"], ["seed=x"]),
        (["k=[2]", "rule=best"], ["rule=best", "covering, uniform or diverse"]),
        (["k=[2]", "data.category=Flat"], ["data.category=Flat", "Few, Many, Some"]),
        (["k=[50]", "data.category=all"], ["no split could be sampled", "Few, k=50"]),
        (["k=[2]", "data.level=2"], ["no category", "level 2"]),
    ],
)
def test_what_cannot_be_sampled_is_said_and_nothing_is_written(overrides, words, sample_splits, stats, tmp_path):
    with pytest.raises(InputError) as info:
        sample_splits(f"data.root={stats}", "data.category=Few", "rule=uniform", f"out={tmp_path / 'out'}", *overrides)
    assert all(word in str(info.value) for word in words) and "\n" not in str(info.value), str(info.value)
    assert not (tmp_path / "out").exists()


def test_covering_samples_of_people_cover_their_label_files(sample_splits, made_up_people, tmp_path):
    """Coverage measured on the label files, not through the reader; another order on disk gives the same file."""
    overrides = ("data=renderpeople", "num_views=6", "k=[2]", "v=[null,2]")
    all_views, some_views = sample_splits(*overrides, f"data.root={made_up_people}", f"out={tmp_path / 'a'}")
    assert all_views.parent.name == "renderpeople_split"
    check_coverage(made_up_people, read_split(all_views))
    assert [r.shapes for r in read_split(all_views).runs] == [r.shapes for r in read_split(some_views).runs]

    moved = tmp_path / "moved"
    lists = json.loads((made_up_people / "split.json").read_text())
    for name in reversed(lists["train"]):
        shutil.copytree(made_up_people / name, moved / name)
    (moved / "split.json").write_text(json.dumps(lists | {"train": lists["train"][::-1]}))
    again = sample_splits(*overrides, f"data.root={moved}", f"out={tmp_path / 'b'}")
    assert [file.read_bytes() for file in again] == [all_views.read_bytes(), some_views.read_bytes()]


@pytest.fixture(scope="module")
def pretrained(make_config, tiny, made_up_people, tmp_path_factory) -> Path:
    """A model that has seen the made-up people for one step."""
    out = tmp_path_factory.mktemp("pretrained")
    overrides = ["experiment=people_cpu", *tiny, "views.close_ups=0", f"data.root={made_up_people}", f"out={out}"]
    run_pretrain(make_config(*overrides))
    return out / "model"


def test_diverse_shapes_are_medoids_of_the_embeddings(sample_splits, made_up_people, pretrained, tmp_path, capsys):
    """The least sum of distances among all pairs of shapes, without any labels."""
    people = shutil.copytree(made_up_people, tmp_path / "people")
    overrides = ("data=renderpeople", f"data.root={people}", "rule=diverse", f"checkpoint={pretrained}", "num_views=4")
    for file in people.rglob("*_labels.npy"):
        file.unlink()
    whole, some = sample_splits(*overrides, "k=[2]", "v=[null,2]", "runs=3", f"out={tmp_path / 'out'}")
    assert whole.name == "people_k2_diverse.json" and "the same in every run" in capsys.readouterr().out
    split, lists = read_split(whole), json.loads((people / "split.json").read_text())
    assert "chosen by embeddings of model" in split.source and split.rule == "diverse"
    assert [run.shapes for run in split.runs] == [split.runs[0].shapes] * 3
    assert all(run.labels_not_covered is None for run in split.runs)
    assert len({json.dumps(run.views) for run in read_split(some).runs}) > 1, "runs differ in the views"
    assert set(split.runs[0].shapes) <= set(lists["train"])

    embedder, reader = Embedder(pretrained, precision="32-true", seed=0), RenderPeople(people)
    points = np.stack([embedder.of_shape(reader.load(id)).numpy() for id in sorted(lists["train"])]).astype(float)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    costs = {pair: distances[:, pair].min(axis=1).sum() for pair in combinations(range(len(points)), 2)}
    chosen = tuple(sorted(lists["train"]).index(id) for id in split.runs[0].shapes)
    assert costs[chosen] == pytest.approx(min(costs.values()))

    kept = next(id for id in lists["train"] if id not in split.runs[0].shapes)
    (file,) = sample_splits(*overrides, "k=[2]", f"keep=[{kept}]", f"out={tmp_path / 'kept'}")
    assert kept in read_split(file).runs[0].shapes and read_split(file).source.endswith(f"{kept} kept")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["rule=diverse"], ["rule=diverse compares embeddings: give checkpoint=FOLDER"]),
        (["rule=uniform", "keep=[a]"], ["keep=[a], but rule=uniform", "choose rule=diverse"]),
        (["rule=diverse", "checkpoint=nowhere"], ["nowhere"]),
        (["rule=diverse", "checkpoint=nowhere", "keep=[a]"], ["keep=[a]: a is not in the training list"]),
    ],
)
def test_what_a_diverse_choice_needs(overrides, words, sample_splits, made_up_people, tmp_path):
    data = ("data=renderpeople", f"data.root={made_up_people}", "k=[2]", "num_views=4", f"out={tmp_path / 'out'}")
    with pytest.raises(InputError) as info:
        sample_splits(*data, *overrides)
    assert all(word in str(info.value) for word in words) and "\n" not in str(info.value), str(info.value)
    assert not (tmp_path / "out").exists()


def check_coverage(root: Path, split) -> None:
    """`labels_not_covered` is what the runs' label files lack of the training list's."""
    lists = json.loads((root / "split.json").read_text())
    shown = {id: set(np.load(root / id / f"{id}_labels.npy").tolist()) - {-1, 255} for id in lists["train"]}
    for run in split.runs:
        missing = set().union(*shown.values()) - set().union(*(shown[id] for id in run.shapes))
        assert {lists["labels"][label] for label in missing} == set(run.labels_not_covered)


def test_committed_files_are_all_there_and_sound():
    names = {f"{c}_level3_k{k}_v5of86_uniform.json" for c in CATEGORIES for k in (10, 30)}
    assert {path.name for path in (COMMITTED / "partnet_official").iterdir()} == names
    by_system = COMMITTED / "semantic_srn"  # the paper's own label maps, one run
    assert [run.run for path in by_system.iterdir() for run in read_split(path).runs] == [0, 0]
    for path in set(COMMITTED.rglob("*.json")) - set(by_system.iterdir()):
        split = read_split(path)
        assert [run.run for run in split.runs] == [0, 1, 2, 3, 4] and split.seed == 0
        assert path.name.startswith(split.category) and f"_k{split.k}_" in path.name and split.rule in path.name


def test_committed_uniform_files_come_out_again_bit_for_bit(sample_splits, partnet_root, tmp_path):
    overrides = ("rule=uniform", "data.category=all", "k=[10,30]", "v=[5]")
    files = sample_splits(f"data.root={partnet_root}", *overrides, f"out={tmp_path}")
    assert len(files) == 34
    for file in files:
        assert file.read_bytes() == (COMMITTED / file.relative_to(tmp_path)).read_bytes(), file.name


def test_committed_covering_files_come_out_again_bit_for_bit(sample_splits, partnet_root, tmp_path):
    leaf = ("data.level=leaf", "data.splits=splits_local.json", "data.category=Scissors", "k=[3]")
    (file,) = sample_splits(f"data.root={partnet_root}", *leaf, f"out={tmp_path}")
    assert file.read_bytes() == (COMMITTED / file.relative_to(tmp_path)).read_bytes()


def test_committed_people_files_cover_the_labels(people_root):
    files = sorted((COMMITTED / "renderpeople_split").iterdir())
    assert [file.name for file in files] == [
        "people_k3_covering.json",
        "people_k3_v3of90_covering.json",
        "people_k5_covering.json",
        "people_k5_v3of90_covering.json",
    ]
    for file in files:
        split = read_split(file)
        check_coverage(people_root, split)
        assert all(run.labels_not_covered == [] for run in split.runs)


def test_the_17_categories_of_level_3(partnet_root):
    lists = train_lists(partnet_root, 3)
    assert tuple(lists) == CATEGORIES
    assert len(lists["Bottle"]) == 315
    assert list(train_lists(partnet_root, "leaf", "splits_local.json")) == ["Bottle", "Refrigerator", "Scissors"]
