"""Fine-tuning with part substitution: what is sampled, what it costs nothing without, and with self-training."""

import json

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.networks import load_checkpoint
from mvdecor.systems.mvdecor import finetune
from mvdecor.systems.mvdecor.stages import run_finetune


@pytest.fixture
def settings(tiny, made_up_people) -> list[str]:
    steps = ("training.finetune.k=3", "training.finetune.steps=3", "views.close_ups=0")
    return ["experiment=people_cpu", *tiny, f"data.root={made_up_people}", *steps]


def weights(folder) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model")[0].state_dict()


def test_half_of_what_is_sampled_is_substituted(settings, make_config, tmp_path, monkeypatch, capsys):
    sources = []
    original = finetune.substitution_source
    monkeypatch.setattr(finetune, "substitution_source", lambda *a: sources.append(original(*a)) or sources[-1])
    result = run_finetune(make_config(*settings, "training.finetune.substitutes=3", f"out={tmp_path / 'out'}"))
    assert "part substitution: 3 shapes more, made of 3" in capsys.readouterr().out
    (source,) = sources
    names = [source.shape_views.shapes[number].id for number in source.shapes]
    assert sorted(set(names[: len(names) // 2])) == sorted(result["shapes"])
    others = set(names) - set(result["shapes"])
    assert len(others) == 3 and all(id.split("+")[0] in result["shapes"] for id in others)
    assert {names.count(id) for id in others} == {len(names) // 6}
    assert [len(views) for views in source.views] == [4] * 6
    batches = [source.sample(0, step) for step in range(9)]
    assert {"+" in id for batch in batches for id in batch.shape_ids} == {True, False}
    assert set(result["views"]) == set(result["shapes"]), "the result is of the labelled shapes"
    record = load_checkpoint(tmp_path / "out" / "model")[1]
    assert set(record["trained_on"]["finetune"]) == set(result["shapes"])


def test_without_substitutes_nothing_changes_and_with_them_the_same_command_gives_the_same_weights(
    settings, make_config, tmp_path
):
    plain = run_finetune(make_config(*settings, f"out={tmp_path / 'plain'}"))
    assert not any("substitute" in key for key in plain["key"]["settings"])
    for name in ("once", "again"):
        run_finetune(make_config(*settings, "training.finetune.substitutes=2", f"out={tmp_path / name}"))
    once, again, without = (weights(tmp_path / name) for name in ("once", "again", "plain"))
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not all(torch.equal(once[key], without[key]) for key in once)
    with pytest.raises(InputError, match="substitutes"):
        run_finetune(make_config(*settings, "training.finetune.substitutes=3", f"out={tmp_path / 'once'}"))


def test_fewer_ways_than_asked_for_are_said(settings, make_config, tmp_path, capsys):
    run_finetune(make_config(*settings, "training.finetune.substitutes=999", f"out={tmp_path / 'out'}"))
    assert "made of 3 in all ways there are, which are fewer than 999" in capsys.readouterr().out


def test_with_self_training_the_teacher_has_them_too(settings, make_config, tmp_path, capsys):
    trust_all = ("training.self_train.confidence=0", "training.self_train.agreement=0", "training.self_train.rounds=1")
    run_finetune(make_config(*settings, *trust_all, "training.finetune.substitutes=2", f"out={tmp_path / 'out'}"))
    assert capsys.readouterr().out.count("part substitution: 2 shapes more") == 2
    teacher = json.loads((tmp_path / "out" / "teacher" / "finetune.json").read_text())
    assert teacher["key"]["settings"]["training.finetune.substitutes"] == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.finetune.k=1", r"substitutes=2, but k=1: .*raise k"),
        ("training.finetune.v=2", r"substitutes=2, but v=2: .*give v=null or substitutes=0"),
    ],
)
def test_what_substitution_needs_is_asked_for_before_any_work(override, words, settings, make_config, tmp_path):
    with pytest.raises(InputError, match=words):
        run_finetune(make_config(*settings, "training.finetune.substitutes=2", override, f"out={tmp_path / 'out'}"))
    assert not (tmp_path / "out").exists()
