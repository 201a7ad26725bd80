"""Bad input: one clear error that names the file or setting and the remedy; earlier results stay as they are."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mvdecor.errors import InputError
from mvdecor.systems.mvdecor import stages
from mvdecor.systems.mvdecor.stages import run_ceiling, run_evaluate, run_finetune, run_pipeline, run_pretrain
from tests.calls import call


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fails(stage, cfg, *words: str) -> None:
    """The stage refuses with one line that holds `words`, and writes nothing."""
    out = Path(cfg.out)
    before = contents(out)
    with pytest.raises(InputError) as info:
        stage(cfg)
    message = str(info.value)
    assert "\n" not in message, message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    assert contents(out) == before


def never(*_args, **_kwargs):
    raise AssertionError("training began although the input is bad")


@pytest.fixture
def no_training(monkeypatch):
    """Fails the test if a loop starts: the error must come first."""
    monkeypatch.setattr(stages, "pretrain", never)
    monkeypatch.setattr(stages, "finetune", never)


@pytest.fixture(scope="module")
def people(make_config, tiny, made_up_people):
    """Makes the configuration of a tiny run on made-up people."""

    def make(*overrides: str):
        root = f"data.root={made_up_people}"
        return make_config("experiment=people_cpu", root, *tiny, "views.close_ups=0", *overrides)

    return make


@pytest.fixture(scope="module")
def partnet(make_config, tiny, made_up_partnet):
    """Makes the configuration of a tiny run on made-up chairs in PartNet's format."""

    def make(*overrides: str):
        return make_config("data=partnet", "training=cpu", *tiny, f"data.root={made_up_partnet}", *overrides)

    return make


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory) -> Path:
    """A finished pipeline run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    run_pipeline(people(f"out={out}"))
    return out


@pytest.fixture
def my_people(made_up_people, tmp_path) -> Path:
    """A copy of the made-up people, to spoil."""
    return Path(shutil.copytree(made_up_people, tmp_path / "people"))


def first(root: Path, split: str) -> str:
    return json.loads((root / "split.json").read_text())[split][0]


# --- settings ---------------------------------------------------------------------------------------------------------


# every single setting: tests/engine/test_settings.py
@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("views.size=99999999999", "below 2^31"),
        ("+data.levle=3", "did you mean data.level?"),
        ("data.texture_size=abc", "whole number of pixels"),
        ("data.texture_size=true", "whole number of pixels"),
        ("network.weights=true", "null"),
        ("method.pretrain=off", "choose true or false"),
        ("training.finetune.decay=2", "between 0 and 1"),
        ("training.finetune.optimizer._target_=abc", "training.finetune: its optimizer"),
        ("+training.pretrain.optimizer.weight_decayy=1", "weight_decayy"),
        ("views.size=big", "whole number"),
        ("lifting.rule=foo", "majority"),
        ("lifting={rule: official, power: 3}", "even number"),
        ("training.finetune.joint=foo", "true or false"),
        ("training.finetune.v=99", "views.count"),
        ("views.channels=[foo]", "rgb"),
        ("+views.sise=64", "views.size"),
        ("+lerning_rate=1", ".learning_rate"),
        ("precision=foo", "32-true"),
        ("network.encoder=foo", "timm"),
        ("+network.foo=1", "network"),
        ("network.weights=foo", "imagenet"),
        ("+loss.foo=1", "configs/loss"),
    ],
)
def test_wrong_value_is_refused_before_any_work(override, remedy, people, tmp_path, no_training):
    """The message names the setting, its value, and what to give."""
    key, value = {"lifting={rule: official, power: 3}": ("lifting.power", "3")}.get(
        override, override.lstrip("+").split("=")
    )
    named = key if override.startswith("+") else value.strip("[]")
    fails(
        run_pipeline,
        people(f"out={tmp_path / 'out'}", override),
        key.partition(".")[0],
        named.rpartition(".")[2],
        remedy,
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune, run_evaluate, run_ceiling])
def test_every_stage_checks_its_settings(stage, people, tmp_path, no_training):
    fails(stage, people(f"out={tmp_path / 'out'}", "checkpoint=nowhere", "lifting.rule=foo"), "lifting.rule=foo")


def test_out_that_cannot_be_written(people, tmp_path, no_training):
    (tmp_path / "file").write_text("mine")
    fails(run_pipeline, people(f"out={tmp_path / 'file' / 'out'}"), str(tmp_path / "file"), "is a file")
    assert (tmp_path / "file").read_text() == "mine"


# --- data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune, run_pipeline])
@pytest.mark.parametrize("data", ["partnet", "shapenet_part", "renderpeople", "folder"])
def test_missing_folder(stage, data, make_config, tiny, tmp_path, no_training):
    cfg = make_config(f"data={data}", *tiny, "data.root=/no/such/folder", f"out={tmp_path / 'out'}")
    fails(stage, cfg, "/no/such/folder", "data.root")


@pytest.mark.parametrize(
    "content", [b"", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", b"v 0 0 0\nf 1 2 9\n", b"\x00\xff\xfe\x01" * 99]
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_or_unreadable_mesh(content, split, people, my_people, tmp_path, no_training):
    mesh = my_people / first(my_people, split) / f"{first(my_people, split)}.obj"
    mesh.write_bytes(content)
    fails(run_pipeline, people(f"data.root={my_people}", f"out={tmp_path / 'out'}"), str(mesh))


@pytest.mark.parametrize("split", ["train", "test"])
def test_label_count_that_does_not_fit(split, people, my_people, tmp_path, no_training):
    labels = next((my_people / first(my_people, split)).glob("*_labels.npy"))
    np.save(labels, np.load(labels)[:-1])
    cfg = people(f"data.root={my_people}", f"out={tmp_path / 'out'}")
    fails(run_pipeline, cfg, str(labels), "labels for a mesh of")


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
def test_shape_without_labels_in_a_labelled_split(stage, people, my_people, tmp_path, no_training):
    name = first(my_people, "train")
    next((my_people / name).glob("*_labels.npy")).unlink()
    fails(stage, people(f"data.root={my_people}", f"out={tmp_path / 'out'}"), name, "no face labels", "on_error=skip")


def test_missing_part_file(partnet, made_up_partnet, tmp_path, no_training):
    root = Path(shutil.copytree(made_up_partnet, tmp_path / "partnet"))
    id = json.loads((root / "stats/train_val_test_split/Chair.test.json").read_text())[0]["anno_id"]
    part = sorted((root / "data_v0" / id / "objs").glob("*.obj"))[0]
    part.unlink()
    cfg = partnet(f"data.root={root}", f"out={tmp_path / 'out'}")
    fails(run_pipeline, cfg, f"shape {id}", str(part), "data.on_error=skip")


def test_missing_part_file_of_a_real_bottle(partnet, partnet_root, tmp_path, no_training):
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"Bottle": {"train": ["3517", "3380"], "test": ["3520"]}}))
    cfg = partnet(
        *(f"data.root={partnet_root}", "data.category=Bottle", f"data.splits={splits}", f"out={tmp_path / 'out'}")
    )
    fails(run_pipeline, cfg, "shape 3380", ".obj, which is missing", "data.on_error=skip")
    fails(run_finetune, cfg, "shape 3380", ".obj, which is missing", "data.on_error=skip")


def test_category_without_the_level(partnet, partnet_root, tmp_path, no_training):
    for stage in (run_finetune, run_pipeline):
        cfg = partnet(
            *(f"data.root={partnet_root}", "data.category=Scissors", "data.level=3"),
            *("data.splits=splits_local.json", f"out={tmp_path / 'out'}"),
        )
        fails(stage, cfg, "Scissors", "level 3", "data.level")


def test_shapes_without_a_face_of_a_known_part(partnet, partnet_root, tmp_path, no_training):
    """Pots and mugs lie among the bottles: no path of theirs is a bottle's."""
    splits = tmp_path / "splits.json"
    pots, bottles = ["4216", "4403"], ["3517", "3558"]
    root = [f"data.root={partnet_root}", "data.category=Bottle", f"data.splits={splits}", f"out={tmp_path / 'out'}"]
    splits.write_text(json.dumps({"Bottle": {"train": pots, "test": bottles}}))
    fails(run_finetune, partnet(*root), "none of the 2 shapes", "data.level")
    fails(run_pipeline, partnet(*root), "none of the 2 shapes", "'train'", "data.level")
    splits.write_text(json.dumps({"Bottle": {"train": bottles, "test": pots}}))
    fails(run_pipeline, partnet(*root, "evaluation.limit=2"), "none of the 2 shapes", "'test'", "data.level")


def test_data_without_labels(make_config, tiny, made_up_people, tmp_path, no_training):
    root = tmp_path / "meshes"
    root.mkdir()
    for name in ("a", "b"):
        shutil.copy(made_up_people / "chair_000" / "chair_000.obj", root / f"{name}.obj")
    cfg = make_config("data=folder", *tiny, f"data.root={root}", f"out={tmp_path / 'out'}")
    for stage in (run_finetune, run_pipeline):
        fails(stage, cfg, str(root), "no labels")


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
def test_k_larger_than_the_split(stage, people, tmp_path, no_training):
    fails(stage, people("training.finetune.k=50", f"out={tmp_path / 'out'}"), "k=50", "lower")


def test_unknown_category(partnet, tmp_path, no_training):
    fails(run_pipeline, partnet("data.category=Spoon", f"out={tmp_path / 'out'}"), "'Spoon'", "Chair")


# --- skipping ---------------------------------------------------------------------------------------------------------


def test_skipped_shapes_are_listed_at_the_end_too(people, my_people, tmp_path, capsys):
    bad = [json.loads((my_people / "split.json").read_text())[split][0] for split in ("train", "test")]
    for name in bad:
        (my_people / name / f"{name}.obj").write_text("")
    out = tmp_path / "out"
    table = run_pipeline(
        people(
            f"data.root={my_people}", "data.on_error=skip", "evaluation.limit=2", f"out={out}", "data.pretrain_limit=9"
        )
    )
    assert [id for id, _ in table["skipped"]] == sorted(bad)
    printed = capsys.readouterr().out
    end = printed[printed.index("curves: tensorboard") :]
    assert "skipped 2 shapes that could not be read:" in end
    for name in bad:
        assert f"warning: skipped shape {name}:" in printed
        assert f"  {name}: " in end
    metrics = json.loads((out / "scratch" / "run_0" / "metrics.json").read_text())
    assert [id for id, _ in metrics["skipped"]] == bad[1:]
    assert bad[1] not in metrics["split"]["ids"]
    tuned = json.loads((out / "scratch" / "run_0" / "finetune.json").read_text())
    assert bad[0] not in tuned["shapes"]


def test_nothing_left_to_use_after_skipping(people, my_people, tmp_path, no_training):
    for name in json.loads((my_people / "split.json").read_text())["test"]:
        (my_people / name / f"{name}.obj").write_text("")
    cfg = people(f"data.root={my_people}", "data.on_error=skip", f"out={tmp_path / 'out'}")
    fails(run_pipeline, cfg, "'test'", "no usable shape")


def test_undetermined_test_shape_counts_nowhere(people, my_people, tmp_path, finished, capsys):
    """A shape whose labels are all undetermined has no ceiling and no score; the others are measured as ever."""
    names = json.loads((my_people / "split.json").read_text())["test"][:2]
    labels = my_people / names[0] / f"{names[0]}_labels.npy"
    np.save(labels, np.full_like(np.load(labels), 255))
    model = f"checkpoint={finished / 'pretrained' / 'run_0' / 'model'}"
    cfg = people(f"data.root={my_people}", model, "evaluation.limit=2", f"out={tmp_path / 'out'}")
    metrics = run_evaluate(cfg)
    assert metrics["undetermined_shapes"] == [names[0]]
    assert list(metrics["shapes"]) == [names[1]]
    assert metrics["split"]["ids"] == names
    assert metrics["ceiling"]["part_miou"] >= metrics["part_miou"]
    assert names[0] in capsys.readouterr().out


def test_only_undetermined_test_shapes(people, my_people, tmp_path, finished):
    name = json.loads((my_people / "split.json").read_text())["test"][0]
    labels = my_people / name / f"{name}_labels.npy"
    np.save(labels, np.full_like(np.load(labels), 255))
    cfg = people(f"data.root={my_people}", f"checkpoint={finished / 'model'}", f"out={tmp_path / 'out'}")
    with pytest.raises(
        InputError, match=r"none of the 1 shapes of split 'test' can be read and has a face of a known part"
    ):
        run_evaluate(cfg)
    assert not (tmp_path / "out" / "metrics.json").exists()


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [run_finetune, run_evaluate, run_pipeline])
def test_missing_checkpoint(stage, people, tmp_path, no_training):
    fails(stage, people("checkpoint=/no/such/model", f"out={tmp_path / 'out'}"), "/no/such/model", "give the folder")


@pytest.mark.parametrize("stage", [run_finetune, run_pipeline])
@pytest.mark.parametrize(
    ("override", "word"),
    [("network.decoder_channels=[16,16,32]", "decoder_channels"), ("views.channels=[rgb,depth]", "rgb+depth")],
)
def test_checkpoint_of_another_model(stage, override, word, people, finished, tmp_path, no_training):
    model = finished / "pretrain" / "model"
    fails(stage, people(f"checkpoint={model}", override, f"out={tmp_path / 'out'}"), str(model), "another model", word)


def test_evaluate_needs_a_checkpoint(people, tmp_path):
    fails(run_evaluate, people(f"out={tmp_path / 'out'}"), "checkpoint=FOLDER")


def test_evaluate_refuses_a_pretrained_model(people, finished):
    model = finished / "pretrain" / "model"
    fails(run_evaluate, people(f"checkpoint={model}", f"out={finished / 'new'}"), str(model), "finetune.py")


@pytest.mark.parametrize(
    ("override", "trained"),
    [
        ("views.channels=[rgb,depth]", "views.channels=[rgb]"),
        ("views.depth=metric", "views.depth=minmax"),
        ("views.normal_frame=world", "views.normal_frame=camera"),
    ],
)
def test_a_model_sees_as_it_was_trained(override, trained, people, finished):
    """At every entrance that has a configuration; `mvdecor.load` is in tests/test_segmenter.py."""
    model, out = finished / "model", f"out={finished / 'new'}"
    fails(run_evaluate, people(f"checkpoint={model}", override, out), str(model), trained)
    if "channels" not in override:  # of a pretrained model they are compared with the network
        pretrained = finished / "pretrain" / "model"
        for stage in (run_finetune, run_pipeline):
            fails(stage, people(f"checkpoint={pretrained}", override, out), str(pretrained), trained)


def test_evaluate_refuses_other_labels(people, my_people, finished):
    content = json.loads((my_people / "split.json").read_text())
    content["labels"][0] = "something else"
    (my_people / "split.json").write_text(json.dumps(content))
    cfg = people(f"data.root={my_people}", f"checkpoint={finished / 'model'}", f"out={finished / 'new'}")
    fails(run_evaluate, cfg, str(finished / "model"), "something else")


def test_damaged_checkpoint(people, finished, tmp_path, no_training):
    model = Path(shutil.copytree(finished / "pretrain" / "model", tmp_path / "model"))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    fails(run_pipeline, people(f"checkpoint={model}", f"out={tmp_path / 'out'}"), str(weights), "damaged")


# --- earlier results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("views.size=48", ["pretrain.json", "(views.size=32 there, 48 here)"]),
        ("training.finetune.k=2", ["finetune.json", "(training.finetune.k=1 there, 2 here)"]),
        ("evaluation.points=600", ["metrics.json", "(evaluation.points=500 there, 600 here)"]),
        ("lifting.rule=foo", ["lifting.rule=foo"]),
        ("data.root=/no/such/folder", ["/no/such/folder"]),
    ],
)
def test_earlier_results_stay(override, words, people, finished, no_training):
    fails(run_pipeline, people(f"out={finished}", override), *words)


def test_damaged_result_is_named(people, finished, tmp_path, no_training):
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    (out / "pretrain" / "pretrain.json").write_text('{"shapes": [')
    fails(run_pipeline, people(f"out={out}"), str(out / "pretrain" / "pretrain.json"), "damaged")


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("pipeline", ["experiment=people_cpu", "lifting.rule=foo"], ["error: lifting.rule=foo is unknown"]),
        ("pretrain", ["experiment=people_cpu", "views.cuont=3"], ["error: views.cuont is unknown", "views.count?"]),
        ("finetune", ["training.finetune.kk=3"], ["error: training.finetune.kk is unknown", "training.finetune.k?"]),
        ("evaluate", ["finetune.k=3"], ["error: finetune.k is unknown", "training.finetune.k?"]),
        ("segment", ["chekpoint=a"], ["error: chekpoint is unknown", "checkpoint?"]),
        ("pretrain", ["data=partnett"], ["error: data=partnett is unknown", "data=partnet?"]),
        ("pretrain", ["dta=partnet"], ["error: dta is unknown", "data?"]),
        ("pretrain", ["views=3"], ["error: views=3 is unknown", "sphere"]),
        ("pipeline", ["experiment=nothing"], ["error: experiment=nothing is unknown", "people_cpu"]),
    ],
)
def test_script_exits_with_one_clear_error(name, overrides, words, tmp_path):
    done = call(name, *overrides, f"out={tmp_path / 'out'}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("error") == 1 and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
