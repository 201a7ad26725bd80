"""The view cache: what is read is what was written, and nothing else is ever read."""

import hashlib
import os
from dataclasses import replace

import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.shapes import PartNet, RenderPeople, Shape
from mvdecor.views import CachedViews, make_rasterizer, sphere_cameras

BALL = Shape.from_trimesh(trimesh.creation.icosphere(1, 0.8), "ball")


def many_faces(count: int) -> Shape:
    """A shape with `count` faces, all of them the same triangle."""
    return Shape("many", torch.eye(3), torch.tensor([[0, 1, 2]]).expand(count, 3).contiguous())


def filled(folder, shape: Shape = BALL, views: int = 3, size: int = 8, layers: int = 1, seed: int = 0):
    """A cache file of random ids: the file and the ids."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(-1, shape.num_faces, (views, layers, size, size), generator=rng, dtype=torch.int32)
    file = CachedViews(folder, "embree", shape, sphere_cameras(views, size), layers)
    file.write(ids)
    return file, ids


@settings(max_examples=25, deadline=None)
@given(
    faces=st.sampled_from([1, 2, 255, 256, 65_535, 65_536, 70_000, 300_000]),
    views=st.integers(1, 5),
    layers=st.integers(1, 3),
    size=st.integers(1, 20),
    background=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_round_trip_bit_for_bit(tmp_path_factory, faces, views, layers, size, background, seed):
    shape, rng = many_faces(faces), torch.Generator().manual_seed(seed)
    ids = torch.randint(0, faces, (views, layers, size, size), generator=rng, dtype=torch.int32)
    ids[torch.rand(ids.shape, generator=rng) < background] = -1
    ids.view(-1)[-1] = faces - 1
    file = CachedViews(tmp_path_factory.getbasetemp() / "trip", "embree", shape, sphere_cameras(views, size), layers)
    file.write(ids)
    read = file.read()
    assert read.dtype == torch.int32 and torch.equal(read, ids)
    index = torch.randint(views, (3,), generator=rng).tolist()
    assert torch.equal(file.read(index), ids[index])
    assert file.read([]).shape == (0, layers, size, size)


def test_real_views_come_back_and_are_small(partnet_root, people_root, tmp_path):
    people, partnet = (
        RenderPeople(people_root, texture_size=8),
        PartNet(partnet_root, "all", splits="splits_local.json"),
    )
    for shape, least in ((people.load("person_000"), 15), (partnet.load(partnet.ids("all")[0]), 50)):
        cameras = sphere_cameras(2, 256)
        views = make_rasterizer("embree")([shape], [cameras], 2)[0]
        file = CachedViews(tmp_path, "embree", shape, cameras, 2)
        size = file.write(views.face_ids)
        assert torch.equal(file.read(), views.face_ids)
        assert size < 2 * 2 * 1.7e6 / least  # against the 1.7 MB per view of the released code, for each layer


def test_key_changes_with_all_that_the_ids_depend_on(tmp_path):
    cameras = sphere_cameras(3, 8)

    def path(shape=BALL, cameras=cameras, layers=1, rasterizer="embree"):
        return CachedViews(tmp_path, rasterizer, shape, cameras, layers).path

    moved, turned = BALL.vertices.clone(), BALL.faces.clone()
    moved[0, 0] += 1e-6
    turned[0] = turned[0].roll(1)
    others = [
        path(replace(BALL, vertices=moved)),
        path(replace(BALL, faces=turned)),
        path(replace(BALL, faces=BALL.faces[:-1])),
        *(path(cameras=sphere_cameras(*args)) for args in ((4, 8), (3, 9), (3, 8, 1), (3, 8, 0, 50.0))),
        path(cameras=sphere_cameras(3, 8, distance=(1.4, 2.1))),
        path(cameras=sphere_cameras(3, 8, jitter=0.05)),
        path(cameras=cameras[[1, 0, 2]]),
        path(layers=2),
        path(rasterizer="pytorch3d"),
    ]
    assert len({path(), *others}) == len(others) + 1
    same = replace(BALL, id="other", category="x", face_labels=torch.zeros(BALL.num_faces).long(), label_names=("a",))
    assert path(same) == path(), "neither names nor labels change what cameras see"


def damages():
    """Ways to damage a file: what it is called, bytes to bytes."""
    yield "empty", lambda b: b""
    yield "cut in the table", lambda b: b[:70]
    yield "cut by a byte", lambda b: b[:-1]
    yield "longer", lambda b: b + b"x"
    yield "another file", lambda b: b"x" * len(b)
    for position in (0, 9, 13, 20, 45, 62, 75, -1):
        yield f"byte {position}", lambda b, p=position: flip(b, p)


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x41
    return bytes(changed)


@pytest.mark.parametrize("damage", [pytest.param(d, id=name) for name, d in damages()])
def test_damage_is_one_clear_message(tmp_path, damage):
    file, _ = filled(tmp_path)
    file.path.write_bytes(damage(file.path.read_bytes()))
    with pytest.raises(InputError, match=r"views of shape ball: .*: remove the file") as error:
        file.read()
    assert str(file.path) in str(error.value) and "\n" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory, position, bit):
    file, _ = filled(tmp_path_factory.mktemp("bit"))
    content = bytearray(file.path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    file.path.write_bytes(content)
    with pytest.raises(InputError):
        file.read()


def test_files_of_others_and_lies_are_refused(tmp_path):
    file, ids = filled(tmp_path)
    other, _ = filled(tmp_path, many_faces(BALL.num_faces))
    file.path.write_bytes(other.path.read_bytes())
    with pytest.raises(InputError, match="another mesh or other cameras"):
        file.read()
    file.write(ids + 1)  # sound in all checksums, but the last face has no successor
    with pytest.raises(InputError, match="names faces"):
        file.read()
    content = bytearray(file.path.read_bytes())
    content[60:68] = (2**60).to_bytes(8, "little")  # a block of an exabyte, with the right checksum of the header
    head = 60 + 3 * 24
    content[head : head + 32] = hashlib.sha256(content[:head]).digest()
    file.path.write_bytes(content)
    with pytest.raises(InputError, match="shorter or longer"):
        file.read()


def test_missing_file_and_folders(tmp_path):
    file = CachedViews(tmp_path / "a" / "b", "embree", BALL, sphere_cameras(2, 4))
    assert not file.exists() and not file.path.parent.exists()
    with pytest.raises(InputError, match="cannot be read"):
        file.read()
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*\.views"):
        file.write(torch.zeros(2, 1, 4, 4, dtype=torch.int32))


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file, ids = filled(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        file.write(torch.zeros_like(ids))
    monkeypatch.undo()
    assert torch.equal(file.read(), ids)
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name], "no half-written file stays"
