"""What labelling leaves in a folder: the files that `MeshFolder` reads, and nothing else touched."""

import json
import os

import numpy as np
import pytest
import trimesh

from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder
from mvdecor.shapes.label_files import write_labels

NAMES = ["foot", "pole", "shade"]


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        trimesh.creation.icosphere(1).export(tmp_path / f"{name}.ply")
    return tmp_path


def some_labels(first: int = 0) -> np.ndarray:
    labels = np.full(80, -1)
    labels[:10] = first
    return labels


def test_what_is_written_is_what_the_data_set_reads(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    labels = LabelFolder(folder, NAMES)
    assert labels.read("a", 80).tolist() == [-1] * 80
    labels.write("a", some_labels(2))
    labels.write("c", some_labels(1))
    data = MeshFolder(folder)
    assert data.label_names == tuple(NAMES)
    assert data.ids("train") == ["a", "c"]
    assert data.load("a").face_labels.tolist() == some_labels(2).tolist()
    assert data.load("b").face_labels is None
    assert LabelFolder(folder).labelled(data.ids("all")) == ["a", "c"]
    assert LabelFolder(folder).read("a", 80).tolist() == some_labels(2).tolist()
    files = {p.name for p in folder.iterdir()}
    assert files - set(before) == {"a_labels.npy", "c_labels.npy", "labels.json", "split.json"}
    assert all((folder / name).read_bytes() == content for name, content in before.items()), "meshes are never written"


def test_split_keeps_what_it_says_and_follows_the_labels(folder):
    written = {"labels": NAMES, "train": ["b"], "test": ["a"], "note": "mine"}
    (folder / "split.json").write_text(json.dumps(written))
    labels = LabelFolder(folder)
    labels.write("a", some_labels())
    assert json.loads((folder / "split.json").read_text()) == written, "a test shape stays one"
    assert labels.held_out() == {"a"}
    labels.write("c", some_labels())
    assert json.loads((folder / "split.json").read_text()) == {**written, "train": ["b", "c"]}
    labels.write("c", np.full(80, -1))
    assert json.loads((folder / "split.json").read_text()) == written
    assert labels.labelled(["a", "b", "c"]) == ["a"]
    assert not (folder / "labels.json").exists(), "the names are in split.json already"


def test_palette_may_grow_but_not_change(folder):
    LabelFolder(folder, NAMES).write("a", some_labels())
    longer = LabelFolder(folder, [*NAMES, "bulb"])
    assert MeshFolder(folder).label_names == tuple(NAMES), "nothing is written before a label is"
    longer.write("a", some_labels(3))
    assert MeshFolder(folder).label_names == (*NAMES, "bulb")
    for names in (["pole", "foot", "shade"], ["foot"]):
        with pytest.raises(InputError, match="begin with these"):
            LabelFolder(folder, names)


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", " "], [str(i) for i in range(256)]])
def test_bad_palettes(folder, names):
    with pytest.raises(InputError, match="different names"):
        LabelFolder(folder, names)


@pytest.mark.parametrize("name", ["(erase)", " (no label)"])
def test_no_label_is_called_as_none_is(folder, name):
    with pytest.raises(InputError, match="means no label"):
        LabelFolder(folder, ["a", name])


def test_no_names_at_all(folder):
    with pytest.raises(InputError, match=r"labels=\[foot,pole,shade\]"):
        LabelFolder(folder)


def test_bad_files_and_labels(folder):
    labels = LabelFolder(folder, NAMES)
    with pytest.raises(InputError, match="3 names"):
        labels.write("a", np.full(80, 3))
    np.save(folder / "a_labels.npy", np.zeros(79, int))
    with pytest.raises(InputError, match=r"a_labels\.npy: 79 labels for a mesh of 80 faces"):
        labels.read("a", 80)
    (folder / "b_labels.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"b_labels\.npy: not a readable"):
        labels.labelled(["b"])
    with pytest.raises(InputError, match="not a valid shape id"):
        labels.path("../a")


def test_read_only_folder(folder, monkeypatch):
    labels = LabelFolder(folder, NAMES)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(InputError, match="cannot be written to"):
        labels.write("a", some_labels())
    assert not (folder / "labels.json").exists()


@pytest.mark.parametrize("name", ["a_labels.txt", "a.seg", "a_labels.json"])
def test_labels_in_another_format_stay_in_it(folder, name):
    write_labels(folder / name, some_labels(1), tuple(NAMES))
    labels = LabelFolder(folder, NAMES)
    assert labels.read("a", 80).tolist() == some_labels(1).tolist()
    assert labels.labelled(["a", "b"]) == ["a"]
    labels.write("a", some_labels(2))
    assert [path.name for path in folder.glob("a[._]*") if path.suffix != ".ply"] == [name]
    assert MeshFolder(folder).load("a").face_labels.tolist() == some_labels(2).tolist()
    np.save(folder / "a_labels.npy", some_labels(0))
    with pytest.raises(InputError, match=r"a_labels\.npy and .* both hold labels of a"):
        LabelFolder(folder).read("a", 80)
