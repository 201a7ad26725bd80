"""A loop that is cut off and restored takes the steps that it would have taken."""

import hashlib
import pickle

import pytest
import torch

from mvdecor.engine.log import Log
from mvdecor.engine.snapshots import DIGEST, Snapshots
from mvdecor.errors import InputError
from tests.systems import test_loops as loops
from tests.systems.test_loops import Recorder, run_finetune, same, weights


class CutOff(Exception):
    """In the place of kill -9."""


class Killer(Recorder):
    """Cuts the run off at the start of a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def progress(self, steps: int, name: str, first: int = 0):
        for step in Log.progress(self, steps, name, first):
            if step == self.at:
                raise CutOff
            yield step


def run_pretrain(log: Recorder, folder, schedule: str, **settings):
    torch.manual_seed(0)
    net, _, saved, history = loops.run_pretrain(
        11, log=log, snapshots=Snapshots(folder, 3, settings), schedule=schedule, validate_every=2, validation_batches=1
    )
    return net, saved, history


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_pretraining_cut_off_again_and_again_ends_like_one_that_was_not(tmp_path, schedule):
    whole_log = Recorder()
    whole, best, history = run_pretrain(whole_log, None, schedule)
    for at in (1, 4, 5, 10):
        with pytest.raises(CutOff):
            run_pretrain(Killer(at), tmp_path, schedule)
        torch.rand(5)  # another process has another global random state
    log = Recorder()
    net, saved, resumed = run_pretrain(log, tmp_path, schedule)
    assert len(log.figures["pretrain"]) == 2
    assert same(weights(net), weights(whole))
    assert resumed.validations == history.validations
    assert log.figures["pretrain"] == whole_log.figures["pretrain"][-2:]
    if saved:  # the best may have been saved before the cut
        assert saved[-1][1] == best[-1][1] and same(saved[-1][0], best[-1][0])


@pytest.mark.parametrize("joint", [True, False])
def test_finetuning_cut_off_ends_like_one_that_was_not(tmp_path, monkeypatch, joint):
    settings = {"steps": 9, "lambda_ssl": 0.01, "with_pairs": True, "joint": joint}
    whole, _, history = run_finetune(**settings)
    for at in (2, 7, 6):
        monkeypatch.setattr("tests.systems.test_loops.Recorder", lambda at=at: Killer(at))
        with pytest.raises(CutOff):
            run_finetune(**settings, snapshots=Snapshots(tmp_path, 3))
    monkeypatch.setattr("tests.systems.test_loops.Recorder", Recorder)
    net, log, resumed = run_finetune(**settings, snapshots=Snapshots(tmp_path, 3))
    assert len(log.figures["finetune"]) == 3
    assert same(weights(net), weights(whole)) and resumed.steps == history.steps


class Counter:
    """State that counts."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict:
        return {"value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.value = state["value"]


def save_some(folder, steps: int, **settings) -> Counter:
    counter, snapshots = Counter(), Snapshots(folder, 2, settings)
    for step in range(steps):
        counter.value = 10 * (step + 1)
        snapshots.save(step + 1, {"counter": counter})
    return counter


def test_the_two_newest_are_kept_and_a_damaged_one_is_passed_over(tmp_path, capsys):
    save_some(tmp_path, 9)
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["step_000000006.pt", "step_000000008.pt"]
    newest, counter = tmp_path / "step_000000008.pt", Counter()
    assert Snapshots(tmp_path).restore({"counter": counter}) == 8 and counter.value == 80
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    capsys.readouterr()
    assert Snapshots(tmp_path).restore({"counter": counter}) == 6 and counter.value == 60
    assert "step_000000008.pt is damaged, the state before it is taken" in capsys.readouterr().out
    newest.write_bytes(b"")
    assert Snapshots(tmp_path).step == 6
    Snapshots(tmp_path).remove()
    assert not tmp_path.exists()
    assert Snapshots(tmp_path).restore({"counter": counter}) == 0 and counter.value == 60


def test_code_in_a_state_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    data = pickle.dumps({"step": 3, "state": Evil()}, protocol=2)
    (tmp_path / "step_000000003.pt").write_bytes(hashlib.sha256(data).digest() + data)
    assert len(hashlib.sha256(data).digest()) == DIGEST
    assert Snapshots(tmp_path).step == 0 and not (tmp_path / "written").exists()


def test_a_state_of_other_settings_is_refused_and_kept(tmp_path):
    save_some(tmp_path, 3, seed=0, loss={"temperature": 0.07})
    assert Snapshots(tmp_path, 2, {"seed": 0, "loss": {"temperature": 0.07}}).step == 2
    with pytest.raises(
        InputError, match=r"other settings or inputs \(loss\): resume it with those, remove that folder, or"
    ):
        Snapshots(tmp_path, 2, {"seed": 0, "loss": {"temperature": 0.1}})
    assert Snapshots(tmp_path).step == 2


def test_without_a_folder_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_some(None, 5)
    assert not list(tmp_path.iterdir()) and Snapshots().step == 0
