"""The doctor finds what was broken on purpose, and nothing else."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
import torch

from mvdecor.apps import doctor
from mvdecor.apps.doctor import TRIANGLE, examine_installation, run_doctor
from mvdecor.apps.doctor_data import examine_data, shared_meshes
from mvdecor.errors import InputError
from mvdecor.shapes import PartNet, Shape
from mvdecor.shapes.shape import Texture
from mvdecor.systems.mvdecor.setup import make_shape_set
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
        "same: in the test list, and its mesh is that of two in the train list",
    ]
    assert report.notes == [
        "the same mesh: same, two",
        "odd: all its faces are undetermined",
        "label c: in test shapes only, it cannot be learnt",
        "30.0 % of the faces are undetermined, and on average 26.7 % of a shape's area",
    ]
    assert [(r["train shapes"], r["test shapes"]) for r in report.labels] == [(2, 2), (1, 1), (0, 1)]
    assert [round(r["% of faces"]) for r in report.labels] == [40, 20, 10]


def soup(
    *areas: float, labels: list[int] | None = None, centre: float = 0.0, textured: bool = False, axis: int = 1
) -> Shape:
    """Right triangles of these areas, each at a place of its own, within a tall box."""
    corners, faces = [], []
    for number, area in enumerate(areas):
        side = (2 * area) ** 0.5
        corner = torch.tensor([centre, 0.0, 0.0])
        corner[axis] += 2.0 * number / max(1, len(areas) - 1)
        steps = torch.tensor([[0.0, 0, 0], [side, 0, 0], [0, side, 0]])
        corners.append(corner + steps)
        faces.append([3 * number, 3 * number + 1, 3 * number + 2])
    texture = Texture(torch.zeros(len(areas), 3, 2), (torch.zeros(1, 1, 3).byte(),), torch.zeros(len(areas)).long())
    return Shape(
        "soup",
        torch.cat(corners),
        torch.tensor(faces),
        None if labels is None else torch.tensor(labels),
        Made.label_names,
        texture if textured else None,
    )


def remarks(shape: Shape, others: int = 0, **like) -> list[str]:
    """What is suspicious of a shape in a set with others, each a mesh of its own."""
    shapes = {f"other {i}": soup(0.1 + i / 100, 0.1, 0.1, labels=[0, 1, 2], **like) for i in range(others)}
    report = examine_data(Made([], [], {"this": shape, **shapes}))
    (own,) = (one for one in report.shapes if one.id == "this")
    assert not any(one.suspicious for one in report.shapes if one.id != "this")
    return own.suspicious


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (soup(0.1, 0.1, 0.1, labels=[0, 1, 2]), []),
        (soup(0.1, 0.1, 0.1), []),
        (soup(0.1, 0.1, labels=[1, 1]), ["all its labelled faces are b"]),
        (soup(0.1, 0.3, 0.1, labels=[0, -1, 1]), ["33.3 % of its faces, 60.0 % of its area are undetermined"]),
        (soup(0.1, 0.0, 0.1, labels=[0, 1, 2]), ["33 % of its faces have no area: degenerate"]),
        (soup(1e-3, 1e-3, labels=[0, 1]), ["it has hardly any surface for its size"]),
        (soup(0.02, *[1e-6] * 8, labels=[0] * 8 + [1]), ["99 % of its area is within 0.08 of the radius"]),
    ],
)
def test_suspicious_shapes(shape, said):
    found = remarks(shape)
    assert len(found) == len(said) and all(a.startswith(b) for a, b in zip(found, said, strict=True)), found


def test_faces_on_faces_of_another_part_are_suspicious():
    assert remarks(labelled(1, 0, 0)) == ["all its labelled faces are a"]
    assert remarks(labelled(1, 0, 1, -1)) == [
        "33.3 % of its faces, 33.3 % of its area are undetermined",
        "1 faces lie exactly on one of another part: views show one of the two",
    ]
    report = examine_data(Made([], [], {"this": labelled(1, 0, 1)}))
    assert report.shapes[0].twins == 1.0


def test_shapes_unlike_most_of_their_set():
    good = {"labels": [0, 1, 2]}
    assert remarks(soup(0.1, 0.1, 0.1, **good), 6) == []
    assert remarks(soup(0.1, 0.1, 0.1, **good), 6, textured=True) == ["it has no texture, 6 of 7 shapes have one"]
    lying = remarks(soup(0.1, 0.1, 0.1, axis=2, **good), 6)
    assert lying == ["its longest side is along z, that of 6 of 7 shapes along y: is y up?"]
    assert remarks(soup(0.1, 0.1, 0.1, axis=2, **good), 3) == [], "of four shapes nothing is usual"
    report = examine_data(Made([], [], {str(i): soup(0.1 + i / 50, 0.1, axis=2, labels=[0, 1]) for i in range(5)}))
    assert any(note.startswith("5 of 5 shapes are longest along z") for note in report.notes)


def test_what_readers_warn_of_is_told_of_each_shape():
    class Warning(Made):
        def load(self, id):
            for _ in range(2):
                warnings.warn(f"{id}.glb: morph targets are left out", stacklevel=1)
            return super().load(id)

    shapes = {"a": soup(0.1, 0.2, labels=[0, 1]), "b": soup(0.2, 0.1, labels=[0, 1])}
    report = examine_data(Warning(["a"], ["b"], shapes))
    assert [one.reader_warnings for one in report.shapes] == [[f"{id}.glb: morph targets are left out"] for id in "ab"]
    assert [one.lists for one in report.shapes] == [["train"], ["test"]]
    assert [one.row()["remarks"] for one in report.shapes] == [1, 1]


def test_numbers_of_a_shape():
    shape = replace(soup(0.1, 0.3, 0.1, 0.0, labels=[0, -1, 1, -1]), vertices=soup(0.1, 0.3, 0.1, 0.0).vertices)
    (one,) = examine_data(Made([], [], {"this": shape}), coverage=lambda _: 0.5).shapes
    assert (one.faces, one.parts, one.textured, one.coverage, one.twins) == (4, 2, False, 0.5, 0.0)
    assert one.undetermined == {"faces": 50.0, "area": pytest.approx(60.0)}


def test_meshes_of_two_roots_are_compared():
    trained = examine_data(Made(["a"], ["b"], {"a": labelled(1, 0, 1), "b": labelled(2, 0, 1)}))
    tested = examine_data(Made([], ["a", "x"], {"a": labelled(3, 0, 1), "x": labelled(1, 1, 0)}))
    assert shared_meshes(trained, tested) == ["x: in the test list, and its mesh is that of a in the train list"]


def test_parts_that_occur_in_no_test_shape_are_named():
    shapes = {"a": soup(0.1, 0.2, labels=[0, 1]), "b": soup(0.2, 0.1, labels=[0, 0])}
    notes = examine_data(Made(["a"], ["b"], shapes)).notes
    assert "1 of 3 parts occur in the test shapes; evaluation.protocol=mvdecor counts the others 0: b, c" in notes


def test_paths_that_a_list_does_not_name_are_told_by_shape_and_share(partnet_root):
    data = PartNet(partnet_root, "Bottle", "leaf", splits="splits_local.json")
    report = examine_data(data)
    (pot,) = (row for row in report.paths if row["path"] == "pot/body/lid")
    assert (pot["matched"], pot["with"], pot["label"], pot["shapes"], pot["most in"]) == (
        "unknown",
        None,
        None,
        3,
        "4514",
    )
    assert pot["faces %"] == pytest.approx(39.8, abs=0.05) and pot["area %"] == pytest.approx(15.8, abs=0.05)
    (mug,) = (one for one in report.shapes if one.id == "8736")
    assert len(mug.reader_warnings) == 1 and "mug/handle (unknown), 5 % of the faces" in mug.reader_warnings[0]


def test_all_is_written_as_json(make_config, made_up_people, tmp_path, capsys):
    overrides = ("data=renderpeople", f"data.root={made_up_people}")
    small = (
        "views.count=4",
        "views.size=32",
        "doctor.coverage=true",
        "doctor.rows=2",
        f"doctor.json={tmp_path / 'd.json'}",
    )
    run_doctor(make_config(*overrides, *small, name="doctor"), overrides)
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "d.json").read_text())
    assert content["in_order"] and {row["what"] for row in content["installation"]} >= {"python", "Embree"}
    report = content["data"][str(made_up_people)]
    assert len(report["shapes"]) == 8 and all(one["textured"] for one in report["shapes"])
    assert all(0.2 < one["coverage"] < 1 for one in report["shapes"])
    assert "and 6 shapes more: doctor.rows=N" in printed and "area seen %" in printed


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
