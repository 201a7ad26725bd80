import json
import struct
import warnings

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.shapes.mesh_files import mesh_of, read_mesh
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import Texture
from mvdecor.shapes.texture import corner_image
from tests.readers import as_trimesh

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0]], dtype=float)
POLYGONS = [[0, 1, 2, 3], [1, 4, 5], [1, 5, 2], [0, 1, 4, 5, 2]]
RGB = ("red", "green", "blue")
FANS = [[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2], [0, 1, 4], [0, 4, 5], [0, 5, 2]]


def shuffled_mesh(seed=0):
    """A mesh whose faces are in an arbitrary order; one is doubled, one turned around, one degenerate."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    faces = np.random.default_rng(seed).permutation(np.asarray(mesh.faces))
    faces = np.concatenate([faces, faces[3:4], faces[5:6, ::-1], faces[7:8, [0, 0, 1]]])
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


def corners(shape):
    return shape.vertices[shape.faces].numpy()


@pytest.mark.parametrize("suffix", ["obj", "ply", "off", "stl", "glb", "gltf"])
def test_faces_keep_their_order_in_every_format(tmp_path, suffix):
    mesh = shuffled_mesh()
    if suffix == "gltf":
        for name, data in trimesh.Scene(mesh).export(file_type="gltf").items():
            (tmp_path / name).write_bytes(data)
        path = tmp_path / "model.gltf"
    else:
        path = tmp_path / f"mesh.{suffix}"
        mesh.export(path)
    shape = read_mesh(path)
    assert np.allclose(corners(shape), np.asarray(mesh.vertices)[mesh.faces], atol=1e-6)
    assert (shape.id, shape.face_labels, shape.texture) == (path.stem, None, None)


def test_ascii_stl_and_ply(tmp_path):
    mesh = shuffled_mesh()
    (tmp_path / "a.stl").write_text(trimesh.exchange.stl.export_stl_ascii(mesh))
    (tmp_path / "a.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding="ascii"))
    for suffix in ("stl", "ply"):
        assert np.allclose(
            corners(read_mesh(tmp_path / f"a.{suffix}")), np.asarray(mesh.vertices)[mesh.faces], atol=1e-6
        )


def write_ply(path, polygons, binary):
    form = "binary_little_endian" if binary else "ascii"
    header = f"ply\nformat {form} 1.0\nelement vertex 6\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    header += f"element face {len(polygons)}\nproperty list uchar int vertex_indices\nend_header\n"
    if binary:
        rows = b"".join(struct.pack(f"<B{len(p)}i", len(p), *p) for p in polygons)
        path.write_bytes(header.encode() + VERTICES.astype("<f4").tobytes() + rows)
    else:
        rows = [" ".join(map(str, v)) for v in VERTICES] + [" ".join(map(str, [len(p), *p])) for p in polygons]
        path.write_text(header + "\n".join(rows) + "\n")


def test_polygons_are_split_where_they_stand(tmp_path):
    write_ply(tmp_path / "a.ply", POLYGONS, binary=False)
    assert read_mesh(tmp_path / "a.ply").faces.tolist() == FANS
    write_ply(tmp_path / "b.ply", [[0, 1, 2, 3], [1, 4, 5, 2]], binary=True)
    assert read_mesh(tmp_path / "b.ply").faces.tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 5], [1, 5, 2]]
    rows = [" ".join(map(str, v)) for v in VERTICES] + [" ".join(map(str, [len(p), *p])) + " 255 0 0" for p in POLYGONS]
    (tmp_path / "a.off").write_text("OFF # a comment\n6 4 0\n\n" + "\n".join(rows))
    assert read_mesh(tmp_path / "a.off").faces.tolist() == FANS
    (tmp_path / "b.off").write_text("OFF6 4 0\n" + "\n".join(rows))  # as some ModelNet files have it
    assert read_mesh(tmp_path / "b.off").faces.tolist() == FANS
    lines = [f"v {x} {y} {z}" for x, y, z in VERTICES] + ["f " + " ".join(str(i + 1) for i in p) for p in POLYGONS]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    assert read_mesh(tmp_path / "a.obj").faces.tolist() == FANS


def test_mixed_polygons_in_binary(tmp_path):
    # the second file is as long as if all its faces had as many corners as the first
    for polygons in (POLYGONS, [[0, 1, 2, 3], [1, 4, 5], [0, 1, 4, 5, 2]]):
        write_ply(tmp_path / "a.ply", polygons, binary=True)
        write_ply(tmp_path / "b.ply", polygons, binary=False)
        assert read_mesh(tmp_path / "a.ply").faces.tolist() == read_mesh(tmp_path / "b.ply").faces.tolist()


def write_scene(path):
    """Three geometries of different sizes; the first one is placed twice."""
    parts = {
        "zeta": trimesh.creation.box(),
        "alpha": trimesh.creation.icosphere(1),
        "mid": trimesh.creation.cylinder(0.3, 1),
    }
    scene = trimesh.Scene()
    for number, (name, mesh) in enumerate(parts.items()):
        place = trimesh.transformations.rotation_matrix(0.3 + number, [1, 2, 3]) * 2
        place[:3, 3], place[3, 3] = [3 * number, 0, 0], 1
        scene.add_geometry(mesh, geom_name=name, node_name=f"node_{name}", transform=place)
    scene.graph.update(frame_to="other", geometry="zeta", matrix=trimesh.transformations.translation_matrix([0, 9, 0]))
    scene.export(path)
    return [scene.graph[f"node_{name}"][0] for name in parts], list(parts.values())


def test_scenes_are_placed_and_in_the_files_order(tmp_path):
    places, parts = write_scene(tmp_path / "scene.glb")
    again = trimesh.transformations.translation_matrix([0, 9, 0])
    order = [(parts[0], places[0]), (parts[0], again), (parts[1], places[1]), (parts[2], places[2])]
    expected = []
    for mesh, place in order:
        homogeneous = np.column_stack([mesh.vertices, np.ones(len(mesh.vertices))])
        expected.append((homogeneous @ place.T)[:, :3][mesh.faces])
    shape = read_mesh(tmp_path / "scene.glb")
    assert np.allclose(corners(shape), np.concatenate(expected), atol=1e-5)


def textured(image=None, color=None):
    mesh = trimesh.creation.box()
    uv = np.random.default_rng(0).random((len(mesh.vertices), 2))
    material = PBRMaterial(baseColorTexture=image, baseColorFactor=color)
    mesh.visual = TextureVisuals(uv=uv, material=material)
    return mesh, uv


def test_textures_and_plain_colours_of_glb(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (4, 8, 3), dtype=np.uint8)
    picture, uv = textured(Image.fromarray(pixels))
    red, _ = textured(color=[255, 0, 0, 255])
    bare = trimesh.creation.icosphere(1)
    trimesh.Scene({"a": picture, "b": red, "c": bare}).export(tmp_path / "scene.glb")
    shape = read_mesh(tmp_path / "scene.glb")
    texture = shape.texture
    assert texture.image_ids.tolist() == [0] * 12 + [1] * 12 + [2] * 80
    assert np.array_equal(texture.images[0], pixels)
    assert texture.images[1].tolist() == [[[255, 0, 0]]]
    assert np.allclose(texture.uv[:12], uv[picture.faces], atol=1e-6)  # bottom left is (0, 0)
    assert read_mesh(tmp_path / "scene.glb", texture_size=4).texture.images[0].shape == (2, 4, 3)


def test_textured_obj_written_by_trimesh(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (4, 8, 3), dtype=np.uint8)
    mesh, uv = textured(Image.fromarray(pixels))
    mesh.visual.material = mesh.visual.material.to_simple()
    mesh.export(tmp_path / "box.obj")
    shape = read_mesh(tmp_path / "box.obj")
    assert np.allclose(corners(shape), mesh.vertices[mesh.faces])
    assert np.allclose(shape.texture.uv, uv[mesh.faces], atol=1e-6)
    assert np.array_equal(shape.texture.images[0], pixels)


def sampled_colours(shape, weights):
    """float [F, 3], 0 to 255: what each face shows at a point of barycentric coordinates [F, 3]."""
    uv = (torch.from_numpy(weights).float()[..., None] * shape.texture.uv).sum(dim=1)
    return 255 * sample_texture(shape.texture, shape.texture.image_ids, uv).numpy()


@pytest.mark.parametrize("suffix", ["ply", "obj"])
def test_colours_of_vertices_are_interpolated(tmp_path, suffix):
    mesh, random = trimesh.creation.icosphere(3), np.random.default_rng(0)
    colours = 128 + 30 * mesh.vertices + random.integers(-4, 5, (len(mesh.vertices), 3))  # far from black and white
    mesh.visual.vertex_colors = np.column_stack([colours, np.full(len(colours), 9)]).round().astype(np.uint8)
    mesh.export(tmp_path / f"a.{suffix}")
    shape = read_mesh(tmp_path / f"a.{suffix}")
    assert corners(shape) == pytest.approx(mesh.vertices[mesh.faces], abs=1e-6)
    for weights in (*np.eye(3)[:, None].repeat(len(mesh.faces), axis=1), random.dirichlet([1, 1, 1], len(mesh.faces))):
        linear = (weights[..., None] * mesh.visual.vertex_colors[mesh.faces][..., :3]).sum(axis=1)
        assert sampled_colours(shape, weights) == pytest.approx(linear, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_any_colours_of_corners_are_right_at_the_corners_and_nearly_between(seed, faces):
    random = np.random.default_rng(seed)
    colours = random.integers(0, 256, (faces, 3, 3), dtype=np.uint8)
    image, uv = corner_image(colours)
    texture = Texture(torch.from_numpy(uv).float(), (image,), torch.zeros(faces, dtype=torch.int64))
    shape = Shape("a", torch.eye(3), torch.tensor([[0, 1, 2]] * faces), texture=texture)
    for corner, weights in enumerate(np.eye(3)):
        assert sampled_colours(shape, weights[None].repeat(faces, axis=0)) == pytest.approx(
            colours[:, corner], abs=0.05
        )
    weights = random.dirichlet([1, 1, 1], faces)
    linear = (weights[..., None] * colours).sum(axis=1)
    assert np.abs(sampled_colours(shape, weights) - linear).max() <= 255 / 4 + 0.05


def test_colours_of_faces_and_of_polygons(tmp_path):
    mesh = trimesh.creation.box()
    mesh.visual.face_colors = np.random.default_rng(0).integers(0, 255, (12, 4), dtype=np.uint8)
    shape = mesh_of(mesh)
    weights = np.random.default_rng(1).dirichlet([1, 1, 1], 12)
    assert sampled_colours(shape, weights) == pytest.approx(mesh.visual.face_colors[:, :3].astype(float), abs=0.05)
    write_ply(tmp_path / "a.ply", POLYGONS, binary=False)
    header, _, rest = (tmp_path / "a.ply").read_text().partition("end_header\n")
    header = header.replace("property float z\n", "property float z\n" + "".join(f"property uchar {c}\n" for c in RGB))
    rows = rest.splitlines()
    rows[:6] = [f"{row} {40 * i} 0 200" for i, row in enumerate(rows[:6])]
    (tmp_path / "a.ply").write_text(header + "end_header\n" + "\n".join(rows) + "\n")
    shape = read_mesh(tmp_path / "a.ply")
    assert shape.faces.tolist() == FANS
    first = sampled_colours(shape, np.eye(3)[[0]].repeat(len(FANS), axis=0))
    assert first == pytest.approx(np.array([[40 * face[0], 0, 200] for face in FANS]), abs=0.05)


def test_what_is_left_out_is_one_warning_and_nothing_on_the_terminal(tmp_path, capfd):
    mesh = shuffled_mesh()
    text = trimesh.exchange.stl.export_stl_ascii(mesh)
    (tmp_path / "a.stl").write_text(text.replace("facet normal ", "colour 1 0 0\nfacet normal x", 1))
    with pytest.warns(UserWarning, match=r"a\.stl: 1 lines that are no STL are left out") as warned:
        shape = read_mesh(tmp_path / "a.stl")
    assert len(warned) == 1 and capfd.readouterr() == ("", "")
    assert np.allclose(corners(shape), np.asarray(mesh.vertices)[mesh.faces], atol=1e-6)


def test_numbers_of_an_obj_that_may_be_no_colours_are_left_out_with_a_warning(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0 255 0 0\nv 1 0 0 0 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n")
    with pytest.warns(UserWarning, match="not taken for colours"):
        assert read_mesh(tmp_path / "a.obj").texture is None
    (tmp_path / "a.obj").write_text("v 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0 0 0 0\nf 1 2 3\n")
    with pytest.warns(UserWarning, match="only 2 of 3 vertices have a colour"):
        assert read_mesh(tmp_path / "a.obj").texture is None


def test_missing_images_of_gltf_and_ply_are_named(tmp_path):
    picture, _ = textured(Image.new("RGB", (4, 4)))
    for name, data in trimesh.Scene(picture).export(file_type="gltf").items():
        (tmp_path / name).write_bytes(data)
    content = json.loads((tmp_path / "model.gltf").read_text())
    content["images"] = [{"uri": "my%20wood.png"}]
    (tmp_path / "model.gltf").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"model\.gltf: .*my wood\.png, its images\[0\].*is missing"):
        read_mesh(tmp_path / "model.gltf")
    write_ply(tmp_path / "a.ply", [[0, 1, 2]], binary=False)
    text = (tmp_path / "a.ply").read_text().replace("element vertex", "comment TextureFile skin.png\nelement vertex")
    text = text.replace("property float y\nproperty float z", "property float s\nproperty float t").replace(
        "property float x", "property float x\nproperty float y\nproperty float z"
    )
    header, _, rest = text.partition("end_header\n")
    rows = [f"{row} 0 0" if k < 6 else row for k, row in enumerate(rest.splitlines())]
    (tmp_path / "a.ply").write_text(header + "end_header\n" + "\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"a\.ply: .*skin\.png, which it names, is missing"):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["a.obj", "a.ply", "a.off", "a.stl", "a.glb", "a.gltf"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x01\x02 this is no mesh", b"hello\n" * 40])
def test_files_that_are_no_mesh_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as error:
            read_mesh(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_other_bad_files_are_named(tmp_path):
    trimesh.PointCloud(VERTICES).export(tmp_path / "points.ply")
    (tmp_path / "short.off").write_text("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    (tmp_path / "thin.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n")
    (tmp_path / "range.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "a.step").write_text("")
    cases = {
        "points.ply": "has no faces",
        "short.off": "ends before its 3 vertices and 2 faces",
        "thin.off": "fewer corners than it says",
        "range.off": "refers to vertex 3 of 3",
        "nan.obj": "NaN or infinite",
        "a.step": ".step is not a mesh format",
        "gone.ply": "no such file",
    }
    for name, message in cases.items():
        with pytest.raises(InputError) as error:
            read_mesh(tmp_path / name)
        assert message in str(error.value)
        assert name in str(error.value)


def test_real_part_files_read_as_meshes(partnet_root):
    path = partnet_root / "data_v0/3517/objs"
    for file in sorted(path.glob("*.obj"))[:3]:
        assert read_mesh(file).num_faces == sum(line.startswith("f ") for line in file.open())


def test_a_real_person_through_other_formats(people_root, tmp_path):
    shape = read_mesh(people_root / "person_001/person_001.obj")
    for suffix in ("ply", "stl", "glb"):
        as_trimesh(shape).export(tmp_path / f"person.{suffix}")
        again = read_mesh(tmp_path / f"person.{suffix}")
        assert torch.allclose(again.vertices[again.faces], shape.vertices[shape.faces], atol=1e-6)


def test_polygons_of_triangles(tmp_path):
    """Which face of the file each triangle was cut from."""
    vertices = "\n".join(f"v {x} {y} {z}" for x, y, z in VERTICES)
    faces = "\n".join("f " + " ".join(str(i + 1) for i in polygon) for polygon in POLYGONS)
    (tmp_path / "a.obj").write_text(f"{vertices}\n{faces}\n")
    rows = "\n".join(f"{len(p)} {' '.join(map(str, p))}" for p in POLYGONS)
    points = "\n".join(" ".join(map(str, v)) for v in VERTICES)
    (tmp_path / "a.off").write_text(f"OFF\n6 4 0\n{points}\n{rows}\n")
    write_ply(tmp_path / "a.ply", POLYGONS, binary=False)
    for suffix in ("obj", "off", "ply"):
        shape = read_mesh(tmp_path / f"a.{suffix}")
        assert shape.polygons.tolist() == [0, 0, 1, 2, 3, 3, 3], suffix
        assert shape.faces.tolist() == FANS
        assert shape.normalized().to("cpu").polygons.tolist() == [0, 0, 1, 2, 3, 3, 3]
    for suffix in ("obj", "ply", "off", "stl", "glb"):
        shuffled_mesh().export(tmp_path / f"b.{suffix}")
        assert read_mesh(tmp_path / f"b.{suffix}").polygons is None


def test_mesh_in_memory_is_read_as_its_file(tmp_path):
    mesh = shuffled_mesh()
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    uv = np.random.default_rng(0).random((len(mesh.vertices), 2))
    mesh.visual = TextureVisuals(uv=uv, material=PBRMaterial(baseColorTexture=image))
    scene = trimesh.Scene([mesh])
    scene.add_geometry(mesh.copy(), transform=trimesh.transformations.translation_matrix([3, 0, 0]))
    scene.export(tmp_path / "a.glb")
    file, memory = read_mesh(tmp_path / "a.glb"), mesh_of(scene, id="a")
    assert torch.equal(memory.faces, file.faces)
    assert torch.allclose(memory.vertices, file.vertices)
    assert torch.equal(memory.texture.images[0], file.texture.images[0])
    assert torch.allclose(memory.texture.uv, file.texture.uv, atol=1e-6)
    assert np.allclose(corners(mesh_of(mesh)), np.asarray(mesh.vertices)[mesh.faces])
    with pytest.raises(InputError, match="a PointCloud is no mesh"):
        mesh_of(trimesh.PointCloud(mesh.vertices))
