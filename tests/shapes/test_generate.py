"""The made-up data sets, read back by parsers that share no code with the writers."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.made_up.generate import CATEGORIES, make_models, split_models, write_partnet, write_people_like
from mvdecor.shapes.partnet import PartNet
from mvdecor.shapes.people import RenderPeople
from tests.calls import call

COUNT = 12


def digests(root: Path) -> dict[str, str]:
    """Path below root -> hash of its bytes, for all files."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def parse_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces, texture coordinates and texture indices, line by line."""
    v, f, vt, ft = [], [], [], []
    for line in path.read_text().splitlines():
        kind, *rest = line.split()
        if kind == "v":
            v.append([float(x) for x in rest])
        elif kind == "vt":
            vt.append([float(x) for x in rest])
        elif kind == "f":
            assert len(rest) == 3
            f.append([int(x.split("/")[0]) - 1 for x in rest])
            ft.append([int(x.split("/")[1]) - 1 for x in rest if "/" in x])
        else:
            assert kind in ("mtllib", "usemtl")
    return np.array(v), np.array(f), np.array(vt), np.array(ft)


def leaves(node: dict, path: str = "") -> list[tuple[str, list[str]]]:
    """(path, obj names) of every leaf below a node of the annotation tree."""
    path = f"{path}/{node['name']}".lstrip("/")
    if "children" not in node:
        return [(path, node["objs"])]
    below = [leaf for child in node["children"] for leaf in leaves(child, path)]
    assert sorted(o for _, objs in below for o in objs) == sorted(node["objs"])
    return below


def level_labels(root: Path, category: str, level: int) -> dict[str, int]:
    """Path -> id of the labels of a level."""
    lines = (root / f"stats/after_merging_label_ids/{category}-level-{level}.txt").read_text().splitlines()
    return {line.split()[1]: int(line.split()[0]) for line in lines}


@pytest.fixture(scope="module")
def partnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partnet(tmp_path_factory.mktemp("made_up") / "partnet", count=COUNT, seed=3)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_like(tmp_path_factory.mktemp("made_up") / "people", count=8, seed=3)


def test_same_seed_same_bytes(partnet: Path, people: Path, tmp_path: Path) -> None:
    again = digests(write_partnet(tmp_path / "partnet", count=COUNT, seed=3))
    assert again == digests(partnet)
    assert digests(write_people_like(tmp_path / "people", count=8, seed=3)) == digests(people)
    other = digests(write_partnet(tmp_path / "other", count=COUNT, seed=4, categories=("Chair",)))
    assert not set(other.values()) & {h for p, h in again.items() if p.endswith("meta.json")}


def test_textured_shapes_are_labelled_at_a_level(people: Path, tmp_path: Path) -> None:
    """The nodes below the root, each face that of its leaf; all else stays as it is."""
    root = write_people_like(tmp_path / "level", count=8, seed=3, level=1)
    names, leaves = (json.loads((folder / "split.json").read_text())["labels"] for folder in (root, people))
    assert names == ["chair_back", "chair_arm", "chair_base", "chair_seat"]
    above = {path.split("/")[-1]: path.split("/")[1] for path in CATEGORIES["Chair"][1]}
    for i in range(8):
        name = f"chair_{i:03d}/chair_{i:03d}"
        assert (root / f"{name}.obj").read_bytes() == (people / f"{name}.obj").read_bytes()
        fine, coarse = (np.load(folder / f"{name}_labels.npy") for folder in (people, root))
        expected = [255 if label == 255 else names.index(above[leaves[label]]) for label in fine.tolist()]
        assert coarse.tolist() == expected


@pytest.mark.parametrize("category", CATEGORIES)
def test_parts_are_closed_and_wound_outwards(category: str) -> None:
    for model in make_models(category, 20, seed=1):
        for part in model.parts:
            for solid in part.solids:
                mesh = trimesh.Trimesh(solid.vertices, solid.faces, process=False)
                assert mesh.is_watertight and mesh.is_winding_consistent, part.label
                assert all(body.volume > 0 for body in mesh.split()), part.label
                assert mesh.area_faces.min() > 1e-8, part.label


@pytest.mark.parametrize("category", CATEGORIES)
def test_shapes_are_moderate_and_vary(category: str) -> None:
    models = make_models(category, 20, seed=1)
    for model in models:
        points = np.concatenate([s.vertices for p in model.parts for s in p.solids])
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-9)
        assert 500 <= sum(len(s.faces) for p in model.parts for s in p.solids) <= 5000
        assert len({p.label for p in model.parts}) >= 3
    assert len({tuple(p.label for p in m.parts) for m in models}) >= 12
    assert 6 <= len({p.label for m in models for p in m.parts}) <= 13


def test_longer_list_begins_with_the_shorter() -> None:
    short, long = make_models("Lamp", 3, seed=5), make_models("Lamp", 6, seed=5)
    for a, b in zip(short, long, strict=False):
        assert [p.label for p in a.parts] == [p.label for p in b.parts]
        assert np.array_equal(a.parts[-1].solids[0].vertices, b.parts[-1].solids[0].vertices)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("seed", range(8))
def test_twelve_shapes_show_every_label_in_train(category: str, seed: int) -> None:
    models = make_models(category, 12, seed)
    splits = split_models(models, 0.4, 0.1, seed)
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == list(range(12))
    seen = {p.label for i in splits["train"] for p in models[i].parts}
    assert seen == set(CATEGORIES[category][1])


@pytest.mark.parametrize("category", CATEGORIES)
def test_partnet_layout(partnet: Path, category: str) -> None:
    levels = {level: level_labels(partnet, category, level) for level in (1, 2, 3)}
    everything = [
        line.split() for line in (partnet / f"stats/after_merging_label_ids/{category}.txt").read_text().splitlines()
    ]
    assert [int(row[0]) for row in everything] == list(range(1, len(everything) + 1))
    assert {row[1] for row in everything if row[2] == "leaf"} == set(levels[3])
    parts = {
        name: json.loads((partnet / f"stats/train_val_test_split/{category}.{name}.json").read_text())
        for name in ("train", "val", "test")
    }
    ids = [row["anno_id"] for rows in parts.values() for row in rows]
    assert len(ids) == len(set(ids)) == COUNT and all(re.fullmatch(r"\d+", i) for i in ids)
    seen_in_train, twins, solids = set(), 0, 0
    for anno_id in ids:
        folder = partnet / "data_v0" / anno_id
        meta = json.loads((folder / "meta.json").read_text())
        assert meta["anno_id"] == anno_id and meta["model_cat"] == category
        (tree,) = json.loads((folder / "result_after_merging.json").read_text())
        found = leaves(tree)
        named = [o for _, objs in found for o in objs]
        assert sorted(named) == sorted(p.stem for p in (folder / "objs").glob("*.obj"))
        assert len(named) == len(set(named))
        for path, objs in found:
            for level in (1, 2, 3):
                assert any(path == p or path.startswith(p + "/") for p in levels[level])
            if anno_id in {row["anno_id"] for row in parts["train"]}:
                seen_in_train.add(path)
            for obj in objs:
                vertices, faces, _, _ = parse_obj(folder / "objs" / f"{obj}.obj")
                assert faces.min() >= 0 and faces.max() < len(vertices)
                distinct = np.unique(np.sort(faces, axis=1), axis=0)
                assert len(distinct) in (len(faces), len(faces) // 2)
                solids, twins = solids + 1, twins + (len(distinct) < len(faces))
    assert seen_in_train == set(levels[3])
    assert 0.15 < twins / solids < 0.55


def test_people_layout(people: Path) -> None:
    split = json.loads((people / "split.json").read_text())
    names = split["train"] + split["test"]
    assert len(set(names)) == 8 and split["labels"] == [p.rsplit("/", 1)[-1] for p in CATEGORIES["Chair"][1]]
    seen, pictures = set(), []
    for name in names:
        folder = people / name
        vertices, faces, uv, corners = parse_obj(folder / f"{name}.obj")
        labels = np.load(folder / f"{name}_labels.npy")
        assert labels.dtype == np.uint8 and labels.shape == (len(faces),)
        assert faces.max() < len(vertices) and corners.shape == faces.shape and corners.max() < len(uv)
        known = set(labels.tolist()) - {255}
        assert max(known) < len(split["labels"]) and (labels != 255).mean() > 0.5
        if name in split["train"]:
            seen |= known
        assert uv.min() > 0 and uv.max() < 1
        (picture,) = re.findall(r"^map_Kd (.+)$", (folder / f"{name}.mtl").read_text(), flags=re.M)
        pictures.append(np.asarray(Image.open(folder / picture)))
        assert pictures[-1].ndim == 3 and pictures[-1].shape[2] == 3
    assert seen == set(range(len(split["labels"])))
    assert not np.array_equal(pictures[0], pictures[1])


def test_texture_tiles_of_parts_do_not_overlap(people: Path) -> None:
    """A face of one label never lies on a texel of a face of another label."""
    name = json.loads((people / "split.json").read_text())["train"][0]
    _, _, uv, corners = parse_obj(people / name / f"{name}.obj")
    labels = np.load(people / name / f"{name}_labels.npy")
    owner: dict[tuple[int, int], int] = {}
    for center, label in zip((uv[corners].mean(axis=1) * 1024).astype(int), labels, strict=True):
        if label != 255:
            assert owner.setdefault(tuple(center.tolist()), int(label)) == label


def test_existing_folder(partnet: Path, tmp_path: Path) -> None:
    before = digests(partnet)
    assert write_partnet(partnet, count=COUNT, seed=3) == partnet
    with pytest.raises(InputError, match="exists and is not this set"):
        write_partnet(partnet, count=COUNT, seed=4)
    with pytest.raises(InputError, match="exists and is not this set"):
        write_people_like(partnet, count=COUNT, seed=3)
    assert digests(partnet) == before
    assert [p.name for p in partnet.parent.iterdir()] == ["partnet"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="exists and is not this set"):
        write_partnet(file, count=COUNT)
    empty = tmp_path / "empty"
    empty.mkdir()
    write_partnet(empty, count=COUNT, categories=("Table",))
    assert (empty / "generated.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 2}, "too few"),
        ({"count": 0}, "must be 1 to 9999"),
        ({"seed": -1}, "must not be negative"),
        ({"categories": ("Sofa",)}, "choose from Chair, Table, Lamp"),
        ({"categories": ()}, "at most once"),
        ({"test_fraction": 1.0}, "leave none to train on"),
    ],
)
def test_bad_arguments_leave_nothing_behind(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        write_partnet(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_script(tmp_path: Path) -> None:
    good = call("generate", "out=made", "count=12", "categories=[Lamp]", "seed=2", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert digests(tmp_path / "made") == digests(write_partnet(tmp_path / "same", 12, 2, ("Lamp",)))
    bad = call("generate", "out=made", "count=13", cwd=tmp_path)
    assert bad.returncode != 0 and bad.stderr.startswith("error: made exists")
    unset = call("generate", cwd=tmp_path)
    assert unset.returncode != 0 and "out is missing: name the folder" in unset.stderr


@pytest.mark.parametrize("category", CATEGORIES)
def test_readers_read_them_as_real_data(category: str, partnet: Path, people: Path) -> None:
    """The project's readers see the parts of the models that were written, face count by face count."""
    models, base = make_models(category, COUNT, seed=3), 300_000 + 10_000 * (list(CATEGORIES).index(category) + 1)
    reader = PartNet(partnet, category, 3)
    for i, model in enumerate(models):
        shape = reader.load(str(base + i))
        areas = dict.fromkeys((label.rsplit("/", 1)[-1] for label in CATEGORIES[category][1]), 0.0)
        for part in model.parts:
            for solid in part.solids:
                a, b, c = np.moveaxis(solid.vertices[solid.faces], 1, 0)
                areas[part.label.rsplit("/", 1)[-1]] += np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
        once = shape.twin_groups.numpy() == np.arange(shape.num_faces)
        for number, name in enumerate(shape.label_names):
            area = float(shape.face_areas.numpy()[once & (shape.face_labels.numpy() == number)].sum())
            assert area == pytest.approx(areas[name.rsplit("/", 1)[-1]], rel=1e-3, abs=1e-6)
    delivery = RenderPeople(people)
    shape = delivery.load(delivery.ids("train")[0])
    assert shape.texture is not None and len(shape.label_names) == len(CATEGORIES["Chair"][1])
