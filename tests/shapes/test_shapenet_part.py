"""ShapeNetPart in its format on disk: points come back as the faces' labels, whatever their frame was."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes import PartNet, Shape, ShapeNetPart
from mvdecor.shapes.point_labels import carry_to_faces, surface_points
from mvdecor.shapes.shapenet_part import PARTS
from tests.shapenet_files import (
    CATEGORIES,
    MESHES,
    SYNSETS,
    sampled,
    turned,
    write_lists,
    write_mesh,
    write_points,
    write_shape,
)

CHAIR = SYNSETS["Chair"]
BOXES = [  # label, size, centre; apart from each other, and the same from no two sides
    (0, (0.1, 0.9, 0.8), (-0.5, 0.9, 0.0)),
    (1, (0.9, 0.1, 0.8), (0.1, 0.2, 0.0)),
    (2, (0.1, 0.7, 0.1), (0.4, -0.4, 0.3)),
    (2, (0.1, 0.7, 0.1), (-0.3, -0.4, -0.3)),
    (3, (0.6, 0.1, 0.1), (0.2, 0.6, 0.45)),
]


def chair(id: str = "a1", divisions: int = 0, further: tuple = ()) -> Shape:
    """Boxes of 12 faces each, or of more after some divisions of every face into four."""
    boxes, labels = [], []
    for label, size, center in (*BOXES, *further):
        box = trimesh.creation.box(size)
        for _ in range(divisions):
            box = box.subdivide()
        box.apply_translation(center)
        boxes.append(box)
        labels += [label] * len(box.faces)
    mesh = trimesh.util.concatenate(boxes)
    names = PARTS["Chair"][1]
    return Shape.from_trimesh(mesh, id, face_labels=torch.tensor(labels), label_names=names)


@pytest.fixture
def folders(tmp_path):
    """Four chairs and a mug that is no mug; chair a3 is of version 1, chair a4 is in no list."""
    root, meshes = tmp_path / "parts", tmp_path / "meshes"
    for number in (1, 2, 3, 4):
        write_shape(root, meshes, chair(f"a{number}"), "Chair", version=1 if number == 3 else 2)
    mug = chair("b1")
    mug = Shape("b1", mug.vertices, mug.faces, mug.face_labels.clamp(max=1), PARTS["Mug"][1])
    write_shape(root, meshes, mug, "Mug")
    write_lists(root, train=[f"{CHAIR}/a2", f"{SYNSETS['Mug']}/b1", f"{CHAIR}/a1"], test=[f"{CHAIR}/a3"])
    return root, meshes


# --- labels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divisions", [0, 3])
@pytest.mark.parametrize(("version", "quarters"), [(1, None), (2, None), (1, 2), (2, 3), (2, 0)])
def test_the_labelling_comes_back(divisions, version, quarters, tmp_path):
    shape = chair(divisions=divisions)
    write_shape(tmp_path / "parts", tmp_path / "meshes", shape, "Chair", version, quarters)
    write_lists(tmp_path / "parts")
    read = ShapeNetPart(tmp_path / "parts", "Chair", tmp_path / "meshes").load("a1")
    assert torch.equal(read.face_labels, shape.face_labels)
    assert torch.equal(read.faces, shape.faces) and torch.allclose(
        read.vertices, shape.normalized().vertices, atol=1e-6
    )
    assert (read.id, read.category, read.label_names) == ("a1", "Chair", ("back", "seat", "leg", "arm"))
    assert read.texture is None


def test_faces_without_area_take_the_label_of_their_place(tmp_path):
    """Of which CAD files have many."""
    shape = chair()
    flat = torch.stack([shape.faces[:, 0], shape.faces[:, 1], shape.faces[:, 1]], dim=1)
    labels = shape.face_labels.repeat(2)
    shape = replace(shape, faces=torch.cat([shape.faces, flat]), face_labels=labels)
    write_shape(tmp_path / "parts", tmp_path / "meshes", shape, "Chair")
    write_lists(tmp_path / "parts")
    data = ShapeNetPart(tmp_path / "parts", "Chair", tmp_path / "meshes")
    assert torch.equal(data.load("a1").face_labels, labels)
    write_mesh(tmp_path / "meshes" / CHAIR / "a1" / MESHES[2], replace(shape, faces=flat, face_labels=None))
    with pytest.raises(InputError, match=r"a1\.txt and .* no face has an area"):
        data.load("a1")


def test_labels_of_all_categories_are_numbered_one_after_the_other():
    numbers = [first + i for first, names in PARTS.values() for i in range(len(names))]
    assert numbers == list(range(50)) and len(PARTS) == 16


def test_a_shape_alike_from_two_sides_is_taken_as_its_version_says(tmp_path):
    """A square top, of which one half is another part: only the version tells which half."""
    sides = [trimesh.creation.box((0.5, 0.2, 1)) for _ in range(2)]
    sides[0].apply_translation((-0.25, 0, 0))
    sides[1].apply_translation((0.25, 0, 0))
    labels = torch.arange(2).repeat_interleave(12)
    shape = Shape.from_trimesh(trimesh.util.concatenate(sides), "a1", face_labels=labels, label_names=("a", "b"))
    for version in (1, 2):
        folder = tmp_path / str(version)
        write_shape(folder, folder / "meshes", shape, "Chair", version)
        write_lists(folder)
        read = ShapeNetPart(folder, "Chair", folder / "meshes").load("a1")
        outer = read.face_centers[:, 0].abs() > 0.1  # both parts have the wall between them
        assert torch.equal(read.face_labels[outer], labels[outer])


def test_faces_that_no_point_is_near_stay_undetermined(folders):
    root, meshes = folders
    shape = chair("a1", further=((-1, (0.1, 0.1, 0.1), (0.25, 1.1, 0.0)),))  # a box without points
    write_shape(root, meshes, shape, "Chair")
    labels = ShapeNetPart(root, "Chair", meshes).load("a1").face_labels
    assert torch.equal(labels, shape.face_labels) and labels[-12:].tolist() == [-1] * 12


def test_nearly_all_of_a_made_up_chair_gets_its_labels_back(made_up_partnet, tmp_path):
    """Parts that touch, thin bars, and faces of all sizes, in clouds of the true size."""
    chairs = PartNet(made_up_partnet, "Chair", 1)
    write_lists(tmp_path)
    for id in chairs.ids("all")[:4]:
        shape = chairs.load(id)
        known = shape.face_labels >= 0
        shape = replace(shape, face_labels=torch.where(known, shape.face_labels % 4, -1))
        write_shape(tmp_path, tmp_path / "meshes", shape, "Chair")
        right = ShapeNetPart(tmp_path, "Chair", tmp_path / "meshes").load(id).face_labels == shape.face_labels
        assert float(shape.face_areas[known & right].sum() / shape.face_areas[known].sum()) > 0.97


# --- lists and files ------------------------------------------------------------------------------------------------------


def test_ids_are_those_of_the_official_lists(folders):
    (folders[0] / CHAIR / "._a1.txt").touch()  # as some systems write beside a file
    data = ShapeNetPart(folders[0], "Chair", folders[1])
    assert [data.ids(split) for split in ("train", "val", "test")] == [["a2", "a1"], [], ["a3"]]
    assert data.ids("all") == ["a1", "a2", "a3", "a4"]
    assert data.ids("unlabelled") == ["a1", "a2", "a4"]
    with pytest.raises(InputError, match="unknown split 'half'"):
        data.ids("half")


def test_all_categories_come_without_labels(folders):
    data = ShapeNetPart(folders[0], "all", folders[1])
    assert data.label_names == () and data.ids("train") == ["a2", "b1", "a1"]
    assert data.ids("unlabelled") == ["a1", "a2", "a4", "b1"]
    shape = data.load("b1")
    assert shape.face_labels is None and shape.category == "Mug"
    assert data.files("b1") == [folders[1] / SYNSETS["Mug"] / "b1" / MESHES[2]]


def test_lists_of_ones_own(folders):
    (folders[0] / "mine.json").write_text(json.dumps({"train": ["a4"], "test": ["a1", "a2"]}))
    data = ShapeNetPart(folders[0], "Chair", folders[1], splits="mine.json")
    assert (data.ids("train"), data.ids("test"), data.ids("unlabelled")) == (["a4"], ["a1", "a2"], ["a3", "a4"])
    with pytest.raises(InputError, match="have no 'val'"):
        data.ids("val")


def test_files_are_what_a_shape_is_read_from(folders):
    data = ShapeNetPart(folders[0], "Chair", folders[1])
    mesh = folders[1] / CHAIR / "a3" / "model.obj"
    assert data.files("a3") == [mesh, folders[0] / CHAIR / "a3.txt"] and data.files("a3", labels=False) == [mesh]
    mesh.unlink()
    assert data.files("a3") == data.files("none") == []


# --- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a1.txt: each line should be 'x y z nx ny nz label'"),
        ("0 0 0 0 0 1\n", "a1.txt: each line should be 'x y z nx ny nz label'"),
        ("0 0 0 0 0 1 12\n0 0 0 12\n", "a1.txt: each line should be 'x y z nx ny nz label'"),
        ("0 0 zero 0 0 1 12\n", "a1.txt: each line should be 'x y z nx ny nz label'"),
        ("0 0 nan 0 0 1 12\n", "a1.txt: each line should be .* finite numbers"),
        ("0 0 0 0 0 1 16\n", "a1.txt: 16 is no label of Chair, whose labels are 12 to 15"),
        ("0 0 0 0 0 1 12.5\n", "a1.txt: 12.5 is no label of Chair"),
        ("0 0 0 0 0 1 12\n", "a1.txt and .*model_normalized.obj: all points are in one place"),
    ],
)
def test_bad_points_are_named(content, message, folders):
    (folders[0] / CHAIR / "a1.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        ShapeNetPart(folders[0], "Chair", folders[1]).load("a1")


def test_points_of_another_mesh_are_refused(folders):
    points, labels = sampled(chair("a1"))
    squeezed = points * np.array([1, 0.5, 1])
    write_points(folders[0] / CHAIR / "a1.txt", squeezed, labels + 12)
    with pytest.raises(
        InputError, match=r"a1\.txt and .*: with their bounding boxes aligned only \d+ % of the points lie"
    ):
        ShapeNetPart(folders[0], "Chair", folders[1]).load("a1")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("synsetoffset2category.txt", None, "synsetoffset2category.txt: cannot be read"),
        ("synsetoffset2category.txt", "", "synsetoffset2category.txt: each line should be a category"),
        ("synsetoffset2category.txt", "Spoon\t1\n", "synsetoffset2category.txt: each line should be a category"),
        ("synsetoffset2category.txt", "Chair\t../x\n", "synsetoffset2category.txt: each line should be a category"),
        (
            "synsetoffset2category.txt",
            CATEGORIES[CATEGORIES.index("Mug") :],
            "unknown category 'Chair' .*: choose all or",
        ),
        ("train_test_split/shuffled_val_file_list.json", None, "shuffled_val_file_list.json: cannot be read"),
        ("train_test_split/shuffled_val_file_list.json", "{", "shuffled_val_file_list.json: not valid JSON"),
        ("train_test_split/shuffled_val_file_list.json", '{"a": 1}', "shuffled_val_file_list.json: must be a list"),
        ("train_test_split/shuffled_val_file_list.json", '["a1"]', "should be a list of 'shape_data/SYNSET/ID'"),
        (
            "train_test_split/shuffled_val_file_list.json",
            f'["shape_data/{CHAIR}/a3"]',
            f"train_test_split: shape_data/{CHAIR}/a3 is both in val and in test",
        ),
    ],
)
def test_bad_lists_are_named(file, content, message, folders):
    if content is None:
        (folders[0] / file).unlink()
    else:
        (folders[0] / file).write_text(content)
    with pytest.raises(InputError, match=message):
        ShapeNetPart(folders[0], "Chair", folders[1])


def test_missing_things_are_named(folders):
    root, meshes = folders
    data = ShapeNetPart(root, "Chair", meshes)
    with pytest.raises(InputError, match=r"zz\.txt: no such file, points of shape zz; download .*on_error=skip"):
        data.load("zz")
    with pytest.raises(InputError, match=r"'\.\./a1' is not a valid shape id"):
        data.load("../a1")
    (meshes / CHAIR / "a1" / MESHES[2]).unlink()
    with pytest.raises(InputError, match=r"a1: holds neither models/model_normalized.obj nor model.obj.*data\.meshes"):
        data.load("a1")
    with pytest.raises(InputError, match=r"nowhere: no such folder; set data\.meshes"):
        ShapeNetPart(root, "Chair", "nowhere")
    with pytest.raises(InputError, match="nowhere: no such folder; download"):
        ShapeNetPart("nowhere", "Chair", meshes)
    with pytest.raises(InputError, match=r"unknown category 'Spoon' in .*: choose all or one of Chair, Mug"):
        ShapeNetPart(root, "Spoon", meshes)
    with pytest.raises(InputError, match=r"other\.json: cannot be read"):
        ShapeNetPart(root, "Chair", meshes, splits="other.json")


def test_one_percent_is_that_of_the_training_lists_in_the_document(make_config):
    text = (Path(__file__).parents[2] / "data/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\b([A-Z][a-z]+) \| (\d+) \| (\d+)", text)
    assert {name for name, *_ in rows} == set(PARTS) and sum(int(shapes) for _, shapes, _ in rows) == 12137
    assert all(int(k) == max(1, round(int(shapes) / 100)) for _, shapes, k in rows)
    for name, _, k in rows:
        cfg = make_config("experiment=shapenet_part", f"data.category={name}")
        assert cfg.training.finetune.k == int(k) and cfg.out == f"outputs/shapenet_part_{name}_k{k}"


# --- points and faces -----------------------------------------------------------------------------------------------------


def triangles(count: int, seed: int) -> Shape:
    """Random triangles, of which one has no area."""
    corners = np.random.default_rng(seed).normal(size=(count, 3, 3))
    corners[0, 2] = corners[0, 1]
    vertices = torch.tensor(corners.reshape(-1, 3), dtype=torch.float32)
    return Shape("t", vertices, torch.arange(3 * count).reshape(-1, 3))


def test_points_of_a_surface_lie_on_their_faces_and_are_spread_by_area():
    shape = triangles(7, seed=1)
    points, faces = surface_points(shape, 1000)
    share = (shape.face_areas / shape.face_areas.sum()).numpy()
    assert np.bincount(faces).tolist() == [max(1, round(1000 * x)) for x in share.tolist()]
    first = np.searchsorted(faces, np.arange(7))
    assert np.allclose(points[first], shape.face_centers.numpy(), atol=1e-6)
    for face in range(1, 7):
        own, (a, b, c) = points[faces == face], shape.vertices.double().numpy()[shape.faces[face]]
        weights = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), (own - a).T, rcond=None)[0]
        assert weights.min() > -1e-6 and weights.sum(axis=0).max() < 1 + 1e-6
        assert np.allclose(weights @ np.ones(len(own)) / len(own), 1 / 3, atol=0.1)  # to all sides of the centre
        assert np.allclose(np.stack([b - a, c - a], axis=1) @ weights, (own - a).T, atol=1e-6)


@pytest.mark.parametrize("reach", [np.inf, 0.5])
def test_faces_take_the_label_of_most_of_their_nearest_points(reach):
    """Against loops over all pairs of points."""
    shape = triangles(40, seed=2)
    rng = np.random.default_rng(3)
    points, labels = rng.normal(size=(80, 3)), rng.integers(-1, 4, size=80)
    diagonal = np.linalg.norm(np.ptp(shape.vertices.double().numpy(), axis=0))
    expected = [[0] * 5 for _ in range(40)]
    for place, face in zip(*surface_points(shape), strict=True):
        distances = np.sqrt(((points - place) ** 2).sum(axis=1))
        index = distances.argmin()
        if distances[index] <= reach:
            expected[face][labels[index]] += 1  # the last column is that of -1
    winners = [max(range(5), key=lambda label, votes=votes: (votes[label], -label)) for votes in expected]
    carried = carry_to_faces(shape, points, labels, 4, reach / diagonal)
    assert carried.tolist() == [
        -1 if winner == 4 or not any(votes) else winner for winner, votes in zip(winners, expected, strict=True)
    ]
    if reach < np.inf:
        assert any(not any(votes) for votes in expected)


def test_no_points_no_labels():
    with pytest.raises(InputError, match="shape t: the point cloud is empty"):
        carry_to_faces(triangles(3, seed=0), np.zeros((0, 3)), np.zeros(0, dtype=np.int64), 2)


def test_a_quarter_turn_is_that_of_the_readers():
    assert np.allclose(turned(np.array([[1.0, 2.0, 3.0]]), 1), [[3, 2, -1]])
