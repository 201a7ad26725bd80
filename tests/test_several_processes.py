"""Stages with worker processes, and under torchrun: same results, one voice, and no process is waited for in vain."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.stages import run_finetune, run_pretrain
from tests.calls import ROOT, become_ranks, call, run, script
from tests.faults import contents, varies

DIES = ROOT / "tests" / "dies.py"

MORE = (
    *("experiment=people_cpu", "views.close_ups=0", "training.pretrain.pairs=2", "training.pretrain.validate_every=3"),
    *("training.pretrain.validation_batches=2", "evaluation.limit=3", "training.log_every=2", "save_every=3"),
    "training.pretrain.learning_rate=1e-6",  # Adam blows rounding up: see two_processes.py, which is about that
)


@pytest.fixture
def settings(tiny, made_up_people) -> list[str]:
    return [*MORE[:1], *tiny, *MORE[1:], f"data.root={made_up_people}"]


def read(file: Path) -> dict:
    return json.loads(file.read_text())


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune])
def test_workers_change_nothing(stage, settings, make_config, tmp_path):
    found = []
    for workers in (0, 2):
        steps = ("training.pretrain.steps=7", "training.finetune.steps=7", "training.finetune.lambda_ssl=0.1")
        stage(make_config(*settings, *steps, f"workers={workers}", f"out={tmp_path / str(workers)}"))
        found.append(contents(tmp_path / str(workers)))
    assert found[0] == found[1] and any(name.startswith("model/") for name in found[0])


class Deadly(PairSource):
    """Kills the worker that samples step 5."""

    def sample(self, seed, step, items=None):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(seed, step, items)


def deadly() -> Deadly:
    """What a worker gets in the place of a source."""
    return Deadly.__new__(Deadly)


def test_a_worker_that_dies_is_told_of_and_the_run_goes_on(settings, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(PairSource, "__reduce__", lambda self: (deadly, (), vars(self)))
    cfg = make_config(*settings, "training.pretrain.steps=7", "workers=1", f"out={tmp_path / 'run'}")
    with pytest.raises(InputError, match=r"DataLoader worker .*(killed|exited unexpectedly).*fewer workers="):
        run_pretrain(cfg)
    assert [p.name for p in (tmp_path / "run" / "state").iterdir()] == ["step_000000003.pt"]
    monkeypatch.undo()
    assert len(run_pretrain(cfg)["history"]) == 3


@pytest.fixture(scope="module")
def one(tiny, made_up_people, tmp_path_factory) -> Path:
    """A pipeline's run by one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    overrides = [*MORE[:1], *tiny, *MORE[1:], f"data.root={made_up_people}", f"out={out}", "training.pretrain.steps=6"]
    done = call("pipeline", *overrides, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return out


def test_a_pipeline_of_two_processes_leaves_what_one_does(one, settings, tmp_path):
    out = tmp_path / "run"
    words = script("pipeline", *settings, f"out={out}", "training.pretrain.steps=6")
    done = run("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("== pretraining ->") == 1 and done.stdout.count("part mIoU ") == 2  # one voice
    names = [{str(p.relative_to(run)) for p in run.rglob("*") if not varies(p)} for run in (one, out)]
    assert names[0] == names[1]
    ours, theirs = (read(run / "pretrain" / "pretrain.json")["history"] for run in (out, one))
    for a, b in zip(ours, theirs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    assert read(out / "table.json")["machine"]["processes"] == 2
    again = become_ranks([words] * 2, tmp_path)
    assert [rank.returncode for rank in again] == [0, 0], again[0].stderr + again[1].stderr
    assert [rank.stdout.count("not run again") for rank in again] == [5, 0]


def test_an_evaluation_of_two_processes_measures_the_same(one, settings, tmp_path):
    found = []
    for count in (1, 2):
        out = tmp_path / str(count)
        model = one / "pretrained" / "run_0" / "model"
        done = become_ranks([script("evaluate", *settings, f"checkpoint={model}", f"out={out}")] * count, tmp_path)
        assert not any(rank.returncode for rank in done), done[0].stderr
        found.append(contents(out))
    assert found[0] == found[1] and "metrics.json" in found[0]
    assert len(read(tmp_path / "2" / "metrics.json")["shapes"]) == 3


@pytest.mark.parametrize("script_name", ["pretrain", "pipeline"])
def test_a_batch_of_fewer_items_than_processes_is_refused_at_once(script_name, settings, tmp_path):
    sizes = ("training.pretrain.pairs=2", "training.finetune.batch_size=1")
    if script_name == "pretrain":
        sizes = ("training.pretrain.pairs=1",)
    words = script(script_name, *settings, *sizes, f"out={tmp_path / 'run'}")
    name = {"pretrain": "training.pretrain.pairs", "pipeline": "training.finetune.batch_size"}[script_name]
    for rank in become_ranks([words] * 2, tmp_path):
        assert rank.returncode == 2
        assert f"error: {name}=1 cannot be shared by 2 processes: start at most 1, or give {name}=2" in rank.stderr
    assert not (tmp_path / "run").exists()


RECIPE = (
    *("experiment=renderpeople", "network.encoder=resnet10t", "views.close_ups=0", "training.pretrain.steps=8"),
    *("training.pretrain.validate_every=8", "training.pretrain.pairs=5", "training.pretrain.validation_batches=2"),
    *(
        "training.finetune.steps=4",
        "training.finetune.batch_size=5",
        "training.finetune.lambda_ssl=0.1",
        "save_every=2",
    ),
    *("evaluation.limit=3", "evaluation.split=all", "training.log_every=1", "training.pretrain.learning_rate=1e-6"),
    *("training.finetune.learning_rate=1e-6", "data.pretrain_split=all"),
)
"""The recipe's network, with dropout, on batches that neither two nor four processes share evenly."""


def test_a_pipeline_killed_in_each_stage_is_finished_by_other_numbers_of_processes(tiny, made_up_people, tmp_path):
    plain = [word for word in tiny if not word.startswith("network")]
    words = [*RECIPE[:1], *plain, *RECIPE[1:], f"data.root={made_up_people}"]
    whole, out = tmp_path / "whole", tmp_path / "run"
    undisturbed = call("pipeline", *words, f"out={whole}", cwd=tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    program = script("pipeline", *words, f"out={out}")
    for stage, count, resumed in (
        ("pretrain", 4, None),
        ("finetune", 2, "pretrain/state: resuming after 6 steps"),
        ("evaluate", 2, "scratch/run_0/state: resuming after 2 steps"),
        (None, 4, "scratch/run_0/measured: resuming after 2 of 3"),
    ):
        last = program if stage is None else [str(DIES), stage, *program]
        ranks = become_ranks([program] * (count - 1) + [last], tmp_path)
        codes = [rank.returncode for rank in ranks]
        assert codes == ([2] * (count - 1) + [-signal.SIGKILL] if stage else [0] * count), ranks[0].stderr
        assert resumed is None or resumed in ranks[0].stdout, ranks[0].stdout
    for file in sorted(whole.rglob("*.json")):
        ours, theirs = read(out / file.relative_to(whole)), read(file)
        for key in ("history", "validations"):
            for a, b in zip(ours.get(key, ()), theirs.get(key, ()), strict=True):
                assert a == pytest.approx(b, abs=1e-3), file
        for key in {"part_miou", "shape_miou", "coverage"} & theirs.keys():
            assert ours[key] == pytest.approx(theirs[key], abs=0.5), file
    names = [{str(p.relative_to(run)) for p in run.rglob("*") if not varies(p)} for run in (whole, out)]
    assert names[0] == names[1]


def test_a_process_that_is_killed_ends_the_others_and_two_go_on_bit_for_bit(settings, tmp_path):
    out, whole = tmp_path / "run", tmp_path / "whole"
    overrides = [*settings, "training.pretrain.steps=12", "training.pretrain.validate_every=12"]
    program = script("pretrain", *overrides, f"out={out}")
    left, killed = become_ranks([program, [str(DIES), "pretrain", *program]], tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert left.returncode == 2 and "process 0 lost another process of the run" in left.stderr, left.stderr
    assert max(p.name for p in (out / "state").iterdir()) == "step_000000006.pt"
    assert not (out / "pretrain.json").exists() and not (out / ".lock").exists()
    for folder in (out, whole):
        ranks = become_ranks([script("pretrain", *overrides, f"out={folder}")] * 2, tmp_path)
        assert [rank.returncode for rank in ranks] == [0, 0], ranks[0].stderr
        assert ("resuming after 6 steps" in ranks[0].stdout) == (folder == out)
    assert contents(out) == contents(whole) and any(name.startswith("model/") for name in contents(out))
    assert not multiprocessing.active_children()
