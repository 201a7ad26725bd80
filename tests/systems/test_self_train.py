"""Self-training: what is trusted, what is trained on, and that a run that was cut off ends as if it had not been."""

import json
import shutil

import numpy as np
import pytest
import torch

from mvdecor.engine import loop
from mvdecor.errors import InputError
from mvdecor.lifting import FaceLabels
from mvdecor.networks import load_checkpoint
from mvdecor.systems.mvdecor import self_train
from mvdecor.systems.mvdecor.self_train import trusted_labels
from mvdecor.systems.mvdecor.stages import run_finetune
from tests.calls import become_ranks, script

TRUST_ALL = ("training.self_train.confidence=0", "training.self_train.agreement=0")
STEPS = ("training.finetune.steps=4", "save_every=2", "training.finetune.learning_rate=1e-5", "lifting.smooth=0.05")


@pytest.fixture
def settings(tiny, made_up_people) -> list[str]:
    return ["experiment=people_cpu", *tiny, f"data.root={made_up_people}", "views.close_ups=0", *STEPS, *TRUST_ALL]


def weights(folder) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model")[0].state_dict()


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def test_labels_are_trusted_where_sure_seen_and_agreed_on():
    predicted = FaceLabels(
        labels=torch.tensor([3, 1, 2, 0, 1]),
        confidence=torch.tensor([0.9, 0.5, 0.95, 0.99, 0.7]),
        filled=torch.tensor([False, False, True, False, False]),
        coverage=1.0,
        disagreement=torch.tensor([0.1, 0.0, 0.0, 0.3, 0.25]),
    )
    assert trusted_labels(predicted, 0.7, 0.75).tolist() == [3, -1, -1, -1, 1]
    assert trusted_labels(predicted, 0.0, 0.0).tolist() == [3, 1, -1, 0, 1]
    assert trusted_labels(predicted, 1.0, 1.0).tolist() == [-1] * 5


def test_a_round_trains_on_the_votes_of_its_teacher_and_on_no_test_shape(
    settings, make_config, tmp_path, made_up_people
):
    plain = run_finetune(make_config(*settings, f"out={tmp_path / 'plain'}"))
    out = tmp_path / "out"
    result = run_finetune(make_config(*settings, "training.self_train.rounds=2", f"out={out}"))
    assert (out / "teacher" / "teacher" / "finetune.json").exists()
    assert not (out / "teacher" / "teacher" / "teacher").exists()
    assert same(out / "teacher" / "teacher", tmp_path / "plain"), "without a round it is the plain fine-tuning"
    assert not same(out, out / "teacher") and not same(out / "teacher", tmp_path / "plain")
    split = json.loads((made_up_people / "split.json").read_text())
    labelled = set(plain["shapes"])
    assert set(result["self_train"]["shapes"]) == set(split["train"]) - labelled
    assert result["shapes"] == plain["shapes"] and plain["self_train"] is None
    for id, share in result["self_train"]["shapes"].items():
        labels = np.load(out / "pseudo_labels" / f"{id}.npy")
        assert labels.min() >= -1 and 0 < share <= 1 and (labels >= 0).any()
    assert not any("self_train" in key or "consistency" in key for key in plain["key"]["settings"])
    record = load_checkpoint(out / "model")[1]["trained_on"]
    assert set(record["finetune"]) == labelled and set(record["without labels"]) == set(split["train"]) - labelled


def test_half_of_what_is_sampled_is_labelled(settings, make_config, tmp_path, monkeypatch):
    sources = []
    original = self_train.self_training_source
    monkeypatch.setattr(
        "mvdecor.systems.mvdecor.finetune.self_training_source", lambda *a: sources.append(original(*a)) or sources[-1]
    )
    cfg = make_config(*settings, "training.self_train.rounds=1", "training.finetune.k=2", f"out={tmp_path / 'out'}")
    result = run_finetune(cfg)
    ((source, _),) = sources
    names = [source.shape_views.shapes[number].id for number in source.shapes]
    assert sum(name in result["shapes"] for name in names) == len(names) / 2
    assert {names.count(id) for id in result["shapes"]} == {len(names) // 4}
    batch = source.sample(0, 0)
    assert set(batch.seen_labels.unique().tolist()) <= set(range(-1, len(source.shape_views[0].label_names)))


@pytest.mark.parametrize("at", ["labels", "training"])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(settings, make_config, tmp_path, monkeypatch, at):
    cfgs = [make_config(*settings, "training.self_train.rounds=1", f"out={tmp_path / x}") for x in ("whole", "cut")]
    run_finetune(cfgs[0])
    calls = {"labels": 0}
    predict, add = self_train.predict_faces, loop.History.add

    def dies_at_the_second_shape(*args, **kwargs):
        calls["labels"] += 1
        if calls["labels"] == 2 and at == "labels":
            raise KeyboardInterrupt
        return predict(*args, **kwargs)

    def dies_in_the_last_step(self, *args):
        if at == "training" and calls["labels"] and len(calls) == 1 and cfgs[1].out in str(tmp_path / "cut"):
            calls["steps"] = 0
        if "steps" in calls:
            calls["steps"] += 1
            if calls["steps"] == 4:
                raise KeyboardInterrupt
        return add(self, *args)

    monkeypatch.setattr(self_train, "predict_faces", dies_at_the_second_shape)
    monkeypatch.setattr(loop.History, "add", dies_in_the_last_step)
    with pytest.raises(KeyboardInterrupt):
        run_finetune(cfgs[1])
    written = (tmp_path / "cut" / "teacher" / "finetune.json").stat().st_mtime_ns
    assert (tmp_path / "cut" / "state").exists() == (at == "training")
    monkeypatch.undo()
    run_finetune(cfgs[1])
    assert (tmp_path / "cut" / "teacher" / "finetune.json").stat().st_mtime_ns == written, (
        "the teacher is not run again"
    )
    assert same(tmp_path / "cut", tmp_path / "whole")
    other = make_config(*settings, "training.self_train.rounds=1", "seed=1", f"out={tmp_path / 'other'}")
    shutil.copytree(tmp_path / "cut" / "pseudo_labels", tmp_path / "other" / "pseudo_labels")
    with pytest.raises(InputError, match="other settings"):
        run_finetune(other)


def test_two_processes_leave_what_one_does(settings, tmp_path):
    overrides = [*settings, "training.self_train.rounds=1", "training.finetune.lambda_consistency=0.1"]
    for count in (1, 2):
        words = script("finetune", *overrides, f"out={tmp_path / str(count)}")
        ranks = become_ranks([words] * count, tmp_path)
        assert not any(rank.returncode for rank in ranks), ranks[0].stderr
    one, two = (json.loads((tmp_path / name / "finetune.json").read_text()) for name in "12")
    assert one["self_train"]["shapes"] == pytest.approx(two["self_train"]["shapes"], abs=0.02)
    for a, b in zip(one["history"], two["history"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-2)
    for a, b in zip(weights(tmp_path / "1").values(), weights(tmp_path / "2").values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-2)


def test_a_teacher_that_trusts_nothing_is_told_of(settings, make_config, tmp_path):
    strict = ("training.self_train.confidence=1", "training.self_train.agreement=1", "training.self_train.rounds=1")
    with pytest.raises(InputError, match=r"trusts no label on any of .* lower training\.self_train\.confidence \(1"):
        run_finetune(make_config(*settings, *strict, f"out={tmp_path / 'out'}"))
