"""A result is that of its settings and of the content of what it was made from: neither more nor less."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvdecor.engine.cli import CONFIGS
from mvdecor.engine.history import History
from mvdecor.engine.log import read_scalars
from mvdecor.engine.provenance import code_of_process
from mvdecor.engine.snapshots import Snapshots
from mvdecor.errors import InputError
from mvdecor.networks import load_checkpoint
from mvdecor.results.runs import read_run
from mvdecor.shapes.splits import FewShotRun, FewShotSplit, write_split
from mvdecor.systems.mvdecor import keys
from mvdecor.systems.mvdecor.stages import (
    of_method,
    run_ceiling,
    run_evaluate,
    run_finetune,
    run_pipeline,
    run_pretrain,
)


def cut_after(save):
    """Saves a state as it should, and then the process is gone."""

    def saved_and_gone(self, step, state):
        save(self, step, state)
        raise KeyboardInterrupt

    return saved_and_gone


NAMES = sorted(path.stem for path in Path(CONFIGS, "experiment").glob("*.yaml"))
EXPERIMENTS = [
    name for name in NAMES if not name.startswith(("srn", "ttp", "ovs", "table_ttp", "table_ovs"))
]  # those of this system


@pytest.fixture
def people(made_up_people, tmp_path):
    """A copy of the people, to be changed."""
    return shutil.copytree(made_up_people, tmp_path / "people")


@pytest.fixture
def config(make_config, tiny, people, tmp_path):
    def make(*overrides: str, out: str = "out"):
        own = ("experiment=people_cpu", *tiny, "views.close_ups=0", "training.finetune.k=2", "evaluation.limit=2")
        return make_config(*own, f"data.root={people}", f"out={tmp_path / out}", *overrides)

    return make


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_scratch_of_a_pipeline_is_the_method_scratch(make_config, experiment):
    """Of the recipe's experiments, and where weights of ImageNet were asked for."""
    ours = of_method(make_config(f"experiment={experiment}", "network.weights=imagenet"), "scratch")
    method = make_config(f"experiment={experiment}", "network.weights=imagenet", "method=scratch")
    # the method comes before the command line there, after it here
    method.network.weights = None
    for group in ("method", "training", "network", "loss", "views", "data"):
        assert OmegaConf.to_container(ours[group], resolve=True) == OmegaConf.to_container(method[group], resolve=True)
    assert ours.network.weights is None and ours.training.finetune.lambda_ssl == 0


@pytest.mark.parametrize(
    "change",
    [
        "training.finetune.runs=4",
        "training.log_every=7",
        "training.pretrain.steps=9",
        "save_every=3",
        "workers=2",
        "progress=false",
        "views.cache=somewhere",
        "views.keep=false",
        "evaluation.batch_size=3",
        "device=cpu",
        "training.finetune.pairs=2",  # there is no contrastive term in this experiment
        "loss.temperature=0.2",
    ],
)
def test_what_a_fine_tuning_does_not_depend_on_is_not_in_its_key(config, change):
    assert keys.finetune_settings(config(change)) == keys.finetune_settings(config())


@pytest.mark.parametrize(
    "change",
    [
        "training.finetune.k=1",
        "training.finetune.steps=77",
        "run=1",
        "seed=1",
        "views.size=20",
        "network.embedding_dim=8",
        "training.finetune.lambda_ssl=0.1",
        "precision=bf16-mixed",
    ],
)
def test_what_a_fine_tuning_depends_on_is_in_its_key(config, change):
    assert keys.finetune_settings(config(change)) != keys.finetune_settings(config())


def test_with_a_contrastive_term_its_settings_count(config):
    joint = config("training.finetune.lambda_ssl=0.1")
    for change in ("loss.temperature=0.2", "training.pretrain.points=77", "training.finetune.pairs=2"):
        other = config("training.finetune.lambda_ssl=0.1", change)
        assert keys.finetune_settings(other) != keys.finetune_settings(joint)


def test_what_a_loss_leaves_out_counts_only_if_it_does(config):
    """A result from before there were such options stays one of the same settings."""
    plain, ssl = config(), "training.finetune.lambda_ssl=0.1"
    for settings in (keys.pretrain_settings(plain), keys.finetune_settings(config(ssl))):
        assert "loss.temperature" in settings and not {"loss.mirror", "loss.alike"} & settings.keys()
    for change in (["loss.alike=0.1"], ["loss.mirror=x", "loss.radius=0.1"]):
        key = change[0].split("=")[0]
        assert key in keys.pretrain_settings(config(*change)) and key in keys.finetune_settings(config(ssl, *change))


def test_a_data_set_that_was_moved_is_the_same(config, people, tmp_path):
    moved = shutil.copytree(people, tmp_path / "moved")
    here, there = config(), config(f"data.root={moved}")
    assert keys.finetune_settings(here) == keys.finetune_settings(there)
    for name, files in keys.finetune_files(here).items():
        assert keys.finetune_files(there)[name].is_same(files.identity())


def test_results_follow_the_content_of_labels_meshes_and_models(config, people, tmp_path):
    tuned, cfg = run_finetune(config(out="tuned")), config(f"checkpoint={tmp_path / 'tuned' / 'model'}", out="metrics")
    metrics = run_evaluate(cfg)
    assert run_evaluate(cfg)["part_miou"] == metrics["part_miou"]
    assert run_finetune(config("training.finetune.runs=9", out="tuned")) == json.loads(json.dumps(tuned))

    labels = next(people.glob(f"{tuned['shapes'][0]}/*_labels.npy"))
    values = np.load(labels)
    np.save(labels, (values + 1) % 2)
    with pytest.raises(
        InputError, match=r"finetune\.json .*\(the content of the training shapes\): choose another out="
    ):
        run_finetune(config(out="tuned"))
    run_pretrain(config(out="pretrain"))
    np.save(labels, values)
    run_pretrain(config(out="pretrain"))  # which looks at no label

    test = next(people.glob(f"{metrics['split']['ids'][0]}/*.obj"))
    mesh = test.read_bytes()
    test.write_bytes(mesh + b"\n# a remark\n")
    with pytest.raises(InputError, match=r"metrics\.json .*\(the content of the test shapes\)"):
        run_evaluate(cfg)
    test.write_bytes(mesh)

    run_finetune(config("seed=1", out="other"))
    shutil.rmtree(tmp_path / "tuned" / "model")
    shutil.copytree(tmp_path / "other" / "model", tmp_path / "tuned" / "model")
    with pytest.raises(InputError, match=r"metrics\.json .*the content of checkpoint\): choose another out="):
        run_evaluate(cfg)
    other = run_evaluate(config(f"checkpoint={tmp_path / 'tuned' / 'model'}", out="metrics_of_the_other"))
    assert other["weights_sha256"] != metrics["weights_sha256"]
    split = people / "split.json"
    lists = json.loads(split.read_text())
    split.write_text(json.dumps(lists | {"test": lists["test"][::-1]}))
    with pytest.raises(InputError, match="the content of the test shapes"):
        run_evaluate(config(f"checkpoint={tmp_path / 'tuned' / 'model'}", out="metrics_of_the_other"))


def test_a_result_describes_the_model_whatever_the_command_of_its_evaluation_says(config, tmp_path):
    run_finetune(config("method=scratch", "training.finetune.steps=2", "run=3", "seed=4", out="tuned"))
    others = ("method=mvdecor", "training.finetune.k=1", "training.finetune.v=2", "training.finetune.steps=9", "run=1")
    metrics = run_evaluate(config(*others, f"checkpoint={tmp_path / 'tuned' / 'model'}", out="metrics"))
    settings = metrics["config"]["training"]["finetune"]
    assert (settings["k"], settings["v"], settings["steps"]) == (2, None, 2)
    run = read_run(tmp_path / "metrics")
    assert (run.method, run.seed, run.number) == ("scratch", 4, 3) and metrics["pretrained"] is False
    assert metrics["seed"] == 0 and metrics["config"]["out"] == str(tmp_path / "metrics")


def test_a_ceiling_is_not_overwritten_and_looks_through_the_cameras_of_the_evaluation(config, tmp_path):
    run_finetune(config(out="tuned"))
    exact = ("evaluation.points=0", "evaluation.protocol=partnet")
    metrics = run_evaluate(config(f"checkpoint={tmp_path / 'tuned' / 'model'}", *exact, out="metrics"))
    ceiling = run_ceiling(config(*exact, out="ceiling"))
    assert ceiling["rows"][0]["part_miou"] == pytest.approx(metrics["ceiling"]["part_miou"])
    assert run_ceiling(config(*exact, out="ceiling"))["rows"] == ceiling["rows"]
    with pytest.raises(InputError, match=r"ceiling\.json holds a result .*views\.size"):
        run_ceiling(config(*exact, "views.size=20", out="ceiling"))


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune])
def test_a_run_that_diverges_keeps_its_last_scalars_and_pictures(stage, config, tmp_path, monkeypatch):
    add, count = History.add, iter(range(100))

    def lost_at_the_third(self, loss, batch):
        add(self, loss * (float("nan") if next(count) == 2 else 1), batch)

    monkeypatch.setattr(History, "add", lost_at_the_third)
    steps = ("training.pretrain.steps=4", "training.finetune.steps=4", "training.log_every=1")
    with pytest.raises(InputError, match="the loss is nan at step 3"):
        stage(config(*steps))
    log = tmp_path / "out" / "log"
    curves = read_scalars(log / "scalars.csv")
    assert curves and all([step for step, _ in curve] == [0, 1] for curve in curves.values())
    events = EventAccumulator(str(log), size_guidance={"scalars": 0, "images": 0}).Reload()
    for name, curve in curves.items():
        assert [event.step for event in events.Scalars(name)] == [step for step, _ in curve]
    assert events.Tags()["images"]


def test_provenance_is_of_the_beginning(config, monkeypatch):
    """A file that is changed while a stage runs is not what the stage ran with."""
    revisions = iter(["before", "after", "after"])
    monkeypatch.setattr("mvdecor.engine.provenance.revision", lambda: next(revisions))
    code_of_process.cache_clear()
    assert run_finetune(config())["revision"] == "before"
    # a pipeline's later stages run what was imported at first
    assert run_evaluate(config(f"checkpoint={config().out}/model", out="later"))["revision"] == "before"
    monkeypatch.undo()
    code_of_process.cache_clear()


@pytest.mark.parametrize("first", [(), ("training.finetune.lambda_ssl=0.001",), ("checkpoint",), ("run=1",)])
@pytest.mark.parametrize("second", [(), ("training.finetune.lambda_ssl=0.001",), ("checkpoint",), ("run=1",)])
def test_a_state_is_resumed_by_the_same_training_only(first, second, config, tmp_path, monkeypatch):
    """Whichever of two trainings was cut off: settings and files that only one of them has count too."""
    run_pretrain(config(out="pretrain"))

    def training(words):
        words = [f"checkpoint={tmp_path / 'pretrain' / 'model'}" if word == "checkpoint" else word for word in words]
        return config(*words, "training.finetune.steps=2", "save_every=1")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Snapshots, "save", cut_after(Snapshots.save))
        run_finetune(training(first))
    if first == second:
        run_finetune(training(second))
        return
    with pytest.raises(InputError, match="holds the state of a training with other settings or inputs"):
        run_finetune(training(second))


def test_shapes_that_a_split_file_does_not_name_do_not_count(config, people, tmp_path):
    lists = json.loads((people / "split.json").read_text())
    chosen, other = sorted(lists["train"][:2]), lists["train"][-1]
    split = FewShotSplit(
        "renderpeople", "people", None, 2, None, None, 0, "covering", "test", [FewShotRun(0, chosen, None, [])]
    )
    write_split(tmp_path / "two.json", split)
    cfg = config(f"training.finetune.split={tmp_path / 'two.json'}")
    before = {name: files.identity() for name, files in keys.finetune_files(cfg).items()}
    np.save(people / other / f"{other}_labels.npy", np.zeros(3))
    assert all(files.is_same(before[name]) for name, files in keys.finetune_files(cfg).items())
    np.save(people / chosen[0] / f"{chosen[0]}_labels.npy", np.zeros(3))
    assert not keys.finetune_files(cfg)["the labelled shapes"].is_same(before["the labelled shapes"])


def test_initial_weights_count_by_content_and_only_where_they_are_used(config, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.pt").write_bytes(b"weights")
    here, there = (config(f"network.weights={tmp_path / name / 'w.pt'}") for name in ("a", "b"))
    assert keys.finetune_settings(here) == keys.finetune_settings(there) != keys.finetune_settings(config())
    assert keys.finetune_files(there)["network.weights"].is_same(
        keys.finetune_files(here)["network.weights"].identity()
    )
    tuned = [config("checkpoint=x", f"network.weights={weights}") for weights in ("null", "imagenet")]
    assert keys.finetune_settings(tuned[0]) == keys.finetune_settings(tuned[1])


def test_a_model_that_is_gone_is_made_again_and_a_removed_result_is_too(config, tmp_path, capsys):
    """On the CPU the same one, so that what was made from it stays finished."""
    cfg = config("training.pretrain.steps=2", "training.finetune.steps=2")
    run_pipeline(cfg)
    weights = tmp_path / "out" / "pretrain" / "model" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(weights.parent)
    (tmp_path / "out" / "scratch" / "run_0" / "finetune.json").unlink()
    capsys.readouterr()
    run_pipeline(cfg)
    assert weights.read_bytes() == before
    said = capsys.readouterr().out
    assert "pretrain.json: finished before but" in said and said.count(": labelled ") == 1
    assert said.count("metrics.json: finished before with") == 2


def test_a_batch_without_variance_is_refused_before_any_work(config, tmp_path):
    deep = ("network.decoder_channels=[16,16,16,16,16]", "training.finetune.batch_size=1")
    for stage in (run_finetune, run_pipeline):
        with pytest.raises(InputError, match=r"batch_size=1, views\.size=32: .*give a batch_size of at least 2"):
            stage(config(*deep))
    assert not (tmp_path / "out").exists()
    run_finetune(config(*deep, "views.size=64"))
    run_finetune(config(deep[0], "training.finetune.batch_size=2", out="two"))


def test_trainings_go_on_from_a_model_of_their_own_kind(config, tmp_path):
    """With a learning rate that moves nothing, the weights are those that it began with: all of them, head included."""
    still = ("training.pretrain.learning_rate=1e-30", "training.finetune.learning_rate=1e-30")
    for stage, name in ((run_pretrain, "pretrain"), (run_finetune, "finetune")):
        first, second = (tmp_path / out / "model" for out in (name, f"{name}_on"))
        stage(config(out=name))
        stage(config(*still, f"checkpoint={first}", "seed=7", out=f"{name}_on"))
        before, after = (load_checkpoint(folder) for folder in (first, second))
        weights = dict(before[0].named_parameters())
        assert all(
            torch.allclose(weight, weights[key], rtol=0, atol=1e-20) for key, weight in after[0].named_parameters()
        )
        assert before[1]["trained_on"][name].items() <= after[1]["trained_on"][name].items()
