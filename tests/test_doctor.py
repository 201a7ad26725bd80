"""The doctor finds what was broken on purpose, and nothing else."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from mvdecor import doctor
from mvdecor.doctor import TRIANGLE, examine_data, examine_installation, run_doctor
from mvdecor.errors import InputError
from mvdecor.training.setup import make_shape_set
from tests.calls import call_module


class Made:
    """A data set in memory."""

    label_names = ("a", "b", "c")

    def __init__(self, train, test, shapes) -> None:
        self.lists, self.shapes = {"train": train, "val": [], "test": test, "all": sorted(shapes)}, shapes

    def ids(self, split: str) -> list[str]:
        return self.lists[split]

    def load(self, id: str):
        if id not in self.shapes:
            raise InputError(f"shape {id} is not there")
        return self.shapes[id]


def labelled(size: float, *labels: int):
    faces = TRIANGLE.faces.repeat(len(labels), 1)
    return replace(
        TRIANGLE,
        vertices=TRIANGLE.vertices * size,
        faces=faces,
        face_labels=torch.tensor(labels),
        label_names=Made.label_names,
    )


def test_this_installation_is_in_order():
    findings = {f.what: f for f in examine_installation()}
    assert not [f for f in findings.values() if f.ok is False]
    assert findings["Embree"].says == findings["PyTorch3D"].says
    seen = findings["Embree"].says.removeprefix("a triangle covers ").split()[0]
    assert findings["matching"].says == f"two views match themselves at all {seen} pixels"
    assert findings["CUDA"].ok is (True if torch.cuda.is_available() else None)


def test_a_broken_library_is_named(monkeypatch):
    def broken(*_):
        raise OSError("libtbb.so: undefined symbol")

    monkeypatch.setattr(doctor, "make_rasterizer", broken)
    bad = {f.what: f.says for f in examine_installation() if f.ok is False}
    assert bad.keys() >= {"Embree", "PyTorch3D"} and "libtbb.so: undefined symbol" in bad["Embree"]


def test_every_fault_of_a_data_set_is_found():
    shapes = {
        "one": labelled(1, 0, 0, -1),
        "two": labelled(2, 0, 1),
        "same": labelled(2, 0, 1),
        "odd": labelled(3, -1, -1),
        "bare": replace(TRIANGLE, vertices=4 * TRIANGLE.vertices),
        "rare": labelled(5, 2),
    }
    report = examine_data(Made(["one", "two", "two", "odd", "bare", "gone"], ["same", "one", "rare"], shapes))
    assert report.splits == {"train": 6, "val": 0, "test": 3, "all": 6}
    assert report.problems == [
        "two: 2 times in the train list",
        "one: in the train and in the test list",
        "bare: in the train list, and without labels",
        "gone: shape gone is not there",
    ]
    assert report.notes == [
        "odd: all its faces are undetermined",
        "the same mesh: same, two",
        "label c: in test shapes only, it cannot be learnt",
        "30.0 % of the faces are undetermined",
    ]
    assert [(r["train shapes"], r["test shapes"]) for r in report.labels] == [(2, 2), (1, 1), (0, 1)]
    assert [round(r["% of faces"]) for r in report.labels] == [40, 20, 10]


def test_a_whole_data_set_has_no_problem(make_config, made_up_partnet, capsys):
    overrides = ("data=generated", f"data.root={made_up_partnet}", "data.category=Chair")
    run_doctor(make_config(*overrides), overrides)
    assert capsys.readouterr().out.endswith("all in order\n")


def test_real_data(make_config, partnet_root):
    cfg = make_config(
        "data=partnet",
        f"data.root={partnet_root}",
        "data.category=Bottle",
        "data.level=leaf",
        "data.splits=splits_local.json",
    )
    report = examine_data(make_shape_set(cfg.data.labelled))
    assert any(line.startswith("3380: ") for line in report.problems), "its part file is missing"


def test_exit_code_for_scripts(made_up_people, tmp_path):
    root = tmp_path / "people"
    shutil.copytree(made_up_people, root)
    split = json.loads((root / "split.json").read_text())
    first = sorted(split["train"])[0]
    next(root.rglob(f"{first}*.obj")).unlink()
    result = call_module("mvdecor.doctor", "data=renderpeople", f"data.root={root}", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert f"problem: {first}: " in result.stdout and "not in order: 1 problems in" in result.stdout
    with pytest.raises(StopIteration):
        next(tmp_path.glob("outputs*"))
