import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette, write_ply
from mvdecor.shapes import read_mesh
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import Shape
from tests.readers import ply_labels

NAMES = ("seat", "back = rest", "leg\nof chair", "Füße")


def _shape(count: int = 40) -> Shape:
    generator = torch.Generator().manual_seed(0)
    faces = torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(count)])
    faces[1] = faces[0].flip(0)  # a twin
    faces[2] = faces[2, 0]  # degenerate
    labels = torch.randint(-1, len(NAMES), (count,), generator=generator)
    return Shape("s", torch.randn(30, 3, generator=generator), faces, labels, NAMES)


def test_labels_and_names_come_back(tmp_path: Path) -> None:
    shape = _shape()
    for k, vertex_colours in enumerate((True, False)):
        path = tmp_path / "sub" / f"{k}.ply"
        write_ply(path, shape, shape.face_labels, scalars={"confidence": torch.rand(40)}, vertex_colours=vertex_colours)
        labels, names = ply_labels(path)
        assert labels.dtype == torch.int64 and torch.equal(labels, shape.face_labels)
        assert names == ("seat", "back = rest", "leg of chair", "Füße")
    assert sorted(os.listdir(tmp_path / "sub")) == ["0.ply", "1.ply"]


@pytest.mark.parametrize("vertex_colours", [True, False])
def test_other_readers_read_names_that_are_not_ascii(tmp_path: Path, vertex_colours: bool) -> None:
    names = ("Füße", "木", "back\\slash", 'say "leg"', "\U0001f600", "end_header", "plain", "\udc80")
    shape = replace(_shape(), label_names=names)
    write_ply(tmp_path / "a.ply", shape, shape.face_labels, vertex_colours=vertex_colours)
    header = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[0]
    assert header.isascii() and b"comment label 6 = plain\n" in header
    labels, back = ply_labels(tmp_path / "a.ply")
    assert back == names and torch.equal(labels, shape.face_labels)
    again, theirs = read_mesh(tmp_path / "a.ply"), trimesh.load(tmp_path / "a.ply", process=False)
    for found in (again.vertices[again.faces], torch.from_numpy(theirs.vertices[theirs.faces]).float()):
        assert torch.equal(found, shape.vertices[shape.faces])
    colours = 255 * sample_texture(again.texture, again.texture.image_ids, again.texture.uv.mean(dim=1))
    expected = colours_of(shape.face_labels.numpy(), label_palette(len(names)))
    np.testing.assert_allclose(colours.numpy(), expected, atol=0.6)


@pytest.mark.parametrize("vertex_colours", [True, False])
def test_a_shape_far_from_the_origin_loses_nothing(tmp_path: Path, vertex_colours: bool) -> None:
    shape = _shape()
    far = replace(shape, vertices=shape.vertices.double() + torch.tensor([500_000.0, 100.0, 5_400_000.0]))
    write_ply(tmp_path / "a.ply", far, shape.face_labels, vertex_colours=vertex_colours)
    again, theirs = read_mesh(tmp_path / "a.ply"), trimesh.load(tmp_path / "a.ply", process=False)
    assert torch.equal(again.vertices[again.faces], far.vertices[far.faces])
    np.testing.assert_array_equal(theirs.vertices[theirs.faces], far.vertices[far.faces].numpy())
    assert torch.equal(ply_labels(tmp_path / "a.ply")[0], shape.face_labels)


@pytest.mark.parametrize("vertex_colours", [True, False])
def test_trimesh_sees_the_same_faces_in_order_and_their_properties(tmp_path: Path, vertex_colours: bool) -> None:
    shape, confidence = _shape(), torch.rand(40)
    colours = torch.randint(0, 256, (40, 3), dtype=torch.uint8)
    path = tmp_path / "a.ply"
    write_ply(path, shape, shape.face_labels, colours, {"confidence": confidence}, vertex_colours)
    mesh = trimesh.load(path, process=False, maintain_order=True)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces].astype(np.float32), shape.vertices[shape.faces].numpy())
    raw = mesh.metadata["_ply_raw"]["face"]["data"]
    np.testing.assert_array_equal(raw["label"].reshape(-1), shape.face_labels.numpy())
    np.testing.assert_array_equal(raw["confidence"].reshape(-1), confidence.numpy())
    for k, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(raw[name].reshape(-1), colours[:, k].numpy())
    if vertex_colours:
        assert len(mesh.vertices) == 120
        seen = np.asarray(mesh.visual.vertex_colors)[mesh.faces][..., :3]
        np.testing.assert_array_equal(seen, colours[:, None].expand(-1, 3, -1).numpy())
    else:
        assert len(mesh.vertices) == 30
        np.testing.assert_array_equal(np.asarray(mesh.visual.face_colors)[:, :3], colours.numpy())


def test_default_colours_are_those_of_the_labels(tmp_path: Path) -> None:
    shape = _shape()
    write_ply(tmp_path / "a.ply", shape, shape.face_labels, vertex_colours=False)
    mesh = trimesh.load(tmp_path / "a.ply", process=False)
    palette = np.concatenate([label_palette(len(NAMES)), [[205, 205, 205]]])  # -1 takes the last
    np.testing.assert_array_equal(np.asarray(mesh.visual.face_colors)[:, :3], palette[shape.face_labels])


def test_a_mesh_without_labels_has_no_label_property(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", _shape())
    assert b"property int label" not in (tmp_path / "a.ply").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"face_labels": torch.zeros(39, dtype=torch.int64)}, r"labels \[39\] for 40 faces"),
        ({"face_labels": torch.full((40,), 4)}, "4 label names"),
        ({"face_colours": torch.zeros(40, 4, dtype=torch.uint8)}, r"colours \[40, 4\]"),
        ({"scalars": {"confidence": torch.zeros(3)}}, r"confidence \[3\] for 40 faces"),
        ({"scalars": {"red": torch.zeros(40)}}, "'red' cannot name"),
        ({"scalars": {"two words": torch.zeros(40)}}, "'two words' cannot name"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_ply(tmp_path / "a.ply", _shape(), **arguments)
    assert os.listdir(tmp_path) == []
