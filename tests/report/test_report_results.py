"""Reading a folder of results: what is there, what is damaged."""

import json
import shutil

import pytest

from mvdecor.errors import InputError
from mvdecor.results.pipeline import finetuning_curve, pretraining_curves, read_results


def test_a_pipeline(results):
    assert results.methods == ["scratch", "pretrained"]
    assert [(run.method, run.number) for run in results.runs] == [
        ("scratch", 0),
        ("pretrained", 0),
        ("scratch", 1),
        ("pretrained", 1),
    ]
    assert [run.number for run in results.of("pretrained")] == [0, 1]
    assert finetuning_curve(results.runs[0]) == [(1, 1.0), (50, 0.02), (100, 0.01)]


def test_curves_of_pretraining_are_those_logged(results):
    curves = pretraining_curves(results)
    assert curves["loss"]["training"] == [(step + 1, pytest.approx(3.0 - 0.2 * step)) for step in range(6)]
    assert curves["loss"]["validation"] == [(3, pytest.approx(2.5)), (6, pytest.approx(1.9))]
    assert list(curves) == ["loss", "retrieval_accuracy"]


def test_runs_without_csv_have_the_curves_of_the_json_files(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "pretrain" / "log")
    loss = pretraining_curves(read_results(tmp_path / "old"))["loss"]
    assert loss["training"] == [] and len(loss["validation"]) == 2


def test_a_single_run(run_folder):
    results = read_results(run_folder / "scratch" / "run_1")
    assert (len(results.runs), results.table, results.pretrained) == (1, None, None)
    assert results.runs[0].number == 1
    assert pretraining_curves(results) == {}


def test_evaluated_elsewhere(run_folder, tmp_path):
    shutil.copy(run_folder / "scratch" / "run_0" / "metrics.json", tmp_path)
    results = read_results(tmp_path)
    assert results.runs[0].finetuned is None and finetuning_curve(results.runs[0]) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"metrics.json: not valid JSON .*; evaluate that run again"),
        ("[]", r"metrics.json: not a whole result of this kind of run"),
        (json.dumps({"part_miou": 1.0}), r"not a whole result of this kind of run \(config, .* missing\)"),
    ],
)
def test_damaged_results_are_named(content, message, tmp_path):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)


def test_a_run_that_is_gone_is_named(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "scratch" / "run_1" / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"scratch/run_1/metrics.json: cannot be read .*; evaluate that run again"):
        read_results(tmp_path / "run")


def test_the_table_of_another_script_is_refused(tmp_path):
    (tmp_path / "table.json").write_text(json.dumps({"grid": [], "runs": [], "config": {}}))
    with pytest.raises(InputError, match=r"table.json: not a whole result of this kind of run \(rows missing\)"):
        read_results(tmp_path)
