"""Paths of part trees that leave out a level of the official lists."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes.part_paths import PathList
from mvdecor.shapes.partnet import PartNet

TABLE = (
    "1 table subtypes\n2 table/regular_table subcomponents\n3 table/regular_table/top leaf\n"
    "4 table/regular_table/table_base subtypes\n5 table/regular_table/table_base/drawer_base subcomponents\n"
    "6 table/regular_table/table_base/drawer_base/leg leaf\n7 table/regular_table/table_base/drawer_base/drawer leaf\n"
    "8 table/regular_table/table_base/star_base subcomponents\n9 table/regular_table/table_base/star_base/leg leaf\n"
)
LEVEL_1 = "3 table/regular_table/top leaf\n4 table/regular_table/table_base subtypes\n"
LEVEL_3 = "".join(line + "\n" for line in TABLE.splitlines() if line.endswith("leaf"))
DESK = "table/regular_table/"  # the tree of a desk has no table_base
LISTED = [line.split()[1] for line in TABLE.splitlines()]


def write_table(root: Path, id: str, parts: dict[str, int]) -> None:
    """A shape whose leaves have these paths, each with so many unit right triangles (area 1/2)."""
    folder = root / "data_v0" / id
    (folder / "objs").mkdir(parents=True)
    tree: dict = {"name": "table", "objs": []}
    for number, (path, faces) in enumerate(parts.items()):
        node = tree
        for name in path.split("/")[1:]:
            children = node.setdefault("children", [])
            node = (
                next((c for c in children if c["name"] == name), None)
                or children.append({"name": name})
                or children[-1]
            )
        node["objs"] = [f"new-{number}"]
        corners = "".join(
            f"v {number} 0 {3 * i}\nv {number} 1 {3 * i}\nv {number} 0 {3 * i + 1}\n" for i in range(faces)
        )
        lines = "".join(f"f {3 * i + 1} {3 * i + 2} {3 * i + 3}\n" for i in range(faces))
        (folder / "objs" / f"new-{number}.obj").write_text(corners + lines)
    (folder / "meta.json").write_text(json.dumps({"model_cat": "Table"}))
    (folder / "result_after_merging.json").write_text(json.dumps([tree]))


@pytest.fixture
def tables(tmp_path):
    lists = tmp_path / "stats/after_merging_label_ids"
    for folder in (lists, tmp_path / "stats/train_val_test_split"):
        folder.mkdir(parents=True)
    for name, text in {"Table": TABLE, "Table-level-1": LEVEL_1, "Table-level-3": LEVEL_3}.items():
        (lists / f"{name}.txt").write_text(text)
    desk = {"table/regular_table/top": 1, f"{DESK}drawer_base/leg": 4, f"{DESK}drawer_base/drawer": 5}
    write_table(tmp_path, "desk", desk)
    write_table(tmp_path, "star", {"table/regular_table/top": 6, f"{DESK}table_base/star_base/leg": 4})
    write_table(tmp_path, "odd", {"table/regular_table/top": 18, "table/regular_table/hutch": 1, "table/lamp": 1})
    return tmp_path


@pytest.mark.parametrize(("level", "expected"), [(1, [0] + [1] * 9), (3, [0] + [1] * 4 + [2] * 5)])
def test_a_level_left_out_of_a_tree_costs_no_label(tables, level, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PartNet(tables, "Table", level).load("desk").face_labels.tolist() == expected


def test_every_path_says_what_it_was_matched_with(tables):
    drawer, leg, top = PartNet(tables, "Table", 3).matches("desk")
    assert (drawer.path, drawer.listed_path.outcome) == (f"{DESK}drawer_base/drawer", "level left out")
    assert drawer.listed_path.list_path == f"{DESK}table_base/drawer_base/drawer"
    assert [m.faces for m in (drawer, leg, top)] == pytest.approx([0.5, 0.4, 0.1])
    assert [m.area for m in (drawer, leg, top)] == pytest.approx([0.5, 0.4, 0.1])  # all triangles are equal
    assert (top.listed_path.outcome, top.listed_path.list_path) == ("listed", "table/regular_table/top")
    assert drawer.text() == (
        "table/regular_table/drawer_base/drawer (level left out: table/regular_table/table_base/drawer_base/drawer), "
        "50 % of the faces, 50 % of the area"
    )


def test_unknown_paths_are_warned_of_above_5_percent(tables):
    data = PartNet(tables, "Table", 1)
    with pytest.warns(
        UserWarning, match=r"odd: 10 % of the faces and 10 % of the area .*table/regular_table/hutch"
    ) as found:
        labels = data.load("odd").face_labels
    assert labels.tolist() == [0] * 18 + [-1] * 2
    assert len(found) == 1 and "table/lamp (ancestor: table), 5 % of the faces" in str(found[0].message)
    write_table(tables, "almost", {"table/regular_table/top": 19, "table/lamp": 1})  # exactly 5 %
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load("almost")
        data.load("star")


def test_part_files_of_no_leaf_and_unlabelled_levels_are_no_unknown_paths(tables):
    write_table(tables, "above", {"table/regular_table/top": 1, f"{DESK}table_base/drawer_base": 9})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            PartNet(tables, "Table", 3).load("above").face_labels.tolist() == [0] + [-1] * 9
        )  # a leaf above the level
    (match, _) = PartNet(tables, "Table", 3).matches("above")
    assert (match.listed_path.outcome, match.listed_path.label, match.listed_path.lost) == ("listed", -1, False)
    with pytest.raises(InputError, match="no label list"):
        PartNet(tables, "all").matches("above")


@pytest.mark.parametrize(
    ("path", "how", "list_path"),
    [
        ("table/regular_table/table_base/star_base/leg", "listed", "table/regular_table/table_base/star_base/leg"),
        ("table/regular_table/star_base/leg", "level left out", "table/regular_table/table_base/star_base/leg"),
        ("table/regular_table/star_base", "level left out", "table/regular_table/table_base/star_base"),
        ("table/regular_table/star_base/new", "level left out", "table/regular_table/table_base/star_base"),
        ("table/top", "level left out", "table/regular_table/top"),
        ("table/regular_table/table_base/leg", "ambiguous", "table/regular_table/table_base"),  # of which base?
        ("table/drawer_base/leg", "ancestor", "table"),  # two levels
        ("table/regular_table/leg", "ancestor", "table/regular_table"),  # two levels, of two bases
        ("regular_table/top", "unknown", None),  # the outermost is no inner level
        ("pot/body", "unknown", None),
        ("table/regular_table/tabletop", "ancestor", "table/regular_table"),  # a name is no prefix of another
        (None, "no leaf", None),
    ],
)
def test_one_inner_level_may_be_missing_if_one_path_fits(path, how, list_path):
    found = PathList(LISTED, LISTED).find(path)
    assert (found.outcome, found.list_path) == (how, list_path)
    assert found.label == (-1 if list_path is None else LISTED.index(list_path))


def test_every_path_and_every_shortened_one_against_a_slow_search():
    """All paths of up to 5 names over those of the list: one candidate by brute force, or none."""
    paths = PathList(LISTED, ())
    for path in LISTED:
        words = path.split("/")
        for left_out in range(1, len(words) - 1):
            short = "/".join(words[:left_out] + words[left_out + 1 :])
            fits = {p for p in LISTED for i in range(1, p.count("/")) if _without(p, i) == short}
            if short in LISTED:
                assert paths.find(short).list_path == short
            elif len(fits) == 1:
                assert paths.find(short).list_path == path
            else:
                assert paths.find(short).outcome == "ambiguous"


def _without(path: str, index: int) -> str:
    words = path.split("/")
    return "/".join(words[:index] + words[index + 1 :])


# Real lists


def read_list(file: Path) -> list[str]:
    return [line.split()[1] for line in file.read_text().splitlines() if line.strip()]


def test_all_24_categories_lists_against_each_other(partnet_root):
    """Where merging moves a part down a level, a tree whose nodes were renamed one by one leaves that level out."""
    stats = partnet_root / "stats"
    files = sorted((stats / "merging_hierarchy_mapping").glob("*.txt"))
    assert len(files) == 24
    lowered = {}
    for file in files:
        listed = read_list(stats / "after_merging_label_ids" / file.name)
        merged = dict(line.split() for line in file.read_text().splitlines() if line.strip())
        assert set(merged.values()) == set(listed)
        for level in "123":
            own = stats / "after_merging_label_ids" / f"{file.stem}-level-{level}.txt"
            assert not own.exists() or set(read_list(own)) <= set(listed)
        for before, after in merged.items():
            parent = merged.get(before.rpartition("/")[0])
            if parent is not None and after not in (parent, f"{parent}/{after.rpartition('/')[2]}"):
                lowered[file.stem] = (before, after)
        paths = PathList(listed, listed)
        assert all(paths.find(path).list_path == path for path in listed)
    assert lowered == {"Table": ("table/desk/drawer_base", "table/regular_table/table_base/drawer_base")}


@pytest.mark.parametrize("level", [1, 2, 3, "leaf"])
def test_real_lists_find_every_part_of_a_desk(partnet_root, level):
    """The tree of a desk, as `lowered` above makes it, has the labels of the same tree with its level."""
    data = PartNet(partnet_root, "Table", level)
    prefix = "table/regular_table/table_base/drawer_base"
    whole = read_list(partnet_root / "stats/after_merging_label_ids/Table.txt")
    drawers = [path for path in whole if path.startswith(prefix)]
    assert len(drawers) == 26
    for path in drawers:
        found = data._paths.find(path.replace("/table_base", ""))
        assert (found.outcome, found.list_path) == ("level left out", path)
        assert found.label == data._paths.find(path).label


def test_real_trees_that_their_category_does_not_list(partnet_root):
    lost = {}
    for folder in sorted((partnet_root / "data_v0").iterdir()):
        category = json.loads((folder / "meta.json").read_text())["model_cat"]
        if folder.name in ("3380", "3593", "10546"):  # part files are missing
            continue
        matches = PartNet(partnet_root, category, "leaf").matches(folder.name)
        assert sum(m.faces for m in matches) == pytest.approx(1) and sum(m.area for m in matches) == pytest.approx(1)
        paths = {m.path for m in matches if m.listed_path.lost}
        lost |= {folder.name: paths} if paths else {}
    pots, mugs = {"4216", "4403", "4514"}, {"8736", "8848"}
    assert lost.keys() == pots | mugs
    for id in pots:
        assert lost[id] >= {"pot/body/container", "pot/body/lid"}
    for id in mugs:
        assert lost[id] == {"mug/body", "mug/handle"}


def test_labels_are_those_of_the_matches(tables):
    data = PartNet(tables, "Table", 3)
    labels = data.load("desk").face_labels
    for match in data.matches("desk"):
        assert float((labels == match.listed_path.label).float().mean()) == pytest.approx(match.faces)
    assert labels.dtype == torch.int64
