import json
from collections import Counter

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes.loading import load_shapes
from mvdecor.shapes.partnet import PartNet

TRIANGLE = "v {0} 0 0\nv {0} 1 0\nv {0} 0 1\n"
LISTS = {
    "Kite.txt": "1 kite subcomponents\n2 kite/tail subcomponents\n3 kite/tail/bow leaf\n4 kite/sail leaf\n",
    "Kite-level-1.txt": "2 kite/tail subcomponents\n4 kite/sail leaf\n",
    "Kite-level-3.txt": "3 kite/tail/bow leaf\n4 kite/sail leaf\n",
}
TREE = {
    "name": "kite",
    "objs": ["new-0", "loose", "original-1"],
    "children": [
        {
            "name": "tail",
            "objs": ["original-1", "late"],
            "children": [
                {"name": "bow", "objs": ["original-1"]},
                {"name": "string", "objs": ["late"]},
            ],
        },
        {"name": "sail", "objs": ["new-0"]},
    ],
}


def write_shape(root, id, tree=TREE, objs=None):
    folder = root / "data_v0" / id
    (folder / "objs").mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"model_cat": "Kite", "anno_id": id}))
    (folder / "result_after_merging.json").write_text(json.dumps([tree]))
    faces = {
        "new-0": "f 1 2 3\nf 3 2 1\n",
        "loose": "f 1 2 3\n",
        "original-1": "f 1 2 3\n",
        "late": "f 1 2 3\nf 2 3 1\nf 3 1 2\n",
    }
    for number, (name, lines) in enumerate((faces if objs is None else objs).items()):
        (folder / "objs" / f"{name}.obj").write_text(TRIANGLE.format(number) + lines)
    (folder / "objs" / "stray.obj").write_text(TRIANGLE.format(100) + "f 1 2 3\n")
    return folder


@pytest.fixture
def kites(tmp_path):
    for folder in ("data_v0", "stats/after_merging_label_ids", "stats/train_val_test_split"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in LISTS.items():
        (tmp_path / "stats/after_merging_label_ids" / name).write_text(text)
    official = {
        "Kite.train": ["30", "4"],
        "Kite.val": ["5"],
        "Kite.test": ["7"],
        "Yoyo.train": ["100"],
        "Yoyo.test": ["11"],
    }
    for name, ids in official.items():
        rows = [{"model_id": "x", "anno_id": id} for id in ids]
        (tmp_path / "stats/train_val_test_split" / f"{name}.json").write_text(json.dumps(rows))
    for id in ("100", "30", "4", "5", "7", "11"):
        write_shape(tmp_path, id)
    (tmp_path / "own.json").write_text(json.dumps({"Kite": {"train": ["5"], "test": ["4"]}}))
    return tmp_path


@pytest.mark.parametrize(
    ("level", "names", "ids", "bow", "string"),
    [
        (1, ("kite/tail", "kite/sail"), (2, 4), 0, 0),
        (3, ("kite/tail/bow", "kite/sail"), (3, 4), 0, -1),
        ("leaf", ("kite/tail/bow", "kite/sail"), (3, 4), 0, -1),
    ],
)
def test_a_face_takes_its_deepest_listed_path(kites, level, names, ids, bow, string):
    data = PartNet(kites, "Kite", level)
    assert (data.label_names, data.label_ids) == (names, ids)
    shape = data.load("4")
    # order: new-0 (2 faces), loose (1, no leaf holds it), original-1 (1), then late (3), which the root does not name
    assert shape.face_labels.tolist() == [1, 1, -1, bow, string, string, string]
    assert shape.faces.tolist()[:3] == [[0, 1, 2], [2, 1, 0], [3, 4, 5]]
    assert shape.vertices.norm(dim=1).max().item() == pytest.approx(1, abs=1e-6)
    assert len(shape.vertices) == 4 * 3  # the stray file belongs to nothing
    assert shape.category == "Kite"


def test_parts_keep_their_relative_places(kites):
    x = PartNet(kites, "Kite").load("4").vertices[:, 0].reshape(4, 3)
    assert torch.allclose(x, x[:, :1].expand(4, 3))
    # written at x = 0, 1, 2, 3 in the order new-0, loose, original-1, late
    assert torch.allclose(x[1:, 0] - x[:-1, 0], (x[3, 0] - x[0, 0]).expand(3) / 3, atol=1e-6)


def test_a_label_list_may_name_both_a_path_and_its_ancestor(kites):
    file = kites / "stats/after_merging_label_ids/Kite-level-2.txt"
    file.write_text("1 kite subcomponents\n3 kite/tail/bow leaf\n")
    assert PartNet(kites, "Kite", 2).load("4").face_labels.tolist() == [0, 0, -1, 1, 0, 0, 0]


def test_splits_and_unlabelled(kites):
    data = PartNet(kites, "Kite")
    assert [data.ids(name) for name in ("train", "val", "test")] == [["30", "4"], ["5"], ["7"]]
    assert data.ids("unlabelled") == ["4", "30", "100"]  # in no val or test list, numbers in order
    everything = PartNet(kites, "all")
    assert everything.ids("train") == ["30", "4", "100"]
    assert everything.ids("test") == ["7", "11"]
    assert everything.ids("val") == ["5"]
    assert (everything.label_names, everything.load("4").face_labels) == ((), None)
    for splits in ("own.json", kites / "own.json"):
        own = PartNet(kites, "Kite", splits=splits)
        assert (own.ids("train"), own.ids("test")) == (["5"], ["4"])
        assert own.ids("unlabelled") == ["5", "7", "11", "30", "100"]


def test_a_part_without_faces_is_fine_a_shape_without_is_not(kites):
    write_shape(kites, "50", objs={"new-0": "f 1 2 3\n", "loose": "", "original-1": "", "late": ""})
    assert PartNet(kites, "Kite").load("50").face_labels.tolist() == [1]
    write_shape(kites, "51", objs={"new-0": "", "loose": "", "original-1": "", "late": ""})
    with pytest.raises(InputError, match=r"51/objs: none of its 4 part files has a face"):
        PartNet(kites, "Kite").load("51")


def test_a_tree_of_another_category_is_undetermined(kites):
    write_shape(kites, "52", {"name": "pot", "objs": ["new-0"], "children": []})
    assert PartNet(kites, "Kite").load("52").face_labels.tolist() == [-1, -1]


def node(objs, **more):
    return {"name": "kite", "objs": objs, **more}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (node(["gone"]), "PartNet shape 60: part kite names"),
        (node(["../../4/objs/new-0"]), "no plain name"),
        (node(["a/b"]), "no plain name"),
        (node(["..\\new-0"]), "no plain name"),
        (node([1]), "list of names"),
        (node([]), "names no part files"),
        ({"objs": ["new-0"]}, "has no name"),
        (
            node([], children=[{"name": "a", "objs": ["new-0"]}, {"name": "b", "objs": ["new-0"]}]),
            "both kite/a and kite/b",
        ),
    ],
)
def test_bad_trees_are_named(kites, tree, message):
    write_shape(kites, "60", tree)
    with pytest.raises(InputError) as error:
        PartNet(kites, "Kite").load("60")
    assert message in str(error.value)
    assert "60" in str(error.value)
    assert "data.on_error=skip" in str(error.value)


@pytest.mark.parametrize(
    ("file", "text"),
    [("meta.json", "{}"), ("meta.json", "{"), ("result_after_merging.json", "[]"), ("objs/new-0.obj", "f 1 2 3\n")],
)
def test_damaged_files_are_named(kites, file, text):
    (kites / "data_v0/4" / file).write_text(text)
    with pytest.raises(InputError) as error:
        PartNet(kites, "Kite").load("4")
    assert str(kites / "data_v0/4" / file) in str(error.value)


def test_bad_arguments_each_give_one_clear_message(kites):
    (kites / "bad.json").write_text('{"Kite": {"train": ["4"], "test": ["4"]}}')
    cases = [
        (dict(category="Kite", level=2), "no level 2 for Kite; set data.level to one of 1, 3, leaf"),
        (dict(category="Kite", level=4), "unknown PartNet level 4"),
        (dict(category="Yoyo"), "no part labels for category 'Yoyo'; choose one of Kite"),
        (dict(category="Kite", splits="none.json"), "none.json: cannot be read"),
        (dict(category="Kite", splits="bad.json"), "4 is both in train and in test"),
        (dict(category="Kite", root=kites / "none"), "none: no such folder; download PartNet"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError) as error:
            PartNet(**{"root": kites, **arguments})
        assert message in str(error.value)


def test_unknown_splits_and_ids(kites):
    data = PartNet(kites, "Kite", splits="own.json")
    with pytest.raises(
        InputError, match=r"own\.json: no list 'val' for category Kite \(it has the lists train, test\)"
    ):
        data.ids("val")
    with pytest.raises(InputError, match=r"no list 'train' for category Kite \(it has the categories Yoyo\)"):
        (kites / "yoyo.json").write_text('{"Yoyo": {"train": ["4"]}}')
        PartNet(kites, "Kite", splits="yoyo.json").ids("train")
    with pytest.raises(InputError, match="unknown split 'everything'"):
        data.ids("everything")
    with pytest.raises(InputError, match="999 is not there; download the shape again"):
        data.load("999")
    with pytest.raises(InputError, match="not a valid shape id"):
        data.load("../data_v0/4")


# Real data


def count_faces_by_leaf(folder):
    """Faces of each leaf path by counting lines that begin with f: {path: count} and files that only the root names."""
    count = {file.stem: sum(line.startswith("f ") for line in file.open()) for file in (folder / "objs").glob("*.obj")}
    leaves, stack, named = Counter(), [("", json.loads((folder / "result_after_merging.json").read_text())[0])], set()
    held = set()
    while stack:
        prefix, current = stack.pop()
        path = (prefix + "/" + current["name"]).lstrip("/")
        named |= set(current.get("objs", []))
        if "children" in current:
            stack += [(path, child) for child in current["children"]]
        else:
            held |= set(current["objs"])
            leaves[path] += sum(count[name] for name in current["objs"])
    return leaves, sum(count[name] for name in named - held)


def test_every_real_shape_at_leaf_level(partnet_root):
    categories: dict[str, list[str]] = {}
    for folder in (partnet_root / "data_v0").iterdir():
        categories.setdefault(json.loads((folder / "meta.json").read_text())["model_cat"], []).append(folder.name)
    incomplete, undetermined = set(), set()
    for category, ids in categories.items():
        data = PartNet(partnet_root, category, "leaf")
        shapes, skipped = load_shapes(data, sorted(ids), on_error="skip")
        incomplete |= {id for id, _ in skipped}
        for shape in shapes:
            leaves, loose = count_faces_by_leaf(partnet_root / "data_v0" / shape.id)
            assert shape.num_faces == sum(leaves.values()) + loose
            assert shape.category == category
            expected = {data.label_names.index(path): n for path, n in leaves.items() if path in data.label_names and n}
            labels = Counter(shape.face_labels.tolist())
            assert {label: n for label, n in labels.items() if label >= 0} == expected
            if labels[-1] == shape.num_faces:
                undetermined.add(shape.id)
    assert incomplete == {"3380", "3593", "10546"}
    assert undetermined == {"4216", "4403", "4514", "8736", "8848"}  # filed as bottles, with the tree of a pot or a mug


def test_real_labels_follow_the_tree_at_every_level(partnet_root):
    for level in (1, 2, 3, "leaf"):
        data = PartNet(partnet_root, "Refrigerator", level)
        leaves, loose = count_faces_by_leaf(partnet_root / "data_v0/10905")
        expected = Counter({-1: loose})
        for path, faces in leaves.items():
            above = [label for label, name in enumerate(data.label_names) if (path + "/").startswith(name + "/")]
            expected[max(above, key=lambda label: len(data.label_names[label]), default=-1)] += faces
        assert Counter(data.load("10905").face_labels.tolist()) == +expected


def test_real_level_lists_and_splits(partnet_root):
    data = PartNet(partnet_root, "Bottle", 3, splits="splits_local.json")
    assert len(data.label_names) == 8
    assert data.label_ids == (3, 4, 5, 6, 7, 8, 10, 11)
    assert (len(data.ids("train")), len(data.ids("test"))) == (8, 10)
    held_out = {
        i for parts in json.loads((partnet_root / "splits_local.json").read_text()).values() for i in parts["test"]
    }
    assert not held_out & set(data.ids("unlabelled"))
    assert len(data.ids("unlabelled")) == 52 - len(held_out)
    with pytest.raises(InputError, match=r"no level 3 for Scissors; set data\.level to one of 1, leaf"):
        PartNet(partnet_root, "Scissors", 3)
    assert PartNet(partnet_root, "Bottle").ids("train")[0] == "3869"  # the official list, in its order


def test_the_real_incomplete_shape_is_explained(partnet_root):
    with pytest.raises(InputError) as error:
        PartNet(partnet_root, "Bottle").load("3380")
    for words in (
        "3380",
        "bottle/normal_bottle/neck",
        "new-3.obj",
        "missing",
        "download the shape again",
        "data.on_error=skip",
    ):
        assert words in str(error.value)


def test_labels_come_from_the_trees_alone(kites):
    """Configurations of earlier runs say so; another kind of labels is refused."""
    assert torch.equal(
        PartNet(kites, "Kite", labels="tree").load("4").face_labels, PartNet(kites, "Kite").load("4").face_labels
    )
    with pytest.raises(InputError, match=r"data\.labels=points: labels are read from the part trees alone"):
        PartNet(kites, "Kite", labels="points")
