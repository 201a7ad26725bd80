"""The scripts as a user calls them: what they write, what they reuse, what they refuse."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from mvdecor.results.table import spread
from tests.calls import call, run, script
from tests.readers import ply_labels

SPEED = ("wall_seconds", "cpu_seconds", "peak_memory_gb")


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def overrides(tiny, made_up_people) -> list[str]:
    return [
        *("experiment=people_cpu", f"data.root={made_up_people}", "views.close_ups=0"),
        *(*tiny, "training.finetune.runs=2", "evaluation.limit=2"),
    ]


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory) -> tuple[Path, str]:
    """A pipeline run by its script: its `out` and what it printed."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / "cwd").mkdir()  # so that whatever is written beside `out` is noticed
    done = run(*script("pipeline", *overrides, f"out={folder / 'out'}"), cwd=folder / "cwd")
    assert done.returncode == 0, done.stderr
    assert list((folder / "cwd").iterdir()) == [], "everything a run writes is under out"
    return folder / "out", done.stdout


def test_table(finished):
    out, printed = finished
    table = json.loads((out / "table.json").read_text())
    assert [(row["method"], row["category"], row["runs"]) for row in table["rows"]] == [
        ("scratch", "people", 2),
        ("pretrained", "people", 2),
    ]
    for row in table["rows"]:
        assert set(row) == {"method", "category", "part_miou_mean", "part_miou_std", "runs"}
        measured = [json.loads((out / row["method"] / f"run_{i}" / "metrics.json").read_text()) for i in range(2)]
        values, metrics = [one["part_miou"] for one in measured], measured[0]
        assert row["part_miou_mean"] == pytest.approx(np.mean(values))
        assert row["part_miou_std"] == pytest.approx(np.std(values, ddof=1))
        assert spread(row["part_miou_mean"], row["part_miou_std"]) in printed
    assert f"{len(metrics['parts'])} parts occur in the test shapes" in printed
    assert str(out / "figures") in printed
    assert {path.name for path in (out / "figures").iterdir()} >= {"meshes.png", "matches.png", "channels.png"}


def test_metrics(finished, made_up_people):
    out, _ = finished
    split = json.loads((made_up_people / "split.json").read_text())
    metrics = json.loads((out / "pretrained" / "run_1" / "metrics.json").read_text())
    assert list(metrics["parts"]) == split["labels"]
    assert metrics["split"] == {"name": "test", "ids": split["test"][:2]}
    assert set(metrics["shapes"]) == set(split["test"][:2])
    assert set(metrics["trained_on"]) <= set(split["train"])
    assert 0 < metrics["coverage"] <= 100
    assert 0 <= metrics["part_miou"] <= metrics["ceiling"]["part_miou"] <= 100
    assert 0 <= metrics["shape_miou"] <= 100
    assert set(metrics["cost"]) == set(SPEED)
    assert metrics["seed"] == 0
    assert metrics["config"]["run"] == 1
    assert metrics["config"]["data"]["root"] == str(made_up_people)
    assert metrics["revision"]


def test_labels_and_meshes_fit_the_files(finished, made_up_people):
    """A label belongs to a face by its index in the user's own file."""
    out, _ = finished
    folder = out / "scratch" / "run_0"
    for path in (folder / "labels").glob("*.npy"):
        mesh = made_up_people / path.stem / f"{path.stem}.obj"
        faces = sum(line.startswith("f ") for line in mesh.read_text().splitlines())
        assert np.load(path).shape == (faces,)
        labels, names = ply_labels(folder / "meshes" / f"{path.stem}.ply")
        np.testing.assert_array_equal(labels, np.load(path))
        assert list(names) == json.loads((made_up_people / "split.json").read_text())["labels"]
    assert len(list((folder / "labels").glob("*.npy"))) == 2


def test_same_command_reuses_everything(finished, overrides):
    out, _ = finished
    before, table = contents(out), json.loads((out / "table.json").read_text())
    done = call("pipeline", *overrides, f"out={out}", cwd=out.parent / "cwd")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not run again") == 1 + 2 * 2 * 2
    again = json.loads((out / "table.json").read_text())
    assert {key: again[key] for key in ("rows", "runs", "ceiling", "cost", "config")} == {
        key: table[key] for key in ("rows", "runs", "ceiling", "cost", "config")
    }
    changed = {name for name, digest in contents(out).items() if before.get(name) != digest}
    assert changed <= {"table.json"}, "only the table may be written again"
    assert before.keys() == contents(out).keys()


def test_other_settings_are_refused(finished, overrides):
    out, _ = finished
    before = contents(out)
    done = call("pipeline", *overrides, "training.finetune.k=2", f"out={out}", cwd=out.parent / "cwd")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "finetune.json holds a result made with other settings" in done.stderr
    assert "(training.finetune.k=1 there, 2 here): choose another out=" in done.stderr
    assert contents(out) == before


def test_single_stages(finished, overrides, tmp_path):
    """pretrain, finetune and evaluate by hand give the pipeline's own numbers."""
    out, _ = finished
    steps = [
        ("pretrain", f"out={tmp_path / 'pretrain'}"),
        ("finetune", f"out={tmp_path / 'tuned'}", f"checkpoint={tmp_path / 'pretrain' / 'model'}"),
        ("evaluate", f"out={tmp_path / 'tuned'}", f"checkpoint={tmp_path / 'tuned' / 'model'}"),
    ]
    for name, *own in steps:
        done = call(name, *overrides, *own, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    mine = json.loads((tmp_path / "tuned" / "metrics.json").read_text())
    theirs = json.loads((out / "pretrained" / "run_0" / "metrics.json").read_text())
    assert mine["parts"] == theirs["parts"]
    assert mine["trained_on"] == theirs["trained_on"]
    weights = "model/model.safetensors"
    assert contents(tmp_path / "tuned")[weights] == contents(out / "pretrained" / "run_0")[weights]
