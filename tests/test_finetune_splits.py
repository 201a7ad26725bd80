"""Fine-tuning on a split file: the same training set as sampling; a file that does not fit is refused before training."""

import hashlib
import json
from pathlib import Path

import pytest

from mvdecor.apps.splits import run_splits
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor import stages
from mvdecor.systems.mvdecor.fewshot import few_shot_shapes
from mvdecor.systems.mvdecor.setup import make_store
from mvdecor.systems.mvdecor.stages import run_finetune, run_pipeline

OWN = ("views.close_ups=0", "training.finetune.k=2", "training.finetune.v=2")


@pytest.fixture(scope="module")
def split_file(make_config, made_up_people, tmp_path_factory) -> Path:
    """2 shapes, 2 of 4 views, 3 runs."""
    out = tmp_path_factory.mktemp("splits")
    own = ("data=renderpeople", "num_views=4", "k=[2]", "v=[2]", "runs=3")
    (file,) = run_splits(make_config(*own, f"data.root={made_up_people}", f"out={out}", name="splits"))
    return file


@pytest.fixture(scope="module")
def people(make_config, tiny, made_up_people):
    """Makes the configuration of a tiny run that the split file fits."""
    root = f"data.root={made_up_people}"
    return lambda *overrides: make_config("experiment=people_cpu", root, *tiny, *OWN, *overrides)


def use(file: Path) -> str:
    return f"training.finetune.split={file}"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_sample_and_its_file_train_the_same(people, split_file, tmp_path):
    sampled = run_finetune(people("run=1", f"out={tmp_path / 'sampled'}"))
    read = run_finetune(people("run=1", use(split_file), f"out={tmp_path / 'read'}"))
    for key in ("shapes", "views", "labels_not_covered", "history"):
        assert sampled[key] == read[key], key
    weights = Path("model", "model.safetensors")
    assert sha256(tmp_path / "sampled" / weights) == sha256(tmp_path / "read" / weights)
    assert sampled["split"] is None
    assert read["split"] == {"file": str(split_file), "sha256": sha256(split_file)}
    run = json.loads(split_file.read_text())["runs"][1]
    assert (read["shapes"], read["views"]) == (run["shapes"], run["views"])


@pytest.mark.parametrize("run", [0, 1, 2])
def test_every_run_has_the_sampled_shapes_and_views(people, split_file, run):
    cfg = people(f"run={run}")
    shape_set = make_store(cfg, cfg.data.labelled)
    _, sampled, _ = few_shot_shapes(cfg, shape_set)
    shapes, read, skipped = few_shot_shapes(people(f"run={run}", use(split_file)), shape_set)
    assert sampled == read and [s.id for s in shapes] == read.shapes and skipped == []


def test_a_file_that_changed_is_not_the_same_result(people, split_file, tmp_path):
    file, out = tmp_path / "split.json", tmp_path / "out"
    file.write_bytes(split_file.read_bytes())
    first = run_finetune(people(use(file), f"out={out}"))
    assert run_finetune(people(use(file), f"out={out}")) == first
    content = json.loads(file.read_text())
    content["runs"][0], content["runs"][1] = content["runs"][1] | {"run": 0}, content["runs"][0] | {"run": 1}
    file.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"finetune\.json .*\(the content of training\.finetune\.split\): choose another out="
    ):
        run_finetune(people(use(file), f"out={out}"))


def test_pipeline_with_a_split_file(people, split_file, tmp_path):
    run_pipeline(people(use(split_file), "training.finetune.runs=2", f"out={tmp_path}"))
    runs = json.loads(split_file.read_text())["runs"]
    for method in ("scratch", "pretrained"):
        for number in (0, 1):
            result = json.loads((tmp_path / method / f"run_{number}" / "finetune.json").read_text())
            assert result["views"] == runs[number]["views"]


@pytest.fixture
def no_training(monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("training began although the split does not fit")

    monkeypatch.setattr(stages, "pretrain", never)
    monkeypatch.setattr(stages, "finetune", never)


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.finetune.k=1", ["training.finetune.k=2, here 1"]),
        ("training.finetune.v=3", ["training.finetune.v=2, here 3"]),
        ("training.finetune.v=null", ["training.finetune.v=2, here None"]),
        ("views.count=5", ["views.count=4, here 5"]),
        ("data.category=dogs", ["data.category=people, here dogs"]),
        ("+data.level=3", ["data.level=None, here 3"]),
        ("data.name=scans", ["data.name=renderpeople, here scans"]),
    ],
)
def test_split_of_another_task(stage, override, words, people, split_file, tmp_path, no_training):
    refused(stage, people(use(split_file), override, f"out={tmp_path / 'out'}"), str(split_file), *words)


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
def test_run_that_is_not_in_the_file(stage, people, split_file, tmp_path, no_training):
    cfg = people(use(split_file), "run=3", "training.finetune.runs=4", f"out={tmp_path / 'out'}")
    refused(stage, cfg, str(split_file), "no run 3, only 0, 1, 2")


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
def test_unknown_shape(stage, people, split_file, made_up_people, tmp_path, no_training):
    """Also a test shape is unknown: no one may train on it."""
    test_id = json.loads((made_up_people / "split.json").read_text())["test"][0]
    for name in ("nobody", test_id):
        text = split_file.read_text()
        old = json.loads(text)["runs"][0]["shapes"][0]
        (tmp_path / "split.json").write_text(text.replace(old, name))
        cfg = people(use(tmp_path / "split.json"), f"out={tmp_path / 'out'}")
        refused(stage, cfg, "split.json", "run 0", name, "data.splits")


def test_shape_of_a_split_cannot_be_skipped(people, split_file, made_up_people, tmp_path, no_training, monkeypatch):
    def broken(self, id):
        raise InputError("no vertices")

    cfg = people(use(split_file), "data.on_error=skip", "cache=null", f"out={tmp_path / 'out'}")
    monkeypatch.setattr("mvdecor.shapes.RenderPeople.load", broken)
    id = json.loads(split_file.read_text())["runs"][0]["shapes"][0]
    refused(run_finetune, cfg, str(split_file), "run 0", f"shape {id}", "no vertices")
    refused(run_pipeline, cfg, "no vertices")


@pytest.mark.parametrize("content", [None, "", "{}", '{"format": "mvdecor few-shot split 1"}'])
def test_missing_or_damaged_file(content, people, tmp_path, no_training):
    file = tmp_path / "split.json"
    if content is not None:
        file.write_text(content)
    for stage in (run_finetune, run_pipeline):
        refused(stage, people(use(file), f"out={tmp_path / 'out'}"), str(file), "scripts/splits.py")


def refused(stage, cfg, *words: str) -> None:
    """One line that holds the words, and nothing written."""
    with pytest.raises(InputError) as info:
        stage(cfg)
    assert "\n" not in str(info.value)
    for word in words:
        assert word in str(info.value), str(info.value)
    assert not Path(cfg.out).exists()
