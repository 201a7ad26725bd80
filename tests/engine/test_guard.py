"""A stage's folder is its own, and the usual accidents are told plainly."""

import json
import os
import resource
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest
import torch
from lightning_fabric import Fabric

from mvdecor.engine.guard import LOCK, alone_in, guard
from mvdecor.engine.history import Diverged, History
from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.systems.mvdecor.batches import PairBatch
from mvdecor.systems.mvdecor.stages import run_finetune, run_pretrain
from tests.calls import PATIENCE


def hold(folder, pipe: Connection) -> None:
    with alone_in(folder):
        pipe.send("inside")
        time.sleep(PATIENCE)


def start_holder(target, folder) -> BaseProcess:
    """A process that is in the folder by now, until it is killed."""
    ours, theirs = worker_context().Pipe()
    process = worker_context().Process(target=target, args=(folder, theirs), daemon=True)
    process.start()
    assert ours.poll(PATIENCE) and ours.recv() == "inside"
    return process


def test_a_folder_has_one_user_at_a_time(tmp_path):
    folder = tmp_path / "a" / "b"
    process = start_holder(hold, folder)
    with (
        pytest.raises(InputError, match=rf"out=.*a/b: process {process.pid} on .* is at work there.*another out="),
        alone_in(folder),
    ):
        pass
    os.kill(process.pid, signal.SIGKILL)  # it cannot take its lock file away
    process.join()
    assert (folder / LOCK).exists()
    with alone_in(folder):
        assert str(os.getpid()) in (folder / LOCK).read_text()
        (folder / "result").write_text("kept")
    assert [p.name for p in folder.iterdir()] == ["result"]


def test_a_folder_that_stays_empty_is_taken_away_again(tmp_path):
    with alone_in(tmp_path / "a" / "b"):
        pass
    assert not list(tmp_path.iterdir())


def batch_of(step: int, unmatched: tuple[str, ...] = ()) -> PairBatch:
    return PairBatch(torch.zeros(1), None, (f"s{step}",), ((step, step),), unmatched)


def test_a_loss_that_is_lost_names_its_batch(capsys):
    history = History(Fabric(accelerator="cpu", devices=1))
    for step, loss in enumerate([2.0, 3.0]):
        history.add(torch.tensor(loss), batch_of(step, ("plate", "rod")[: step + 1]))
    assert history.unmatched == ["plate", "rod"] and capsys.readouterr().out.count("warning: shape plate") == 1
    history.check(1)
    assert history.note(2) == 2.5 and history.steps == [{"step": 2, "loss": 2.5}]
    for step, loss in enumerate([1.0, float("nan"), float("inf")], start=2):
        history.add(torch.tensor(loss), batch_of(step))
    with pytest.raises(Diverged, match=r"the loss is nan at step 4 \(it was 2 at first\)") as error:
        history.check(4)
    assert error.value.record == {
        "step": 4,
        "loss": "nan",
        "losses_before": [1.0],
        "shapes": ("s3",),
        "views": ((3, 3),),
    }
    exploded = History(Fabric(accelerator="cpu", devices=1))
    exploded.add(torch.tensor(0.01), batch_of(0))
    exploded.check(0)
    exploded.add(torch.tensor(999.0), batch_of(1))
    exploded.check(1)
    exploded.add(torch.tensor(1001.0), batch_of(2))
    with pytest.raises(Diverged, match="1001 at step 3"):
        exploded.check(2)


@pytest.mark.parametrize(("stage", "rate"), [(run_pretrain, "pretrain"), (run_finetune, "finetune")])
def test_a_stage_that_diverges_says_where(stage, rate, make_config, tiny, made_up_people, tmp_path, monkeypatch):
    own = ("experiment=people_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=0", "training.log_every=1")
    steps = (f"training.{rate}.steps=3", f"out={tmp_path / 'run'}")
    history_add, count = History.add, iter(range(100))

    def add(self, loss, batch):
        history_add(self, loss * (float("nan") if next(count) == 1 else 1), batch)

    monkeypatch.setattr(History, "add", add)
    with pytest.raises(InputError, match=r"the loss is nan at step 2 .*lower the learning rate.*run/diverged\.json"):
        stage(make_config(*own, *steps))
    record = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert record["step"] == 2 and record["shapes"] and len(record["views"]) == len(record["shapes"])
    assert not (tmp_path / "run" / f"{rate}.json").exists()


@pytest.mark.parametrize(
    ("accident", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "GPU's memory is full: lower"),
        (MemoryError(), "the memory is full"),
        (PermissionError(13, "Permission denied", "a.obj"), r"a\.obj cannot be opened \(Permission denied\): .*rights"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed."), "worker .*fewer workers"),
        (RuntimeError("[../gloo/pair.cc:1] Connection closed by peer\nmore"), "lost another process .*by peer\\)"),
    ],
)
def test_accidents_are_told_plainly(accident, words, tmp_path):
    with pytest.raises(InputError, match=words), guard(tmp_path / "run"):
        raise accident
    assert not (tmp_path / "run").exists()


def run_with_little_room(stage, cfg, size: int, pipe) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        stage(cfg)
        pipe.send("finished")
    except InputError as error:
        pipe.send(str(error))


@pytest.mark.parametrize(("stage", "size"), [(run_pretrain, 100_000), (run_finetune, 100_000), (run_finetune, 0)])
def test_a_full_disk_is_told_plainly_and_leaves_nothing_half_written(
    stage, size, make_config, tiny, made_up_people, tmp_path
):
    """A limit on the size of files in the place of a full disk: no weights fit, or nothing at all."""
    own = ("experiment=people_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=0", "save_every=1")
    cfg = make_config(*own, "training.pretrain.steps=2", "training.finetune.steps=2", f"out={tmp_path / 'run'}")
    ours, theirs = worker_context().Pipe(duplex=False)
    process = worker_context().Process(target=run_with_little_room, args=(stage, cfg, size, theirs))
    process.start()
    theirs.close()
    message = ours.recv() if ours.poll(PATIENCE) else "nothing was said"
    process.join()
    assert "cannot" in message and "File too large" in message and str(tmp_path) in message, message
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file() and p.parent.name != "log"]
    assert not files, "neither results nor parts of files"
    stage(cfg)  # with room again it goes through
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
