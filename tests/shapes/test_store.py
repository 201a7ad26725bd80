"""`ShapeStore`: the shapes that a data set reads, read once, told apart by all that they depend on, and bounded in memory."""

import json
import os
import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder, PartNet, RenderPeople, Shape, ShapeStore, Texture, load_shapes
from mvdecor.shapes.loading import IN_MEMORY, labels_by_shape
from mvdecor.shapes.store import Summary, read_shape, write_shape

TRIANGLES = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n"


class Counting:
    """A data set that notes what it was asked to load."""

    def __init__(self, inner) -> None:
        self.inner, self.label_names, self.files, self.loaded = inner, inner.label_names, inner.files, []

    def ids(self, split):
        return self.inner.ids(split)

    def load(self, id):
        self.loaded.append(id)
        return self.inner.load(id)


def folder(root: Path, count: int = 3) -> Path:
    """Meshes m0, m1, ... of two faces, labelled 0 and 1."""
    root.mkdir(exist_ok=True)
    for number in range(count):
        (root / f"m{number}.obj").write_text(TRIANGLES.replace("0 0 1", f"0 0 {number + 1}"))
        np.save(root / f"m{number}_labels.npy", np.array([0, 1]))
    (root / "labels.json").write_text(json.dumps({"labels": ["a", "b"]}))
    (root / "split.json").write_text(json.dumps({"train": [f"m{number}" for number in range(count)], "test": []}))
    return root


def same(a: Shape, b: Shape) -> bool:
    """Equal in all fields, types included."""

    def equal(x, y) -> bool:
        if isinstance(x, Texture):
            return all(equal(getattr(x, f.name), getattr(y, f.name)) for f in fields(Texture))
        if isinstance(x, torch.Tensor):
            return isinstance(y, torch.Tensor) and x.dtype == y.dtype and torch.equal(x, y)
        if isinstance(x, tuple) and x and isinstance(x[0], torch.Tensor):
            return len(x) == len(y) and all(map(equal, x, y))
        return x == y

    return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Shape))


def test_shapes_of_real_data_come_back_as_they_were_read(partnet_root, people_root, tmp_path):
    people = RenderPeople(people_root)
    chairs = PartNet(partnet_root, "Bottle", 3, splits="splits_local.json")
    for shape_set, ids in ((people, people.ids("train")[:2]), (chairs, chairs.ids("train")[:2])):
        store = ShapeStore(shape_set, tmp_path)
        for id in ids:
            expected = shape_set.load(id)
            assert same(store.load(id), expected)  # when it is written
            assert same(ShapeStore(shape_set, tmp_path).load(id), expected)  # and when it is there
            assert store.summary(id) == Summary.of(expected)


def test_every_field_comes_back(tmp_path):
    texture = Texture(
        torch.rand(2, 3, 2),
        tuple(torch.randint(0, 256, (size, 3, 3), dtype=torch.uint8) for size in (2, 1, 4)),
        torch.tensor([2, 0]),
        torch.tensor([[0, 1, 0], [2, 0, 1], [0, 0, 0]]),
    )
    shape = Shape(
        "x", torch.rand(3, 3), torch.tensor([[0, 1, 2], [2, 1, 0]]), torch.tensor([-1, 39_999]),
        tuple(map(str, range(40_000))), texture, "Chair", torch.tensor([0, 0]),
    )  # fmt: skip
    wide = Shape("far", torch.rand(3, 3, dtype=torch.float64) + 1e9, torch.tensor([[0, 1, 2]]))
    for each in (shape, wide):
        write_shape(tmp_path / "one.shape", each)
        assert same(read_shape(tmp_path / "one.shape", each.id, each.label_names), each)


def test_a_shape_is_read_from_its_own_files_once(tmp_path):
    root = folder(tmp_path / "meshes")
    first = Counting(MeshFolder(root))
    shapes, _ = load_shapes(ShapeStore(first, tmp_path / "cache"), first.ids("train"))
    assert [shape.id for shape in shapes] == first.loaded == ["m0", "m1", "m2"]
    later = Counting(MeshFolder(root))
    store = ShapeStore(later, tmp_path / "cache")
    assert labels_by_shape(store, store.ids("train"), "raise") == ({id: {0, 1} for id in ("m0", "m1", "m2")}, [])
    assert same(load_shapes(store, ["m1"])[0][0], first.inner.load("m1")) and later.loaded == []


def test_workers_read_and_this_process_need_not_look_again(tmp_path):
    shape_set = MeshFolder(folder(tmp_path / "meshes"))
    store = ShapeStore(shape_set, tmp_path / "cache")
    shapes, _ = load_shapes(store, store.ids("train"), workers=2)
    assert set(store.paths) == {"m0", "m1", "m2"}
    expected = [shape_set.load(id) for id in shapes.ids]
    for path in (tmp_path / "meshes").glob("*.obj"):
        path.write_text("changed since")
    assert all(same(shape, before) for shape, before in zip(shapes, expected, strict=True))


def test_what_a_shape_depends_on_makes_another_file(tmp_path):
    root, cache = folder(tmp_path / "meshes"), tmp_path / "cache"

    def load(reader=None, id="m0", **settings) -> tuple[Shape, int]:
        shape_set = Counting(MeshFolder(root, **settings))
        return ShapeStore(shape_set, cache, reader).load(id), len(shape_set.loaded)

    plain, count = load()
    assert count == 1 and load()[1] == 0
    # labels of the same size, with the time of change set back
    before = (root / "m0_labels.npy").stat()
    np.save(root / "m0_labels.npy", np.array([1, 0]))
    os.utime(root / "m0_labels.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    changed, count = load()
    assert count == 1 and changed.face_labels.tolist() == [1, 0] != plain.face_labels.tolist()
    assert load({"up": "z"}, up="z")[1] == 1 and load({"up": "z"}, up="z")[1] == 0
    (root / "labels.json").write_text(json.dumps({"labels": ["a", "other"]}))
    renamed, count = load()
    assert count == 1 and renamed.label_names == ("a", "other")
    (root / "m9.obj").write_text((root / "m0.obj").read_text())  # the same mesh under another id, without labels
    alone = load(id="m9")[0]
    assert alone.id == "m9" and alone.face_labels is None and torch.equal(alone.vertices, plain.vertices)


def test_a_reader_without_files_is_asked_each_time(tmp_path):
    shape_set = Counting(MeshFolder(folder(tmp_path / "meshes")))
    shape_set.files = None
    store = ShapeStore(shape_set, tmp_path / "cache")
    assert same(store.load("m0"), store.load("m0")) and shape_set.loaded == ["m0", "m0"]
    assert not (tmp_path / "cache").exists()


def test_a_bounded_number_of_shapes_is_in_memory(tmp_path):
    count = IN_MEMORY + 5
    store = ShapeStore(MeshFolder(folder(tmp_path / "meshes", count)), tmp_path / "cache")
    shapes, _ = load_shapes(store, store.ids("train"))
    held = [shape for shape in shapes]
    assert len(held) == count and len(shapes._recent) == IN_MEMORY
    assert shapes[count - 1] is held[-1] and shapes[0] is not held[0] and same(shapes[0], held[0])
    part = shapes[2:4]
    assert part.ids == ["m2", "m3"] and [shape.id for shape in part] == part.ids
    there = pickle.loads(pickle.dumps(shapes))
    assert same(there[1], shapes[1]) and len(pickle.dumps(shapes)) < 1000 * count


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no tensors", "removed"])
def test_a_file_that_is_damaged_or_gone_is_made_again(tmp_path, damage):
    shape_set = Counting(MeshFolder(folder(tmp_path / "meshes")))
    store = ShapeStore(shape_set, tmp_path / "cache")
    store.load("m0")
    expected = shape_set.inner.load("m0")
    (path,) = (tmp_path / "cache").iterdir()
    content = path.read_bytes()
    summary = {"summary": json.dumps({"category": "", "mesh": "", "labels": None, "textured": False})}
    new = {"cut": content[:-9], "text": b"no shape", "empty": b"", "no tensors": save({"x": torch.ones(1)}, summary)}
    path.write_bytes(new[damage]) if damage in new else path.unlink()
    if damage != "removed":
        with pytest.raises(InputError, match=rf"{path.name}: damaged .*remove the file"):
            read_shape(path, "m0", ())
    assert same(store.load("m0"), expected) and path.read_bytes() == content and len(shape_set.loaded) == 2


def test_files_that_change_while_they_are_used_are_told(tmp_path):
    store = ShapeStore(MeshFolder(folder(tmp_path / "meshes")), tmp_path / "cache")
    before = store.load("m0")
    (tmp_path / "meshes" / "m0.obj").write_text(TRIANGLES)
    assert store.load("m0").id == "m0" and same(store.load("m0"), before), "as it was when it was first asked for"
    (tmp_path / "meshes" / "m0.obj").write_text(TRIANGLES.replace("0 0 1", "0 0 9"))
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="shape m0: its files changed"):
        store.load("m0")


def test_a_shape_that_changes_while_it_is_read_is_not_kept(tmp_path):
    class Changing(Counting):
        def load(self, id):
            np.save(tmp_path / "meshes" / "m0_labels.npy", np.array([1, 1]))
            return super().load(id)

    shape_set = Changing(MeshFolder(folder(tmp_path / "meshes")))
    assert ShapeStore(shape_set, tmp_path / "cache").load("m0").face_labels.tolist() == [1, 1]
    np.save(tmp_path / "meshes" / "m0_labels.npy", np.array([0, 1]))
    plain = MeshFolder(tmp_path / "meshes")
    assert ShapeStore(plain, tmp_path / "cache").load("m0").face_labels.tolist() == [0, 1]


def test_shapes_of_one_file_are_told_apart_by_their_ids(tmp_path):
    (tmp_path / "all.npz").write_bytes(b"both shapes")

    class OneFile:
        label_names = ()

        def files(self, id, labels):
            return [tmp_path / "all.npz"]

        def load(self, id):
            return Shape(id, torch.eye(3) * int(id), torch.tensor([[0, 1, 2]]))

    store = ShapeStore(OneFile(), tmp_path / "cache")
    assert [float(store.load(id).vertices.max()) for id in ("1", "2", "1")] == [1, 2, 1]


def test_no_room_for_files_costs_time_alone(tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise InputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("mvdecor.shapes.store.write_atomically", full)
    shape_set = MeshFolder(folder(tmp_path / "meshes"))
    shapes, skipped = load_shapes(ShapeStore(shape_set, tmp_path / "cache"), shape_set.ids("train"), "skip")
    assert same(shapes[1], shape_set.load("m1")) and not skipped
    assert "No space left" in capsys.readouterr().out


@pytest.mark.parametrize("line", ['"w.png"', "\\\nw.png", "-s 1 1 1 w.png", "w.png"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r"])
def test_a_changed_image_is_noticed_however_it_is_named(tmp_path, line, encoding, end):
    def write(name: str, text: str) -> None:
        (tmp_path / name).write_bytes(text.replace("\n", end).encode(encoding))

    write("a.mtl", f"newmtl a\nKd 1 1 1\nmap_Kd {line}\n")
    faces = "vt 0 0\nvt 1 0\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3\nf 1/1 2/2 4/3\n"
    write("a.obj", "mtllib a.mtl\n" + TRIANGLES.partition("f ")[0] + faces)
    colours = []
    for colour in ((255, 0, 0), (0, 0, 255)):
        Image.new("RGB", (4, 4), colour).save(tmp_path / "w.png")
        texture = ShapeStore(MeshFolder(tmp_path), tmp_path / "cache").load("a").texture
        colours.append(texture.images[0][0, 0].tolist())
    assert colours == [[255, 0, 0], [0, 0, 255]]


def test_bad_shapes_are_skipped_and_never_kept(tmp_path):
    root = folder(tmp_path / "meshes")
    (root / "m1.obj").write_text("v 0 0\n")
    store = ShapeStore(MeshFolder(root), tmp_path / "cache")
    shapes, skipped = load_shapes(store, ["m0", "m1"], "skip")
    assert shapes.ids == ["m0"] and [id for id, _ in skipped] == ["m1"]
    assert len(list((tmp_path / "cache").iterdir())) == 1
