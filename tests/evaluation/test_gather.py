"""Reading finished runs, and what must not share a table."""

import json

import numpy as np
import pytest
import trimesh

from mvdecor.errors import InputError
from mvdecor.results.cells import check_cells
from mvdecor.results.runs import read_run, read_runs
from mvdecor.shapes import Shape


def test_reads_every_result_at_any_depth_once(write_run, tmp_path):
    file = write_run("scratch", 1, 12.5, "RGB, v=3", seed=4)
    write_run("mvdecor", 0, 20.0, where="b/deep")
    results = read_runs([tmp_path / "results", tmp_path / "results" / "a"])
    assert len(results) == 2
    (result,) = [r for r in results if r.method == "scratch"]
    assert (result.file, result.title, result.column) == (file, "2D scratch", "RGB, v=3")
    assert (result.seed, result.number, result.part_miou, result.shape_miou) == (4, 1, 12.5, 6.25)
    assert result.test_ids == ("1", "2")
    assert result.setting("training.finetune.k") == 3
    assert result.setting("nothing.here") is None
    check_cells(results)


def test_without_a_cell_the_category_is_the_column_and_without_a_method_the_folder(write_run):
    file = write_run("pretrained", 0, 10.0)
    content = json.loads(file.read_text())
    del content["config"]["method"], content["config"]["cell"]
    file.write_text(json.dumps(content))
    (result,) = read_runs([file.parent])
    assert (result.method, result.title, result.column) == ("pretrained", "pretrained", "Bottle")
    moved = file.parents[1] / "moved"
    file.parent.rename(moved)
    with pytest.raises(InputError, match=r"moved/metrics.json: its configuration names no method"):
        read_runs([moved])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "split"}),
        lambda text: json.dumps({**json.loads(text), "part_miou": None}),
        lambda text: json.dumps({**json.loads(text), "part_miou": float("nan")}),
        lambda text: json.dumps({**json.loads(text), "seed": float("inf")}),
        lambda text: json.dumps({**json.loads(text), "shape_miou": 101.0}),
    ],
)
def test_corrupt_file_is_named(damage, write_run, tmp_path):
    write_run("scratch", 0, 10.0)
    file = write_run("scratch", 1, 10.0)
    file.write_text(damage(file.read_text()))
    with pytest.raises(InputError, match="evaluate that run again") as error:
        read_runs([tmp_path / "results"])
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nowhere is no folder"):
        read_runs([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"evaluation__protocol": "partnet"}, "evaluation.protocol"),
        ({"evaluation__points": 0}, "evaluation.points"),
        ({"training__finetune__v": 2}, "training.finetune.v"),
        ({"test_ids": ["1", "3"]}, "different test shapes"),
    ],
)
@pytest.mark.parametrize("method", ["mvdecor", "scratch"])
def test_a_column_measures_one_thing(method, other, word, write_run, tmp_path):
    """Within a cell, and between the methods that a column compares."""
    files = [write_run("mvdecor", 0, 10.0), write_run(method, 1, 10.0, **other)]
    with pytest.raises(InputError, match=word) as error:
        check_cells(read_runs([tmp_path / "results"]))
    assert all(str(file) in str(error.value) for file in files)
    files[1].unlink()
    write_run(method, 1, 10.0, "Another column", **other)
    check_cells(read_runs([tmp_path / "results"]))


def test_a_cell_trains_one_way_and_its_methods_may_differ(write_run, tmp_path):
    write_run("mvdecor", 0, 10.0)
    write_run("densecl", 0, 10.0, training__pretrain__steps=20)
    write_run("scratch", 0, 10.0, training__pretrain__steps=30)
    write_run("scratch", 1, 10.0, training__pretrain__steps=40)  # which it does not use
    check_cells(read_runs([tmp_path / "results"]))
    write_run("mvdecor", 1, 10.0, training__pretrain__steps=20)
    with pytest.raises(InputError, match=r"both mvdecor in column 'Bottle', but differ in training.pretrain"):
        check_cells(read_runs([tmp_path / "results"]))


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"training__finetune__learning_rate": 0.1}, r"differ in training\.finetune\.learning_rate: not set and 0\.1"),
        ({"views__depth": "metric"}, r"differ in views\.depth"),
        ({"precision": "bf16-mixed"}, r"differ in precision"),
        ({"anything__new": 1}, r"differ in anything\.new"),
    ],
)
def test_runs_of_a_cell_agree_in_every_setting_that_may_change_a_result(other, word, write_run, tmp_path):
    write_run("mvdecor", 0, 10.0)
    write_run("mvdecor", 1, 10.0, out="elsewhere", data__root="elsewhere", workers=3, device="cpu")
    check_cells(read_runs([tmp_path / "results"]))
    write_run("mvdecor", 2, 10.0, **other)
    with pytest.raises(InputError, match=word):
        check_cells(read_runs([tmp_path / "results"]))


def test_a_cell_compares_what_its_models_were_trained_with(write_run, tmp_path):
    """Seed and precision of the evaluation are not those of the training."""
    for run, trained in enumerate(({"seed": 5, "precision": "32-true"}, {"seed": 6, "precision": "bf16-mixed"})):
        file = write_run("mvdecor", 0, 10.0, where=str(run))
        file.write_text(json.dumps({**json.loads(file.read_text()), "trained_with": trained}))
    runs = read_runs([tmp_path / "results"])
    assert [run.seed for run in runs] == [5, 6]
    with pytest.raises(InputError, match=r"differ in trained with precision: 32-true and bf16-mixed"):
        check_cells(runs)


@pytest.mark.parametrize(("method", "pretrained"), [("mvdecor", False), ("scratch", True)])
def test_a_method_names_what_was_done(method, pretrained, write_run, tmp_path):
    file = write_run(method, 0, 10.0)
    for says in (not pretrained, pretrained):
        file.write_text(json.dumps({**json.loads(file.read_text()), "pretrained": says}))
        if says is not pretrained:
            check_cells(read_runs([tmp_path / "results"]))
    with pytest.raises(InputError, match=r"metrics\.json: its method is .*fine-tune it again"):
        check_cells(read_runs([tmp_path / "results"]))


def test_the_same_run_twice(write_run, tmp_path):
    files = [write_run("scratch", 0, 10.0, where=where) for where in ("a", "b")]
    with pytest.raises(InputError, match="are the same run") as error:
        check_cells(read_runs([tmp_path / "results"]))
    assert all(str(file) in str(error.value) for file in files)
    write_run("scratch", 0, 10.0, where="b", seed=1)
    check_cells(read_runs([tmp_path / "results"]))


def test_equal_sums_of_seed_and_run_are_one_run_of_the_older_rule(write_run, tmp_path):
    """Seed 0, run 1 and seed 1, run 0 had the same labelled shapes and initial weights; since results have a key, not."""
    files = [write_run("scratch", 1, 10.0, where="a", seed=0), write_run("scratch", 0, 10.0, where="b", seed=1)]
    with pytest.raises(InputError, match=r"seed 0, run 1 and seed 1, run 0 .*sum of seed and run") as error:
        check_cells(read_runs([tmp_path / "results"]))
    assert all(str(file) in str(error.value) for file in files)
    files[1].write_text(json.dumps({**json.loads(files[1].read_text()), "key": {"settings": {}, "content": {}}}))
    check_cells(read_runs([tmp_path / "results"]))


def test_runs_of_a_pipeline_keep_their_place_and_their_labels_are_checked(write_run, tmp_path):
    folder = write_run("scratch", 0, 10.0).parent
    run = read_run(folder, "pretrained")
    assert (run.method, run.folder, run.file) == ("pretrained", folder, folder / "metrics.json")
    triangle = Shape.from_trimesh(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]), "1")
    with pytest.raises(InputError, match=r"1\.npy: predicted labels cannot be read"):
        run.predicted_labels(triangle)
    (folder / "labels").mkdir()
    np.save(folder / "labels" / "1.npy", np.zeros(2, np.int16))
    with pytest.raises(InputError, match="another state of shape 1"):
        run.predicted_labels(triangle)
