"""Test shapes of another root, and test shapes that a model was trained on."""

import inspect
import json
import shutil
from dataclasses import replace

import pytest
import torch
from hydra.utils import get_class

from mvdecor.apps.cache import plan
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_people_like
from mvdecor.shapes import Shape
from mvdecor.shapes.shape import Texture
from mvdecor.systems.mvdecor.check import check_run
from mvdecor.systems.mvdecor.held_out import (
    content_of,
    contents_of,
    held_out_data,
    trained_test_shapes,
    warn_of_trained,
)
from mvdecor.systems.mvdecor.stages import run_ceiling, run_evaluate, run_finetune, run_pipeline

OWN = ("experiment=people_cpu", "views.close_ups=0", "training.finetune.k=2", "evaluation.limit=2")


def triangle(id: str, height: float = 1.0) -> Shape:
    return Shape(id, torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, height, 0]]), torch.tensor([[0, 1, 2]]))


def test_shapes_are_known_by_their_mesh_and_by_their_id():
    texture = Texture(
        torch.zeros(1, 3, 2), (torch.zeros(1, 1, 3, dtype=torch.uint8),), torch.zeros(1, dtype=torch.int64)
    )
    labelled = replace(triangle("a"), face_labels=torch.tensor([0]), label_names=("p",), texture=texture)
    assert content_of(labelled) == content_of(triangle("b")) != content_of(triangle("a", 2.0))
    record = {
        "trained_on": {
            "pretrain": contents_of([triangle("a"), triangle("b", 2.0)]),
            "finetune": contents_of([triangle("c", 3.0)]),
        }
    }
    tested = contents_of([triangle("a"), triangle("x", 2.0), triangle("c", 4.0), triangle("new", 5.0)])
    found = trained_test_shapes(record, tested)
    assert [tuple(one.values()) for one in found] == [
        ("a", "pretrain", "a", "id and mesh"),
        ("x", "pretrain", "b", "mesh"),
        ("c", "finetune", "c", "id"),
    ]
    assert trained_test_shapes({}, tested) == []
    older = trained_test_shapes({"shapes": ["c", "d"]}, tested)  # a checkpoint that has ids only
    assert [tuple(one.values()) for one in older] == [("c", "finetune", "c", "id")]


def test_the_warning_names_them(capsys):
    record = {
        "trained_on": {
            "pretrain": contents_of([triangle("a"), triangle("b", 2.0)]),
            "finetune": contents_of([triangle("c", 3.0)]),
        }
    }
    warn_of_trained(
        trained_test_shapes(record, contents_of([triangle("a"), triangle("x", 2.0), triangle("c", 4.0)])), 3
    )
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("WARNING: the model was pretrained (without labels) on 2 of the 3 test shapes")
    assert first.endswith(": a, x (there b)")
    assert second == "note: the model was fine-tuned on other meshes that have the ids of test shapes: c"
    warn_of_trained([], 3)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["folder", "generated", "partnet", "renderpeople"])
def test_every_setting_of_a_data_set_is_in_its_configuration(make_config, name):
    cfg = make_config(f"data={name}")
    for node in (cfg.data.labelled, cfg.data.unlabelled):
        parameters = inspect.signature(get_class(node._target_)).parameters
        given = set(node) - {"_target_"}
        assert given <= set(parameters)
        missing = set(parameters) - given
        # without labels the level does not matter; `labels` of PartNet is for configurations of earlier runs alone
        expected = {"labels"} if node._target_.endswith("PartNet") else set()
        assert missing == expected | ({"level"} if node.get("category") == "all" else set())
    assert cfg.data.test_root is None
    assert held_out_data(cfg) == cfg.data.labelled


def test_settings_of_a_folder_reach_its_reader(make_config, tmp_path):
    cfg = make_config(
        "data=folder", f"data.root={tmp_path}", "data.splits=mine.json", "data.texture_size=64", "data.labels=n.json"
    )
    node = held_out_data(cfg)
    assert (node.splits, node.texture_size, node.labels) == ("mine.json", 64, "n.json")
    other = held_out_data(make_config("data=folder", f"data.root={tmp_path}", "data.test_root=elsewhere"))
    assert other.root == "elsewhere" and other._target_ == node._target_


@pytest.fixture
def two_roots(made_up_people, tmp_path):
    """Other people to test on, of which one carries the mesh of a person of the first root's training list."""
    other = write_people_like(tmp_path / "other", 6, seed=7)
    trained = json.loads((made_up_people / "split.json").read_text())["train"]
    split = json.loads((other / "split.json").read_text())
    shutil.copytree(made_up_people / trained[0], other / "copy")
    split["test"] = ["copy", *split["test"]]
    (other / "split.json").write_text(json.dumps(split))
    return made_up_people, other, trained


def test_a_pipeline_is_evaluated_on_the_other_root(two_roots, make_config, tiny, tmp_path, capsys):
    root, other, trained = two_roots
    cfg = make_config(
        OWN[0], *tiny, *OWN[1:], f"data.root={root}", f"data.test_root={other}", f"out={tmp_path / 'out'}"
    )
    run_pipeline(cfg)
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out/pretrained/run_0/metrics.json").read_text())
    assert metrics["split"]["ids"] == json.loads((other / "split.json").read_text())["test"][:2]
    assert set(metrics["trained_on"]) <= set(trained)
    pretrained = json.loads((tmp_path / "out/pretrain/pretrain.json").read_text())["shapes"]
    assert trained[0] in pretrained
    expected = [{"shape": "copy", "stage": "pretrain", "trained_as": trained[0], "same": "mesh"}]
    assert [one for one in metrics["trained_test_shapes"] if one["stage"] == "pretrain"] == expected
    assert "WARNING: the model was pretrained (without labels) on 1 of the 2 test shapes" in printed
    assert f"copy (there {trained[0]})" in printed
    scratch = json.loads((tmp_path / "out/scratch/run_0/metrics.json").read_text())
    assert not [one for one in scratch["trained_test_shapes"] if one["stage"] == "pretrain"]
    record = json.loads((tmp_path / "out/model/checkpoint.json").read_text())["trained_on"]
    assert set(record["pretrain"]) == set(pretrained) and set(record["finetune"]) == set(metrics["trained_on"])


def test_test_shapes_that_were_fine_tuned_on_are_warned_of(made_up_people, make_config, tiny, tmp_path, capsys):
    own = (OWN[0], *tiny, *OWN[1:], f"data.root={made_up_people}", f"out={tmp_path / 'out'}")
    run_finetune(make_config(*own))
    model = f"checkpoint={tmp_path / 'out/model'}"
    metrics = run_evaluate(make_config(*own, model, "evaluation.split=train", "evaluation.limit=null"))
    labelled = metrics["trained_on"]
    assert len(labelled) == 2
    assert metrics["trained_test_shapes"] == [
        {"shape": id, "stage": "finetune", "trained_as": id, "same": "id and mesh"}
        for id in metrics["split"]["ids"]
        if id in labelled
    ]
    assert f"the model was fine-tuned on 2 of the {len(metrics['split']['ids'])} test shapes" in capsys.readouterr().out


def test_other_stages_look_at_the_other_root_too(two_roots, make_config, tiny, tmp_path):
    root, other, _ = two_roots
    own = (OWN[0], *tiny, *OWN[1:], f"data.root={root}", f"data.test_root={other}")
    rows = run_ceiling(make_config(*own, "evaluation.limit=1", f"out={tmp_path / 'ceiling'}"))
    assert [row["shapes"] for row in rows["rows"]] == [1, 1, 1]
    render = make_config(*own, "stages=[evaluate]", f"views.cache={tmp_path}", name="render")
    ids = json.loads((other / "split.json").read_text())["test"][:2]
    assert [(job.data, job.id) for job in plan(render)] == [("held out", id) for id in ids]


def test_roots_of_other_labels_are_refused_before_training(two_roots, make_config, tiny, tmp_path):
    root, other, _ = two_roots
    split = json.loads((other / "split.json").read_text())
    split["labels"] = split["labels"][::-1]
    (other / "split.json").write_text(json.dumps(split))
    cfg = make_config(
        OWN[0], *tiny, *OWN[1:], f"data.root={root}", f"data.test_root={other}", f"out={tmp_path / 'out'}"
    )
    with pytest.raises(InputError, match=r"data\.test_root=.*other: its labels \(.*\) are not those of data\.root"):
        check_run(cfg, tmp_path / "pretrain")
    cfg.data.test_root = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        check_run(cfg, tmp_path / "pretrain")
