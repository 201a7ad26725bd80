"""A stage that is killed and called again."""

import pytest

from mvdecor.errors import InputError
from mvdecor.stages import run_finetune, run_pretrain
from mvdecor.training.resume import Snapshots


class Killed(BaseException):
    """In the place of kill -9 after a state was saved."""


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune])
def test_a_stage_that_was_killed_goes_on_and_ends_the_same(
    stage, make_config, tiny, made_up_people, tmp_path, monkeypatch, capsys
):
    steps = (
        "training.pretrain.steps=4",
        "training.pretrain.validate_every=2",
        "training.finetune.steps=4",
        "save_every=2",
    )
    own = (
        "experiment=people_cpu",
        f"data.root={made_up_people}",
        *tiny,
        "views.close_ups=0",
        "training.finetune.k=2",
        *steps,
    )
    whole = stage(make_config(*own, f"out={tmp_path / 'whole'}"))
    cut = make_config(*own, f"out={tmp_path / 'cut'}")
    save = Snapshots.save

    def save_and_die(self, step, state):
        save(self, step, state)
        if step == 3:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Snapshots, "save", save_and_die)
        stage(cut)
    assert not (tmp_path / "cut" / f"{stage.__name__[4:]}.json").exists()
    with pytest.raises(InputError, match=r"state holds a run under way with other settings \(network\)"):
        stage(make_config(*own, f"out={tmp_path / 'cut'}", "network.embedding_dim=8"))
    resumed = stage(cut)
    assert "going on after 2 steps" in capsys.readouterr().out
    assert resumed["history"] == whole["history"]
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "cut" / "state").exists()
    assert resumed["cost"]["wall_seconds"] > 0
