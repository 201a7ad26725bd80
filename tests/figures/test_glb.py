"""GLB files open with the faces in order, and with colours that a glTF viewer shows as the pictures do."""

import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.figures import write_glb
from mvdecor.figures.glb import linear
from mvdecor.shapes import read_mesh
from mvdecor.shapes.shape import Shape


def shape() -> Shape:
    generator = torch.Generator().manual_seed(0)
    faces = torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(40)])
    faces[1], faces[2] = faces[0].flip(0), faces[2, 0]  # a twin, a degenerate face
    return Shape("s", torch.randn(30, 3, generator=generator), faces)


def test_faces_and_colours_come_back(tmp_path: Path) -> None:
    mesh, colours = shape(), torch.randint(0, 256, (40, 3), dtype=torch.uint8)
    write_glb(tmp_path / "sub" / "a.glb", mesh, colours)
    (opened,) = trimesh.load_scene(tmp_path / "sub" / "a.glb", process=False).geometry.values()
    np.testing.assert_array_equal(opened.triangles, mesh.vertices[mesh.faces].numpy())
    stored = opened.visual.vertex_attributes["color"]  # with a material beside them they are no `vertex_colors`
    assert (stored[:, 3] == 255).all()
    # what a viewer shows: linear light encoded as sRGB, by the standard's formula
    light = stored[:, :3] / 255
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    off = np.abs(shown - colours.numpy().repeat(3, axis=0))
    assert off[colours.numpy().repeat(3, axis=0) > 50].max() < 4 and off.max() < 13, "dark tones have few levels"
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.glb"]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 5.4e6), (1e60, 0.0), (1e-60, 0.0)])
def test_a_shape_that_float32_would_blur_is_placed_by_its_node(tmp_path: Path, scale: float, offset: float) -> None:
    mesh = shape()
    far = replace(mesh, vertices=mesh.vertices.double() * scale + offset)
    write_glb(tmp_path / "a.glb", far, np.zeros((40, 3), dtype=np.uint8))
    opened = trimesh.load_scene(tmp_path / "a.glb", process=False).to_geometry()
    expected = far.vertices[far.faces].numpy()
    np.testing.assert_allclose(opened.triangles, expected, rtol=0, atol=1e-6 * scale * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = read_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(again.vertices[again.faces].numpy(), expected, rtol=0, atol=1e-6 * scale * 3)


def test_material_is_matt_and_two_sided(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", shape(), np.zeros((40, 3), dtype=np.uint8))
    data = (tmp_path / "a.glb").read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    tree = json.loads(data[20 : 20 + length])
    (primitive,) = tree["meshes"][0]["primitives"]
    material = tree["materials"][primitive["material"]]
    assert material["doubleSided"] and material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert "COLOR_0" in primitive["attributes"]


def test_linear_ends() -> None:
    assert linear(np.array([0, 255], dtype=np.uint8)).tolist() == [0, 255]
    assert linear(np.array([188], dtype=np.uint8)).tolist() == [128], "half the light"


def test_one_colour_a_face(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for 40 faces"):
        write_glb(tmp_path / "a.glb", shape(), np.zeros((39, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
