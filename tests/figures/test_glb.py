"""GLB files open with the faces in order and in the given colours, here and in other readers."""

import io
import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.figures import write_glb
from mvdecor.figures.glb import glb_bytes
from mvdecor.shapes import read_mesh
from mvdecor.shapes.shape import Shape, Texture


def shape(count: int = 40) -> Shape:
    generator = torch.Generator().manual_seed(0)
    faces = torch.stack([torch.randperm(30, generator=generator)[:3] for _ in range(count)])
    if count > 2:
        faces[1], faces[2] = faces[0].flip(0), faces[2, 0]  # a twin, a degenerate face
    return Shape("s", torch.randn(30, 3, generator=generator), faces)


def texels(texture: Texture) -> np.ndarray:
    """uint8 [F, 3, 3]: the texel in which each corner of each face lies."""
    colours = np.empty((len(texture.uv), 3, 3), dtype=np.uint8)
    for face, (uv, image) in enumerate(zip(texture.uv.numpy(), texture.image_ids.tolist(), strict=True)):
        pixels = texture.images[image].numpy()
        column, row = uv[:, 0] * pixels.shape[1], (1 - uv[:, 1]) * pixels.shape[0]
        colours[face] = pixels[row.astype(int), column.astype(int)]
    return colours


def tree_of(data: bytes) -> dict:
    (length,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + length])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 400), st.integers(0, 2**31))
def test_both_readers_give_the_faces_and_colours_that_were_written(tmp_path, count, number, seed):
    mesh, random = shape(count), np.random.default_rng(seed)
    colours = random.integers(0, 256, (number, 3), dtype=np.uint8)[random.integers(0, number, count)]
    write_glb(tmp_path / "sub" / "a.glb", mesh, torch.from_numpy(colours))
    corners = mesh.vertices[mesh.faces]
    own = read_mesh(tmp_path / "sub" / "a.glb")
    assert torch.equal(own.vertices[own.faces], corners)
    np.testing.assert_array_equal(texels(own.texture), colours[:, None].repeat(3, axis=1))
    (other,) = trimesh.load_scene(tmp_path / "sub" / "a.glb", process=False).geometry.values()
    np.testing.assert_array_equal(other.triangles, corners.numpy())
    np.testing.assert_array_equal(other.visual.to_color().vertex_colors[:, :3], colours.repeat(3, axis=0))
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.glb"]


def test_a_program_that_smooths_images_blends_no_two_colours(tmp_path):
    """Halving the image by the mean of four pixels, as smaller copies of textures are made, leaves every colour there."""
    colours = np.random.default_rng(0).integers(0, 256, (40, 3), dtype=np.uint8)
    write_glb(tmp_path / "a.glb", shape(), colours)
    (opened,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    image = opened.visual.material.baseColorTexture.convert("RGB")
    half = np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX))
    u, v = opened.visual.uv[::3].T
    found = half[((1 - v) * len(half)).astype(int), (u * len(half)).astype(int)]
    np.testing.assert_array_equal(found, colours)
    assert image.width == image.height and image.width & (image.width - 1) == 0, "sides that all graphics cards take"


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
    for data in ((tmp_path / "a.glb").read_bytes(), glb_bytes("a", np.zeros((1, 3, 3)), np.zeros((1, 3, 3), np.uint8))):
        tree = tree_of(data)
        (primitive,) = tree["meshes"][0]["primitives"]
        material = tree["materials"][primitive["material"]]
        assert material["doubleSided"] and material["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_colours_of_corners_come_out_of_linear_light_as_they_went_in():
    """Every level of sRGB, decoded as the glTF standard says."""
    levels = np.arange(258, dtype=np.int64).clip(max=255).astype(np.uint8).reshape(-1, 3)
    colours = levels[:, :, None].repeat(3, axis=2)
    mesh = shape(len(colours))
    data = glb_bytes("x", mesh.vertices[mesh.faces].numpy(), colours)
    (opened,) = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False).geometry.values()
    np.testing.assert_array_equal(opened.triangles, mesh.vertices[mesh.faces].numpy())
    tree = tree_of(data)
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = len(data) - tree["buffers"][0]["byteLength"] + tree["bufferViews"][accessor["bufferView"]]["byteOffset"]
    stored = np.frombuffer(data, "<u2", 4 * accessor["count"], start).reshape(-1, 4)
    assert accessor["componentType"] == 5123 and accessor["normalized"] and (stored[:, 3] == 65535).all()
    light = stored[:, :3] / 65535
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(shown.round(), colours.reshape(-1, 3))


def test_one_colour_per_face(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for 40 faces"):
        write_glb(tmp_path / "a.glb", shape(), np.zeros((39, 3), dtype=np.uint8))
    assert list(tmp_path.iterdir()) == []
