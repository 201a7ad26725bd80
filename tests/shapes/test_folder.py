import json

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes.folder import MeshFolder
from mvdecor.shapes.loading import load_shapes


@pytest.fixture
def meshes(tmp_path):
    trimesh.creation.box().export(tmp_path / "box.glb")
    trimesh.creation.icosphere(1).export(tmp_path / "ball.ply")
    trimesh.creation.cylinder(1, 2).export(tmp_path / "can.stl")
    (tmp_path / "notes.txt").write_text("not a mesh")
    return tmp_path


def add_labels(root):
    (root / "labels.json").write_text('{"labels": ["low", "high"]}')
    np.save(root / "box_labels.npy", np.arange(12) % 3 - 1)


def test_meshes_without_labels(meshes):
    data = MeshFolder(meshes)
    assert data.ids("unlabelled") == ["ball", "box", "can"]
    shapes, _ = load_shapes(data, data.ids("unlabelled"))
    assert [shape.num_faces for shape in shapes][:2] == [80, 12]
    for shape in shapes:
        assert shape.vertices.norm(dim=1).max().item() == pytest.approx(1, abs=1e-6)
        assert shape.face_labels is None
    for split in ("train", "val", "test"):
        with pytest.raises(InputError, match=r"split\.json: no such file, so there is no list .*; write this file"):
            data.ids(split)


def test_labels_and_splits(meshes):
    add_labels(meshes)
    (meshes / "split.json").write_text(json.dumps({"train": ["box"], "test": ["can"]}))
    data = MeshFolder(meshes)
    assert data.label_names == ("low", "high")
    assert data.load("box").face_labels.tolist() == [-1, 0, 1] * 4
    assert data.load("ball").face_labels is None
    assert (data.ids("train"), data.ids("test"), data.ids("unlabelled")) == (["box"], ["can"], ["ball", "box"])
    assert data.ids("all") == ["ball", "box", "can"]


def test_names_and_splits_may_lie_elsewhere(meshes, tmp_path_factory):
    add_labels(meshes)
    (meshes / "labels.json").rename(meshes / "names.json")
    split = tmp_path_factory.mktemp("other") / "mine.json"
    split.write_text('{"train": ["ball"]}')
    data = MeshFolder(meshes, labels="names.json", splits=split)
    assert data.label_names == ("low", "high")
    assert data.ids("train") == ["ball"]
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        MeshFolder(meshes, labels="gone.json")


def test_bad_input_is_named(meshes):
    np.save(meshes / "box_labels.npy", np.zeros(12, dtype=np.int64))
    with pytest.raises(InputError, match=r"box_labels\.npy: its labels have no names; write .*labels\.json"):
        MeshFolder(meshes).load("box")
    add_labels(meshes)
    np.save(meshes / "box_labels.npy", np.zeros(11, dtype=np.int64))
    with pytest.raises(InputError, match=r"box_labels\.npy: 11 labels for a mesh of 12 faces"):
        MeshFolder(meshes).load("box")
    (meshes / "box.seg").write_text("0\n")
    with pytest.raises(InputError, match=r"box_labels\.npy and box\.seg both hold labels of box: keep one"):
        MeshFolder(meshes).load("box")
    (meshes / "box.seg").unlink()
    with pytest.raises(InputError, match="holds no mesh 'cone'"):
        MeshFolder(meshes).load("cone")
    (meshes / "can.stl").write_bytes(b"")
    with pytest.raises(InputError, match=r"can\.stl"):
        MeshFolder(meshes).load("can")
    (meshes / "ball.obj").write_text("")
    with pytest.raises(InputError, match=r"both ball\.obj and ball\.ply have the id ball"):
        MeshFolder(meshes)


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none: no such folder; set data\.root"):
        MeshFolder(tmp_path / "none")
    with pytest.raises(InputError, match="holds no mesh file"):
        MeshFolder(tmp_path)


def test_loading_is_deterministic(meshes):
    first, second = (MeshFolder(meshes).load("can") for _ in range(2))
    assert torch.equal(first.vertices, second.vertices)
    assert torch.equal(first.faces, second.faces)


def test_axis_that_points_up(meshes):
    mesh = trimesh.creation.icosphere(1)
    mesh.vertices *= [1.0, 0.5, 0.7]
    mesh.export(meshes / "ball.ply")
    mesh.vertices = mesh.vertices[:, [0, 2, 1]] * [1, -1, 1]
    mesh.export(meshes / "lying.ply")
    standing, lying = MeshFolder(meshes).load("ball"), MeshFolder(meshes, up="z").load("lying")
    assert torch.equal(standing.vertices, lying.vertices) and torch.equal(standing.faces, lying.faces)
    with pytest.raises(InputError, match=r"data\.up=w is unknown: choose the axis that points up"):
        MeshFolder(meshes, up="w")
