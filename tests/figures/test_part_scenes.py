"""`original.glb`: every face in the node of its part, in its part's colour, where it was, with what it had."""

import io
import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

from mvdecor.errors import InputError
from mvdecor.figures import label_palette
from mvdecor.figures.glb_file import INDICES, VERTICES, Glb
from mvdecor.figures.labelled_gltf import face_sources, write_labelled_gltf
from mvdecor.figures.part_scene import write_part_scene
from mvdecor.shapes import read_mesh
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.shape import Shape, Texture

NAMES = ("leg", "Sitzfläche", "back, upper")


def tree_of(path) -> dict:
    data = path.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    return json.loads(data[20 : 20 + length])


def faces_by_part(path) -> dict[str, list]:
    """Sorted corners of all faces, by the name of their node, as trimesh reads them."""
    scene = trimesh.load_scene(path, process=False)
    names = {node["name"]: node["extras"]["label_name"] for node in tree_of(path)["nodes"] if "extras" in node}
    parts: dict[str, list] = {}
    for node in scene.graph.nodes_geometry:
        transform, geometry = scene.graph[node]
        mesh = scene.geometry[geometry].copy().apply_transform(transform)
        original = next(name for name in names if node == name or node.startswith(f"{name}_"))
        parts.setdefault(names[original], []).extend(mesh.triangles.round(4).reshape(-1, 9).tolist())
    return {name: sorted(faces) for name, faces in parts.items()}


def expected(corners: np.ndarray, labels: np.ndarray) -> dict[str, list]:
    return {
        NAMES[label]: sorted(corners[labels == label].round(4).reshape(-1, 9).tolist()) for label in np.unique(labels)
    }


def colours_of_faces(shape: Shape) -> np.ndarray:
    """uint8 [F, 3] of a shape whose faces have one colour each."""
    return torch.stack([shape.texture.images[i][0, 0] for i in shape.texture.image_ids.tolist()]).numpy()


@pytest.fixture
def chair(tmp_path):
    """A file of three nodes: a textured seat and two legs of one mesh with two primitives, turned and scaled."""
    seat = trimesh.creation.box((4.0, 0.5, 4.0))
    uv = np.random.default_rng(0).random((len(seat.vertices), 2))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    seat.visual = trimesh.visual.TextureVisuals(uv=uv, material=PBRMaterial(name="wood", baseColorTexture=image))
    scene = trimesh.Scene()
    scene.add_geometry(seat, node_name="seat", geom_name="seat")
    leg = trimesh.creation.cylinder(0.25, 2, sections=8)
    scene.add_geometry(leg, node_name="left", geom_name="leg", transform=np.diag([1.0, 2.0, 4.0, 1.0]))
    scene.graph.update(
        "right", geometry="leg", matrix=trimesh.transformations.rotation_matrix(0.5, (1, 0, 0), (1, 2, 3))
    )
    scene.export(tmp_path / "chair.glb")
    return tmp_path / "chair.glb"


def test_a_gltf_file_keeps_its_nodes_and_gets_a_child_per_part(chair, tmp_path):
    mesh = read_gltf(chair)
    labels = np.random.default_rng(0).integers(0, 3, len(mesh.faces))
    out = tmp_path / "original.glb"
    write_labelled_gltf(out, chair, mesh, labels, NAMES)
    assert faces_by_part(out) == expected(mesh.vertices[mesh.faces], labels)
    before, after = tree_of(chair), tree_of(out)
    for number, node in enumerate(before["nodes"]):
        kept = after["nodes"][number]
        assert (kept["name"], kept.get("matrix")) == (node["name"], node.get("matrix"))
        if "mesh" in node:
            children = [after["nodes"][child] for child in kept["children"]]
            assert {child["name"] for child in children} <= set(NAMES) and "mesh" not in kept
    assert len(after["images"]) == len(before["images"])
    textured = [p for mesh in after["meshes"] for p in mesh["primitives"] if "TEXCOORD_0" in p["attributes"]]
    originals = {p["extensions"]["KHR_materials_variants"]["mappings"][0]["material"] for p in textured}
    assert [after["materials"][number]["name"] for number in originals] == ["wood"]
    assert after["extensions"]["KHR_materials_variants"]["variants"] == [{"name": "original"}]


def test_each_part_has_the_colour_of_the_pictures(chair, tmp_path):
    mesh = read_gltf(chair)
    labels = np.arange(len(mesh.faces)) % 3
    write_labelled_gltf(tmp_path / "original.glb", chair, mesh, labels, NAMES)
    shape = read_mesh(tmp_path / "original.glb")
    corners = shape.vertices[shape.faces].numpy().round(3).reshape(-1, 9)
    found = {
        tuple(c): tuple(colour) for c, colour in zip(corners.tolist(), colours_of_faces(shape).tolist(), strict=True)
    }
    palette = label_palette(3).tolist()
    for corner, label in zip(
        mesh.vertices[mesh.faces].astype(np.float32).round(3).reshape(-1, 9).tolist(), labels, strict=True
    ):
        assert found[tuple(corner)] == tuple(palette[label])
    names = {material["name"] for material in tree_of(tmp_path / "original.glb")["materials"]}
    assert set(NAMES) <= names


def test_sources_name_node_primitive_and_triangle(chair):
    """Each face is found again by these numbers alone, through the JSON and the buffers."""
    mesh, tree = read_gltf(chair), tree_of(chair)
    scene = trimesh.load_scene(chair, process=False)
    for face, (node, instance, number, primitive, triangle) in enumerate(face_sources(mesh).tolist()):
        assert tree["nodes"][node]["mesh"] == number and (instance, primitive) == (0, 0)
        name = tree["nodes"][node]["name"]
        transform, geometry = scene.graph[name]
        corners = trimesh.transform_points(scene.geometry[geometry].triangles[triangle], transform)
        np.testing.assert_allclose(mesh.vertices[mesh.faces[face]], corners, atol=1e-5)


def two_primitives(with_lines: bool) -> Glb:
    """A strip with colours of vertices and a list of triangles in one mesh, three times placed by instances."""
    glb = Glb()
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 2, 0]], dtype=np.float32)
    at = glb.accessor(positions, VERTICES)
    colours = glb.accessor(np.full((5, 3), 128, dtype=np.uint8), VERTICES, normalized=True)
    strip = {"attributes": {"POSITION": at, "COLOR_0": colours}, "mode": 5}
    corners = glb.accessor(np.array([0, 2, 4, 1, 3, 4], dtype=np.uint16), INDICES)
    plain = {"attributes": {"POSITION": at}, "indices": corners}
    lines = [{"attributes": {"POSITION": at}, "mode": 1, "indices": glb.accessor(np.array([0, 1], np.uint8), INDICES)}]
    mesh = glb.add("meshes", {"primitives": [strip, plain, *(lines if with_lines else [])]})
    moved = glb.accessor(np.array([[0, 0, 0], [5, 0, 0], [0, 5, 0]], dtype=np.float32), VERTICES)
    turned = glb.accessor(np.array([[0, 0, 0, 1], [0, 0, 0.6, 0.8], [1, 0, 0, 0]], dtype=np.float32), VERTICES)
    instancing = {"attributes": {"TRANSLATION": moved, "ROTATION": turned}}
    node = glb.add("nodes", {"mesh": mesh, "scale": [1, 2, 3], "extensions": {"EXT_mesh_gpu_instancing": instancing}})
    glb.tree.update(scene=0, scenes=[{"nodes": [node]}], extensionsUsed=["EXT_mesh_gpu_instancing"])
    glb.tree["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    return glb


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("with_lines", [False, True])
def test_instances_strips_lines_and_colours_of_vertices(tmp_path, with_lines):
    (tmp_path / "a.glb").write_bytes(two_primitives(with_lines).content())
    mesh = read_gltf(tmp_path / "a.glb")
    assert len(mesh.faces) == 3 * 5
    labels = np.arange(15) % 3
    write_labelled_gltf(tmp_path / "b.glb", tmp_path / "a.glb", mesh, labels, NAMES)
    tree = tree_of(tmp_path / "b.glb")
    assert "extensionsRequired" not in tree and "EXT_mesh_gpu_instancing" not in tree.get("extensionsUsed", [])
    assert sum(p.get("mode") == 1 for m in tree["meshes"] for p in m["primitives"]) == with_lines
    shape = read_mesh(tmp_path / "b.glb")
    found = sorted(
        (*corners, *colour)
        for corners, colour in zip(
            shape.vertices[shape.faces].numpy().round(3).reshape(-1, 9).tolist(),
            colours_of_faces(shape).tolist(),
            strict=True,
        )
    )
    truth = sorted(
        (*corners, *label_palette(3)[label].tolist())
        for corners, label in zip(
            mesh.vertices[mesh.faces].astype(np.float32).round(3).reshape(-1, 9).tolist(), labels, strict=True
        )
    )
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_files_beside_a_gltf_come_into_the_glb(tmp_path):
    mesh = trimesh.creation.box()
    image = Image.new("RGB", (2, 2), (255, 0, 0))
    mesh.visual = trimesh.visual.TextureVisuals(np.zeros((8, 2)), PBRMaterial(baseColorTexture=image))
    (tmp_path / "in").mkdir()
    for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(mesh)).items():
        (tmp_path / "in" / name).write_bytes(data)
    (source,) = (tmp_path / "in").glob("*.gltf")
    tree = json.loads(source.read_text())
    (tmp_path / "in" / "rot.png").write_bytes(encoded(image))
    tree["images"] = [{"uri": "rot.png"}]
    source.write_text(json.dumps(tree))
    write_labelled_gltf(tmp_path / "o.glb", source, read_gltf(source), np.zeros(12, dtype=np.int64), NAMES)
    (tmp_path / "in").rename(tmp_path / "gone")
    assert faces_by_part(tmp_path / "o.glb").keys() == {"leg"}
    assert tree_of(tmp_path / "o.glb")["images"][0]["mimeType"] == "image/png"
    assert not [b for b in tree_of(tmp_path / "o.glb")["buffers"] if "uri" in b]


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


@pytest.mark.parametrize("textured", [False, True])
def test_a_shape_becomes_a_scene_of_its_parts(tmp_path, textured):
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 20, (50, 3), generator=generator)
    texture = None
    if textured:
        images = tuple(torch.randint(0, 256, (4, 4, 3), dtype=torch.uint8, generator=generator) for _ in range(2))
        texture = Texture(torch.rand(50, 3, 2, generator=generator), images, torch.arange(50) % 2)
    shape = Shape("s", torch.randn(20, 3, generator=generator), faces, label_names=NAMES, texture=texture)
    labels = np.random.default_rng(0).integers(0, 2, 50)  # one part has no face
    write_part_scene(tmp_path / "o.glb", shape, labels)
    assert faces_by_part(tmp_path / "o.glb") == expected(shape.vertices[faces].numpy().astype(np.float64), labels)
    tree = tree_of(tmp_path / "o.glb")
    assert [node["name"] for node in tree["nodes"]] == list(NAMES[:2])
    if not textured:
        assert "images" not in tree
        return
    primitives = [p for mesh in tree["meshes"] for p in mesh["primitives"]]
    assert len(tree["images"]) == 2 and all("TEXCOORD_0" in p["attributes"] for p in primitives)
    for primitive in primitives:  # as the variant "original"
        (mapping,) = primitive["extensions"]["KHR_materials_variants"]["mappings"]
        primitive["material"] = mapping["material"]
    back = read_mesh(as_glb(tmp_path, tree))
    place = {tuple(c): k for k, c in enumerate(shape.vertices[faces].reshape(-1, 9).tolist())}
    order = [place[tuple(c)] for c in back.vertices[back.faces].reshape(-1, 9).tolist()]
    torch.testing.assert_close(back.texture.uv, texture.uv[order])
    for face, source in enumerate(order):
        assert torch.equal(back.texture.images[back.texture.image_ids[face]], images[source % 2])


def as_glb(folder, tree):
    """`o.glb` of a folder with other JSON."""
    data = (folder / "o.glb").read_bytes()
    binary = data[-tree["buffers"][0]["byteLength"] :]
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    (folder / "p.glb").write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return folder / "p.glb"


def test_a_missing_buffer_is_named(chair, tmp_path):
    mesh = read_gltf(chair)
    chair.write_bytes(chair.read_bytes()[:200])
    with pytest.raises(InputError, match=r"chair\.glb"):
        write_labelled_gltf(tmp_path / "o.glb", chair, mesh, np.zeros(len(mesh.faces), dtype=np.int64), NAMES)
    assert not (tmp_path / "o.glb").exists()
