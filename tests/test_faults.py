"""The short version of `make faults`, and that it would notice a fault."""

import random

from mvdecor.engine.snapshots import Snapshots
from mvdecor.shapes.generate import write_people_like
from tests.faults import run, stages, torture


def test_killed_stages_end_like_undisturbed_ones(tmp_path, capsys):
    outcomes = run(2, 0, tmp_path)
    assert [o.stage for o in outcomes] == ["pretrain", "finetune", "evaluate", "table", "render"]
    assert all(o.kills == 2 and o.runs >= 1 and o.faults == 0 for o in outcomes), capsys.readouterr().out


def test_a_state_that_is_not_whole_is_noticed(tmp_path, monkeypatch, capsys):
    restore = Snapshots.restore

    def without_optimizer(self, state):
        return restore(self, {name: value for name, value in state.items() if name != "optimizer"})

    monkeypatch.setattr(Snapshots, "restore", without_optimizer)
    stage = stages(write_people_like(tmp_path / "people", 8), tmp_path)["pretrain"]
    (tmp_path / "runs").mkdir()
    outcome = torture("pretrain", stage, tmp_path / "runs", 4, random.Random(1))
    assert outcome.kills == 4 and outcome.faults > 0
    assert "fault: pretrain" in capsys.readouterr().out
