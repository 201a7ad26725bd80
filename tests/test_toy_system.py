"""Another system costs a file: it runs, resumes, is measured, and is told from other settings and inputs."""

import json
import shutil

import pytest

from mvdecor.errors import InputError
from mvdecor.results import format_table, summarize
from tests.calls import killed_after
from tests.toy.normals import EVALUATE, FINETUNE, PRETRAIN


@pytest.fixture
def config(make_config, made_up_people, tiny, tmp_path):
    people = shutil.copytree(made_up_people, tmp_path / "people")
    lists = json.loads((people / "split.json").read_text())
    lists["val"] = [lists["train"].pop()]
    (people / "split.json").write_text(json.dumps(lists))

    def make(out: str, *more: str):
        own = ("experiment=people_cpu", *tiny, "views.close_ups=0", "save_every=2", f"data.root={people}")
        return make_config(*own, f"out={tmp_path / out}", *more)

    return make


def test_a_system_of_ones_own_from_pretraining_to_a_row_of_a_table(config, tmp_path, monkeypatch, capsys):
    whole = PRETRAIN(config("whole"))
    assert whole["history"][-1]["loss"] < whole["history"][0]["loss"]
    with killed_after(5):
        PRETRAIN(config("cut"))
    assert PRETRAIN(config("cut"))["history"] == whole["history"]
    assert "resuming after 4 steps" in capsys.readouterr().out
    weights = [(tmp_path / name / "pretrain.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]

    rows = []
    for method, start in (("scratch", None), ("pretrained", tmp_path / "whole" / "pretrain.safetensors")):
        start = [] if start is None else [f"checkpoint={start}"]
        FINETUNE(config(method, *start))
        tuned = f"checkpoint={tmp_path / method / 'finetune.safetensors'}"
        metrics = EVALUATE(config(method, tuned))
        assert EVALUATE(config(method, tuned)) == json.loads(json.dumps(metrics))
        rows.append({"method": method, "category": "people", "run": 0, "part_miou": 100 * metrics["error"]})
    table = format_table(summarize(rows)["rows"])
    assert table.count("\n") == 3 and "pretrained" in table

    with pytest.raises(InputError, match=r"metrics\.json .*\(the content of checkpoint\): choose another out="):
        EVALUATE(config("scratch", f"checkpoint={tmp_path / 'pretrained' / 'finetune.safetensors'}"))
    with pytest.raises(InputError, match=r"pretrain\.json .*seed=0 there, 1 here"):
        PRETRAIN(config("whole", "seed=1"))
