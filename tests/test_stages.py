"""A stage that is killed and called again."""

import json
import shutil
from functools import partial

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune, run_pretrain
from tests.calls import Killed, killed_after

OWN = ("experiment=people_cpu", "views.close_ups=0", "training.finetune.k=2")


@pytest.mark.parametrize("stage", [run_pretrain, run_finetune])
def test_a_stage_that_was_killed_goes_on_and_ends_the_same(
    stage, make_config, tiny, made_up_people, tmp_path, monkeypatch, capsys
):
    """With a contrastive term in fine-tuning, and many pairs of views that do not overlap enough: as if it had not been killed,
    and whoever prepares the batches."""
    steps = (
        *("training.finetune.lambda_ssl=0.1", "training.finetune.pairs=2", "training.matching.min_overlap=0.08"),
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
    with killed_after(3):
        stage(cut)
    assert not (tmp_path / "cut" / stage.file).exists()
    with pytest.raises(
        InputError,
        match=r"state holds the state of a training with other settings or inputs \(network\.embedding_dim\)",
    ):
        stage(make_config(*own, f"out={tmp_path / 'cut'}", "network.embedding_dim=8"))
    resumed = stage(cut)
    printed = capsys.readouterr().out
    assert "resuming after 2 steps" in printed
    said = "seed 0, run 0: labelled " if stage is run_finetune else "seed 0: pretraining on "
    assert printed.count(said) == 3  # the fourth call was refused
    assert resumed["history"] == whole["history"]
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "cut" / "state").exists()
    assert resumed["cost"]["wall_seconds"] > 0
    helped = stage(make_config(*own, f"out={tmp_path / 'helped'}", "workers=2"))
    assert helped["history"] == whole["history"]
    assert (tmp_path / "helped" / "model" / "model.safetensors").read_bytes() == weights[0]


def test_an_evaluation_that_was_killed_goes_on_and_measures_the_same(
    make_config, tiny, made_up_people, tmp_path, monkeypatch, capsys
):
    own = (OWN[0], *tiny, *OWN[1:], f"data.root={made_up_people}", "evaluation.limit=3")
    run_finetune(make_config(*own, f"out={tmp_path / 'tuned'}"))
    own = (*own, f"checkpoint={tmp_path / 'tuned' / 'model'}")
    whole = run_evaluate(make_config(*own, f"out={tmp_path / 'whole'}"))
    cut, write, written = make_config(*own, f"out={tmp_path / 'cut'}"), ShapeRecords.write, []

    def write_and_die(self, id, record):
        write(self, id, record)
        written.append(id)
        if len(written) == 2:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShapeRecords, "write", write_and_die)
        run_evaluate(cut)
    record = tmp_path / "cut" / "measured" / f"{written[1]}.json"
    with pytest.raises(
        InputError, match="measured holds an evaluation under way of another model or with other settings"
    ):
        run_evaluate(make_config(*own, f"out={tmp_path / 'cut'}", "lifting.rule=mean"))
    content = record.read_bytes()
    for damaged in (content[:-5], b"[]", b"{}"):
        record.write_bytes(damaged)
        with pytest.raises(InputError, match=r"measured/.*json is damaged .*remove it, and call again"):
            run_evaluate(cut)
    record.write_bytes(content)
    resumed = run_evaluate(cut)
    assert "resuming after 2 of 3" in capsys.readouterr().out
    for key in ("part_miou", "shape_miou", "confusion", "shapes", "ceiling", "coverage", "split"):
        assert json.dumps(resumed[key]) == json.dumps(whole[key]), key
    assert not (tmp_path / "cut" / "measured").exists()
    assert len(list((tmp_path / "cut" / "labels").iterdir())) == 3


def test_a_shape_that_was_skipped_and_is_corrected_is_measured_when_an_evaluation_goes_on(
    make_config, tiny, made_up_people, tmp_path, monkeypatch
):
    root = shutil.copytree(made_up_people, tmp_path / "people")
    own = (OWN[0], *tiny, *OWN[1:], f"data.root={root}", "evaluation.limit=3", "data.on_error=skip")
    run_finetune(make_config(*own, f"out={tmp_path / 'tuned'}"))
    cfg = make_config(*own, f"checkpoint={tmp_path / 'tuned' / 'model'}", f"out={tmp_path / 'out'}")
    first = json.loads((root / "split.json").read_text())["test"][0]
    labels = root / first / f"{first}_labels.npy"
    content, write = labels.read_bytes(), ShapeRecords.write
    labels.write_bytes(content[:100])

    def write_and_die(self, id, record):
        write(self, id, record)
        assert id == first and "skipped" in record
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShapeRecords, "write", write_and_die)
        run_evaluate(cfg)
    labels.write_bytes(content)
    metrics = run_evaluate(cfg)
    assert first in metrics["shapes"] and metrics["skipped"] == []


def test_a_compiled_network_leaves_the_same_kind_of_model(make_config, tiny, made_up_people, tmp_path, monkeypatch):
    compiled, real = [], torch.nn.Module.compile

    def without_a_compiler(self, *args, **kwargs):
        compiled.append(type(self).__name__)
        partial(real, backend="eager")(self)

    monkeypatch.setattr(torch.nn.Module, "compile", without_a_compiler)
    own = (OWN[0], *tiny, *OWN[1:], f"data.root={made_up_people}")
    weights = []
    for setting in ("false", "true"):
        out = tmp_path / setting
        run_finetune(make_config(*own, f"out={out}", f"training.compile={setting}"))
        weights.append((out / "model" / "model.safetensors").read_bytes())
    assert compiled == ["UNet"] and weights[0] == weights[1]
