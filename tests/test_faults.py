"""The short version of `make faults`, and that it would notice a fault."""

import os
import random
import signal
from functools import partial
from pathlib import Path

from mvdecor.engine.snapshots import Snapshots
from mvdecor.made_up.generate import write_people_like
from tests.faults import run, stages, torture


def test_killed_stages_end_like_undisturbed_ones(tmp_path, capsys):
    outcomes = run(2, 0, tmp_path)
    assert [o.stage for o in outcomes] == ["pretrain", "finetune", "evaluate", "table", "render"]
    assert all(o.kills == 2 and o.runs >= 1 and o.faults == 0 for o in outcomes), capsys.readouterr().out


class Never(random.Random):
    """Kills nobody."""

    def uniform(self, a: float, b: float) -> float:
        return 3600.0


def dies_once(stage, keeps_all: bool, out: Path) -> None:
    """The stage, killed after its second state is saved, but for the undisturbed run; then it goes on from that state."""
    save, restore, marker = Snapshots.save, Snapshots.restore, out.with_name(f"{out.name}.died")

    def save_and_die(self, step, state):
        save(self, step, state)
        if step == 8 and out.name != "whole" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def restore_without_optimizer(self, state):
        return restore(self, {name: value for name, value in state.items() if name != "optimizer"})

    Snapshots.save = save_and_die
    if not keeps_all:
        Snapshots.restore = restore_without_optimizer
    stage(out)


def test_a_state_that_is_not_whole_is_noticed(tmp_path, capsys):
    stage = stages(write_people_like(tmp_path / "people", 8), tmp_path)["pretrain"]
    for keeps_all in (True, False):
        folder = tmp_path / f"runs_{keeps_all}"
        folder.mkdir()
        outcome = torture("pretrain", partial(dies_once, stage, keeps_all), folder, 1, Never())
        assert (outcome.kills, outcome.faults) == (1, 0 if keeps_all else 1)
    assert "fault: pretrain" in capsys.readouterr().out
