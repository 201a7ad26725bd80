"""Point labels in the true format of sem_seg_h5, made here from part trees, and the real sampled points of PartNet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes.partnet import PartNet
from mvdecor.shapes.point_labels import MAX_RESIDUAL, area_agreement, transfer_labels
from mvdecor.shapes.shape import Shape

TURN = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]])
SPLITS = ("train", "val", "test")


def sample_points(shape, seed=0):
    """10 000 points by area with the labels of their faces, turned, scaled and shifted; float32, uint8."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(shape.face_areas.double(), 10_000, replacement=True, generator=generator)
    weights = -torch.rand(10_000, 3, generator=generator).log()
    weights = weights / weights.sum(dim=1, keepdim=True)  # uniform on a triangle
    points = (weights[:, :, None] * shape.vertices[shape.faces[drawn]]).sum(dim=1).numpy()
    return (0.4 * points @ TURN.T + [1, 2, 3]).astype(np.float32), (shape.face_labels[drawn] + 1).numpy().astype(
        np.uint8
    )


def write_h5(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as content:
        content["data"] = np.stack([points for points, _ in rows])
        content["label_seg"] = np.stack([labels for _, labels in rows])


def link_root(root, target, lists, category):
    """A PartNet root that has the shapes and label lists of `root` and official lists of its own."""
    (target / "stats/train_val_test_split").mkdir(parents=True)
    (target / "data_v0").symlink_to(root / "data_v0")
    (target / "stats/after_merging_label_ids").symlink_to(root / "stats/after_merging_label_ids")
    for name, ids in lists.items():
        rows = [{"anno_id": id, "model_id": "x"} for id in ids]
        (target / f"stats/train_val_test_split/{category}.{name}.json").write_text(json.dumps(rows))
    return target


@pytest.fixture(scope="module")
def labelled_root(made_up_partnet, tmp_path_factory):
    """Made-up chairs of level 3 in lists out of numerical order, the training rows in two files."""
    ids = PartNet(made_up_partnet, "Chair").ids("all")
    lists = {"train": [ids[2], ids[0], ids[1]], "val": [ids[4]], "test": [ids[3]]}
    root = link_root(made_up_partnet, tmp_path_factory.mktemp("points") / "partnet", lists, "Chair")
    tree = PartNet(root, "Chair")
    rows = {id: sample_points(tree.load(id), int(id)) for name in SPLITS for id in lists[name]}
    folder = root / "sem_seg_h5/Chair-3"
    write_h5(folder / "train-00.h5", [rows[ids[2]], rows[ids[0]]])
    write_h5(folder / "train-01.h5", [rows[ids[1]]])
    write_h5(folder / "val-00.h5", [rows[ids[4]]])
    write_h5(folder / "test-00.h5", [rows[ids[3]]])
    return root


def test_point_labels_agree_with_the_tree(labelled_root):
    tree, points = (PartNet(labelled_root, "Chair", labels=kind) for kind in ("tree", "points"))
    for id in [id for name in SPLITS for id in tree.ids(name)]:
        expected, (found, alignment) = tree.load(id), points.load_aligned(id)
        assert area_agreement(expected, found) >= 99
        assert (found.label_names, found.category) == (expected.label_names, "Chair")
        assert torch.equal(found.vertices, expected.vertices) and torch.equal(found.faces, expected.faces)
        # chairs are nearly mirror images of themselves, so only the map of the points is determined
        assert alignment.scale == pytest.approx(2.5, rel=5e-3)
        assert alignment.residual < MAX_RESIDUAL / 1.5
    assert tree.load_aligned(tree.ids("test")[0])[1] is None


def test_rows_follow_the_official_list_whatever_the_split_file(labelled_root):
    ids = PartNet(labelled_root, "Chair").ids("train")
    own = labelled_root / "own.json"
    own.write_text(json.dumps({"Chair": {"train": ids[::-1], "test": PartNet(labelled_root, "Chair").ids("val")}}))
    first = PartNet(labelled_root, "Chair", splits=own, labels="points").load(ids[1])
    second = PartNet(labelled_root, "Chair", labels="points").load(ids[1])
    assert torch.equal(first.face_labels, second.face_labels)


def test_the_script_prints_the_agreement(labelled_root, tmp_path):
    root = Path(__file__).resolve().parents[2]
    overrides = [f"data.root={labelled_root}", "data.category=Chair", "evaluation.split=train"]
    command = [sys.executable, str(root / "scripts/label_agreement.py"), *overrides]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert cells[0] == ["category", "shape", "area", "residual"]
    assert [row[1] for row in cells[2:]] == [*PartNet(labelled_root, "Chair").ids("train"), "mean of 3"]
    assert all(float(row[2]) >= 99 and 0 < float(row[3]) < 3 for row in cells[2:])
    assert list(tmp_path.iterdir()) == []


def square_shape(*labels):
    """Unit squares at z = 0, 10, 20, ..., two faces each, normalised."""
    corners = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    vertices = torch.cat([corners + torch.tensor([0, 0, 10 * i]) for i in range(len(labels))]).float()
    faces = torch.cat([torch.tensor([[0, 1, 2], [0, 2, 3]]) + 4 * i for i in range(len(labels))])
    names = tuple("abc")
    return Shape("squares", vertices, faces, torch.tensor(labels).repeat_interleave(2), names).normalized()


def squares_points(shape, generator):
    corner = shape.vertices[::4].numpy()
    side = float(shape.vertices[1, 0] - shape.vertices[0, 0])
    spread = np.concatenate([generator.random((3000, 2)) * side, np.zeros((3000, 1))], axis=1)
    return np.concatenate([corner_of_one + spread for corner_of_one in corner])


def test_faces_take_the_nearest_label_then_the_majority_of_their_file():
    shape = square_shape(0, 1, 2)
    points = squares_points(shape, np.random.default_rng(0))
    labels = np.repeat([2, -1, 0], 3000)
    alone, _ = transfer_labels(shape, points, labels, torch.arange(6))
    assert alone.tolist() == [2, 2, -1, -1, 0, 0]
    # files: squares 0 and 1 with half of square 2; the rest of square 2
    together, _ = transfer_labels(shape, points, labels, torch.tensor([0, 0, 1, 0, 0, 1]))
    assert together.tolist() == [2, 2, -1, 2, 2, -1]  # file 1: a tie of -1 and 0, the lowest
    undetermined, _ = transfer_labels(shape, points, np.full(9000, -1), torch.arange(6))
    assert undetermined.tolist() == [-1] * 6


def test_agreement_is_a_share_of_the_area():
    shape = square_shape(0, 1, -1)
    other = Shape("squares", shape.vertices, shape.faces, torch.tensor([0, 0, 0, 1, -1, 0]), shape.label_names)
    assert area_agreement(shape, other) == pytest.approx(100 * 4 / 6)
    assert area_agreement(shape, shape) == 100
    with pytest.raises(InputError, match="two labellings of the same faces"):
        area_agreement(shape, Shape("squares", shape.vertices, shape.faces))


def test_points_of_another_shape_are_refused():
    shape = square_shape(0, 1, 2)
    ball = np.random.default_rng(0).normal(size=(5000, 3))
    with pytest.raises(
        InputError, match=r"shape squares: its labelled points lie 0\.\d+ from its mesh .*data\.labels=tree"
    ):
        transfer_labels(shape, ball, np.zeros(5000, dtype=np.int64), torch.zeros(6, dtype=torch.int64))


# Bad input


@pytest.fixture
def one_shape(made_up_partnet, tmp_path):
    """A root whose only listed shape, and its id; no point files yet."""
    ids = PartNet(made_up_partnet, "Chair").ids("all")
    return link_root(made_up_partnet, tmp_path / "partnet", {"train": ids[:1]}, "Chair"), ids


def test_missing_folder_level_and_kind(one_shape):
    root, _ = one_shape
    with pytest.raises(InputError, match=r"sem_seg_h5/Chair-3: no such folder; download sem_seg_h5\.zip .*labels=tree"):
        PartNet(root, "Chair", labels="points")
    with pytest.raises(InputError, match="leaf has no point labels"):
        PartNet(root, "Chair", "leaf", labels="points")
    with pytest.raises(InputError, match="labels=cloud is unknown: choose tree or points"):
        PartNet(root, "Chair", labels="cloud")
    assert PartNet(root, "all", labels="points").label_names == ()


GOOD = (np.random.default_rng(0).random((10_000, 3), dtype=np.float32), np.ones(10_000, np.uint8))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"train-00\.h5: no such file; download sem_seg_h5\.zip"),
        ([GOOD, GOOD], r"train-00\.h5 hold 2 shapes, but the official list Chair\.train\.json names 1"),
        ([(GOOD[0][:99], GOOD[1])], r"it holds data float32 \[1, 99, 3\], label_seg uint8 \[1, 10000\]"),
        ([(GOOD[0], GOOD[1][:99])], r"train-00\.h5: should hold 'data' float32"),
        ([(GOOD[0], GOOD[1].astype(np.float32))], "label_seg float32"),
        ([(GOOD[0] * np.nan, GOOD[1])], r"train-00\.h5: row 0 \(shape \d+\) holds no usable points"),
        ([(GOOD[0], GOOD[1] * 200)], r"has label 200, but Chair has \d+ labels at this level"),
    ],
)
def test_bad_files_are_named(one_shape, rows, message):
    root, ids = one_shape
    folder = root / "sem_seg_h5/Chair-3"
    folder.mkdir(parents=True)
    if rows:
        write_h5(folder / "train-00.h5", rows)
    with pytest.raises(InputError, match=message):
        PartNet(root, "Chair", labels="points").load(ids[0])


def test_damaged_files_and_unlisted_shapes_are_named(one_shape):
    root, ids = one_shape
    write_h5(root / "sem_seg_h5/Chair-3/train-00.h5", [GOOD])
    data = PartNet(root, "Chair", labels="points")
    with pytest.raises(InputError, match=rf"shape {ids[1]} is in no official list of Chair"):
        data.load(ids[1])
    with h5py.File(root / "sem_seg_h5/Chair-3/train-00.h5", "w") as content:
        content["points"] = np.zeros(3)
    with pytest.raises(InputError, match="it holds neither"):
        data.load(ids[0])
    (root / "sem_seg_h5/Chair-3/train-00.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"train-00\.h5: not a readable HDF5 file"):
        data.load(ids[0])


def test_configuration(make_config):
    assert make_config("data=partnet").data.labelled.labels == "tree"
    cfg = make_config("experiment=partnet", "data.labels=points")
    assert cfg.data.labelled.labels == "points" and "labels" not in cfg.data.unlabelled


# Real data


def leaf_paths(node, prefix=""):
    """{id: path} of the leaves of a tree of result.json."""
    path = f"{prefix}/{node['name']}".lstrip("/")
    if "children" not in node:
        return {node["id"]: path}
    return {id: found for child in node["children"] for id, found in leaf_paths(child, path).items()}


def challenge_labels(root, id, category, level):
    """Labels of PartNet's own sampled points, by its merging map and lists alone: 0 or 1 + the line of the list."""
    folder = root / "data_v0" / id
    leaves = leaf_paths(json.loads((folder / "result.json").read_text())[0])
    merged = dict(
        line.split() for line in (root / f"stats/merging_hierarchy_mapping/{category}.txt").read_text().splitlines()
    )
    lines = (root / f"stats/after_merging_label_ids/{category}-level-{level}.txt").read_text().splitlines()
    number = {line.split()[1]: i + 1 for i, line in enumerate(lines)}
    of_leaf = {}
    for leaf, path in leaves.items():
        steps = path.split("/")
        above = [number.get(merged.get("/".join(steps[:n]), ""), 0) for n in range(len(steps), 0, -1)]
        of_leaf[leaf] = next((label for label in above if label), 0)
    return np.array([of_leaf[int(x)] for x in (folder / "point_sample/label-10000.txt").read_text().split()], np.uint8)


@pytest.mark.parametrize(
    ("category", "ids"),
    [("Bottle", ["3615", "3571"]), ("Refrigerator", ["10905", "10849"])],
    ids=["Bottle", "Refrigerator"],
)
def test_real_sampled_points_give_the_labels_of_the_tree(partnet_root, tmp_path, category, ids):
    root = link_root(partnet_root, tmp_path / "partnet", {"train": ids}, category)
    rows = []
    for id in ids:
        points = np.loadtxt(partnet_root / "data_v0" / id / "point_sample/pts-10000.txt", dtype=np.float32)
        points -= (points.min(axis=0) + points.max(axis=0)) / 2
        rows.append((points / np.linalg.norm(points, axis=1).max(), challenge_labels(partnet_root, id, category, 3)))
    write_h5(root / f"sem_seg_h5/{category}-3/train-00.h5", rows)
    tree, found = (PartNet(root, category, labels=kind) for kind in ("tree", "points"))
    for id in ids:
        shape, alignment = found.load_aligned(id)
        np.testing.assert_array_equal(alignment.axes, np.eye(3))
        assert alignment.residual < MAX_RESIDUAL / 1.5
        assert area_agreement(tree.load(id), shape) >= 99


def test_real_points_of_another_shape_are_refused(partnet_root, tmp_path):
    root = link_root(partnet_root, tmp_path / "partnet", {"train": ["10905"]}, "Refrigerator")
    points = np.loadtxt(partnet_root / "data_v0/10144/point_sample/pts-10000.txt", dtype=np.float32)
    write_h5(root / "sem_seg_h5/Refrigerator-3/train-00.h5", [(points, np.ones(10_000, np.uint8))])
    with pytest.raises(InputError, match="shape 10905: its labelled points lie"):
        PartNet(root, "Refrigerator", labels="points").load("10905")
