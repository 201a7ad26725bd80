"""Triangles of glTF files: where they lie, in which order, and what is refused. Expected values are written out by hand."""

import base64
import copy
import json
import os
import random
import sys
import warnings
from pathlib import Path

import DracoPy
import meshopt
import numpy as np
import pytest
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes import read_mesh
from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.gltf_primitives import triangles
from mvdecor.shapes.mesh_files import mesh_of
from tests.fuzz_gltf import write_compressed, write_mix
from tests.gltf_expected import check
from tests.gltf_writer import GltfWriter

CASES = Path(os.environ.get("MVDECOR_CASES", Path(__file__).resolve().parents[3] / "shared" / "cases"))
TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=float)


def corners(mesh):
    return mesh.vertices[mesh.faces]


def file_of(primitives, nodes=None, **content):
    """A writer with one mesh of some primitives, placed once if no nodes are given."""
    writer = GltfWriter()
    writer.add("meshes", {"primitives": primitives(writer)})
    writer.json["nodes"] = [{"mesh": 0}] if nodes is None else nodes
    writer.json.update(content)
    return writer


def plain(writer, points=TRIANGLE, **fields):
    return {"attributes": {"POSITION": writer.accessor(points)}, **fields}


def read(writer, folder, name="a.glb", **options):
    return read_gltf(writer.write(folder / name), **options)


def legs(names):
    """Four legs of two primitives each and a seat, the legs listed by nodes of the given names."""
    writer = GltfWriter()
    leg = [plain(writer, TRIANGLE), plain(writer, TRIANGLE + np.array([0, 0, 5]))]
    writer.json["meshes"] = [{"name": "leg", "primitives": leg}, {"name": "seat", "primitives": [plain(writer)]}]
    places = [{"mesh": 0, "translation": [10 * number, 0, 0], "name": name} for number, name in enumerate(names)]
    writer.json["nodes"] = [*places, {"mesh": 1, "translation": [0, 7, 0], "name": "seat"}]
    writer.json["scenes"] = [{"nodes": [4, 2, 0, 3, 1]}]  # the order in which a scene lists its nodes does not count
    return writer


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_faces_is_of_places_in_the_file_whatever_the_names(tmp_path, seed):
    names = random.Random(seed).choices(["leg", "leg_1", "leg.002", "", "木", "zz"], k=4)
    mesh = read(legs(names), tmp_path)
    assert mesh.face_meshes.tolist() == [0] * 8 + [1]
    assert mesh.face_primitives.tolist() == [0] * 4 + [1] * 4 + [0]
    assert mesh.face_nodes.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    first = [[0, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0], [0, 0, 5], [10, 0, 5], [20, 0, 5], [30, 0, 5], [0, 7, 0]]
    assert corners(mesh)[:, 0].tolist() == first
    assert read_mesh(tmp_path / "a.glb").faces.tolist() == mesh.faces.tolist()


def test_scenes_in_memory_are_ordered_as_they_were_made():
    scene, box = trimesh.Scene(), trimesh.creation.box()
    for number, name in enumerate(["z", "a", "m"]):
        place = trimesh.transformations.translation_matrix([3 * number, 0, 0])
        scene.add_geometry(box, geom_name="box", node_name=name, transform=place)
    centers = mesh_of(scene).face_centers.reshape(3, 12, 3).mean(dim=1)
    assert centers[:, 0].round().tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("name", "faces", "area", "bounds"),
    [
        ("mesh_01_random_face_order/chair_legs_same_name.glb", 108, None, None),
        ("mesh_01_random_face_order/chair_legs_suffixes.glb", 108, None, None),
        ("mesh_02_quantized_normalized/chair_normalized_int16.glb", 72, 5.24, [[-0.5, 0, -0.5], [0.5, 1.35, 0.5]]),
        ("mesh_02_quantized_normalized/quantize_chair.glb", 72, 5.24, [[-0.5, 0, -0.5], [0.5, 1.35, 0.5]]),
        ("mesh_04_sparse_accessor/box.glb", 12, 18, [[-0.5, -0.5, -0.5], [0.5, 3.5, 0.5]]),
        ("mesh_04_sparse_accessor/two_boxes_one_sparse.glb", 24, 12, [[-0.5, -0.5, -0.5], [3.5, 0.5, 0.5]]),
        ("mesh_06_gpu_instancing/four_legs.glb", 48, 3.52, [[-0.6, -0.5, -0.6], [0.6, 0.5, 0.6]]),
        ("mesh_07_skin/two_skinned.glb", 24, None, [[-0.5, 0, -0.5], [0.5, 0.55, 0.5]]),
        ("mesh_07_skin/skinned_under_scaled_node.glb", 24, None, [[-0.5, 0, -0.5], [0.5, 0.55, 0.5]]),
        ("mesh_14_uri_percent_encoding/buffer.gltf", 12, 6, None),
        ("mesh_16_draco/draco_chair.glb", 72, 5.24, [[-0.5, 0, -0.5], [0.5, 1.35, 0.5]]),
        ("mesh_16_draco/draco_chair_on_plain_floor.glb", 84, 23.84, None),
        ("mesh_17_meshopt/meshopt_chair.glb", 72, 5.24, [[-0.5, 0, -0.5], [0.5, 1.35, 0.5]]),
    ],
)
def test_files_that_other_programs_wrote(name, faces, area, bounds):
    if not (CASES / name).is_file():
        pytest.skip(f"case not found: {CASES / name} (set MVDECOR_CASES to the folder that holds it)")
    mesh = read_gltf(CASES / name)
    a, b, c = corners(mesh).swapaxes(0, 1)
    assert len(mesh.faces) == faces
    if area is not None:
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(area, abs=1e-3)
    if bounds is not None:
        assert np.allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], bounds, atol=1e-3)
    if name.startswith("mesh_01"):
        control = read_gltf(CASES / "mesh_01_random_face_order/control_legs_numbered.glb")
        assert np.array_equal(corners(mesh), corners(control))


@pytest.mark.parametrize("seed", range(40))
def test_random_mixes_of_features_read_as_they_were_made(tmp_path, seed):
    path = tmp_path / ("a.glb" if seed % 2 else "a.gltf")
    faces = write_mix(path, random.Random(f"test {seed}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of nodes that are not shown
        check(read_gltf(path), faces, seed)


def test_strips_and_fans_turn_as_the_format_says():
    order = np.array([4, 5, 6, 7, 8])
    assert triangles(order, 5).tolist() == [[4, 5, 6], [5, 7, 6], [6, 7, 8]]
    assert triangles(order, 6).tolist() == [[5, 6, 4], [6, 7, 4], [7, 8, 4]]
    assert triangles(order[:2], 5).tolist() == triangles(order[:2], 6).tolist() == []


def test_a_mirrored_node_keeps_outsides_outside(tmp_path):
    box = trimesh.creation.box()
    nodes = [{"mesh": 0}, {"mesh": 0, "scale": [-1, 1, 1]}]
    writer = file_of(lambda w: [plain(w, box.vertices, indices=w.accessor(box.faces.reshape(-1), "u2"))], nodes)
    parts = corners(read(writer, tmp_path)).reshape(2, 12, 3, 3)
    volumes = [np.linalg.det(part).sum() / 6 for part in parts]
    assert volumes == pytest.approx([1, 1])


def test_transforms_go_down_the_tree_through_cameras_and_nodes_without_a_mesh(tmp_path):
    half = np.sqrt(0.5)
    nodes = [
        {"mesh": 0, "scale": [2, 3, 4]},
        {"camera": 0, "rotation": [0, 0, half, half], "children": [0]},  # a quarter turn: x to y, y to -x
        {"matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 100, 200, 300, 1], "children": [1]},
    ]
    mesh = read(file_of(lambda w: [plain(w)], nodes), tmp_path)
    assert np.allclose(corners(mesh)[0], [[100, 200, 300], [100, 202, 300], [97, 200, 300]])


def test_positions_are_added_up_in_double_precision(tmp_path):
    nodes = [{"mesh": 0, "translation": [500_000.125, 4_649_776.0625, 0]}]
    mesh = read(file_of(lambda w: [plain(w, TRIANGLE / 1024)], nodes), tmp_path)
    assert (corners(mesh)[0] - corners(mesh)[0, 0]).tolist() == (TRIANGLE / 1024).tolist()


def test_a_skin_poses_by_its_joints_and_not_by_its_node(tmp_path):
    def skinned(writer):
        weights = writer.accessor([[3, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])  # three to one is normalised
        item = plain(writer)
        item["attributes"] |= {"JOINTS_0": writer.accessor([[0, 1, 0, 0]] * 3, "u1"), "WEIGHTS_0": weights}
        return [item]

    nodes = [{"translation": [0, 8, 0]}, {"scale": [2, 2, 2]}, {"mesh": 0, "skin": 0, "scale": [9, 9, 9]}]
    writer = file_of(skinned, nodes, scenes=[{"nodes": [2]}])  # joints need not be in the scene
    bind = np.eye(4)
    bind[:3, 3] = [0, -8, 0]
    writer.add("skins", {"joints": [0, 1], "inverseBindMatrices": writer.accessor([bind.T.ravel(), np.eye(4).ravel()])})
    mesh = read(writer, tmp_path)
    assert np.allclose(corners(mesh)[0], [[0, 0, 0], [2, 0, 0], [0, 1, 0]])
    del writer.json["meshes"][0]["primitives"][0]["attributes"]["WEIGHTS_0"]
    with pytest.raises(InputError, match="has a skin, but no JOINTS_0 and WEIGHTS_0"):
        read(writer, tmp_path)


def test_morph_targets_have_the_weights_of_the_node_or_else_of_the_mesh(tmp_path):
    def morphed(writer):
        targets = [{"POSITION": writer.accessor(np.ones((3, 3)))}, {"POSITION": writer.sparse(-TRIANGLE, base=False)}]
        return [plain(writer, targets=targets)]

    nodes = [{"mesh": 0}, {"mesh": 0, "weights": [2, 0]}, {"mesh": 0, "weights": [0, 0]}]
    writer = file_of(morphed, nodes)
    writer.json["meshes"][0]["weights"] = [0, 0.5]
    assert np.allclose(corners(read(writer, tmp_path)), [TRIANGLE / 2, TRIANGLE + 2, TRIANGLE])
    writer.json["nodes"][1]["weights"] = [1]
    with pytest.raises(InputError, match="2 morph targets and 1 weights"):
        read(writer, tmp_path)


def test_instances_come_in_their_order(tmp_path):
    writer = file_of(lambda w: [plain(w)], [{}, {"mesh": 0, "translation": [0, 0, 1]}])
    moves = writer.accessor([[1, 0, 0], [2, 0, 0], [3, 0, 0]])
    writer.json["nodes"][1]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves}}}
    writer.use("EXT_mesh_gpu_instancing", required=True)
    mesh = read(writer, tmp_path)
    assert corners(mesh)[:, 0].tolist() == [[1, 0, 1], [2, 0, 1], [3, 0, 1]]
    assert (mesh.face_nodes.tolist(), mesh.face_instances.tolist()) == ([1, 1, 1], [0, 1, 2])
    own = {"attributes": {"_ID": writer.accessor(np.arange(2.0)[:, None])}}  # which move nothing
    writer.json["nodes"][1]["extensions"] = {"EXT_mesh_gpu_instancing": own}
    assert corners(read(writer, tmp_path))[:, 0].tolist() == [[0, 0, 1], [0, 0, 1]]


def test_the_default_scene_counts_and_what_is_elsewhere_is_said(tmp_path):
    nodes = [{"mesh": 0, "translation": [number, 0, 0]} for number in range(3)]
    writer = file_of(lambda w: [plain(w)], nodes, scenes=[{"nodes": [0, 1]}, {"nodes": [2]}])
    with pytest.warns(UserWarning, match=r"a\.glb: 1 of its nodes with meshes are not shown"):
        assert read(writer, tmp_path).face_nodes.tolist() == [0, 1]
    writer.json["scene"] = 1
    with pytest.warns(UserWarning, match="2 of its nodes"):
        assert read(writer, tmp_path).face_nodes.tolist() == [2]
    writer.json["nodes"][2]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    with pytest.warns(UserWarning), pytest.raises(InputError, match="shows no triangles"):
        read(writer, tmp_path)
    del writer.json["scenes"]
    with pytest.warns(UserWarning):
        assert read(writer, tmp_path).face_nodes.tolist() == [0, 1]  # every root, where there are no scenes
    del writer.json["nodes"]
    assert read(writer, tmp_path).face_nodes.tolist() == [-1]  # every mesh, where there are no nodes


def test_points_and_lines_are_left_out_with_a_warning(tmp_path):
    writer = file_of(lambda w: [plain(w, mode=0), plain(w), plain(w, mode=3)])
    with pytest.warns(UserWarning) as warned:
        mesh = read(writer, tmp_path)
    assert mesh.face_primitives.tolist() == [1]
    assert [str(one.message).partition("glb: ")[2] for one in warned] == [
        "primitive 0 of meshes[0] is points: left out",
        "primitive 2 of meshes[0] is a line strip: left out",
    ]
    del writer.json["meshes"][0]["primitives"][1]
    with pytest.warns(UserWarning), pytest.raises(InputError, match=r"a\.glb: its scene shows no triangles"):
        read(writer, tmp_path)


def test_extensions_are_applied_refused_by_name_or_left_out_by_a_list(tmp_path, recwarn):
    writer = file_of(lambda w: [plain(w)], extensionsUsed=["KHR_materials_clearcoat", "KHR_lights_punctual"])
    read(writer, tmp_path)
    assert not recwarn.list
    writer.json["extensionsUsed"] = ["EXT_unheard_of"]
    with pytest.warns(UserWarning, match=r"a\.glb: uses EXT_unheard_of, which is not read: left out"):
        read(writer, tmp_path)
    for name in ("EXT_unheard_of", "KHR_materials_transmission"):
        writer.json["extensionsRequired"] = [name]
        with pytest.raises(InputError, match=rf"a\.glb: requires {name}, which is not read"):
            read(writer, tmp_path)


def test_compressed_files(tmp_path, monkeypatch):
    path = write_compressed(tmp_path / "a.glb")
    points = np.random.default_rng(0).random((12, 3), dtype=np.float32).reshape(4, 3, 3)
    mesh = read_gltf(path)
    assert mesh.face_primitives.tolist() == [0] * 4 + [1] * 4 + [0] * 4
    assert np.abs(corners(mesh)[:4] - points).max() < 1 / 4096  # Draco: 12 bits
    assert np.array_equal(np.sort(corners(mesh)[4:8], axis=1), np.sort(points, axis=1))  # meshopt: the very values
    assert np.allclose(np.sort(corners(mesh)[8:], axis=1), np.sort(points + np.array([1, 2, 3]), axis=1))
    monkeypatch.setitem(sys.modules, "meshopt", None)
    with pytest.raises(InputError, match=r"a\.glb: is compressed \(EXT_meshopt_compression .*pip install meshopt"):
        read_gltf(path)


def test_filters_of_meshopt(tmp_path):
    writer = GltfWriter()
    points = np.random.default_rng(1).normal(size=(6, 3))
    place = writer._place(meshopt.encode_gltf_buffer(meshopt.encode_filter_exp(points, 20), "ATTRIBUTES"))
    fields = {"mode": "ATTRIBUTES", "byteStride": 12, "filter": "EXPONENTIAL"}
    number = writer.meshopt_accessor(place, points.astype("<f4"), "f4", False, fields)
    writer.json |= {"meshes": [{"primitives": [{"attributes": {"POSITION": number}}]}], "nodes": [{"mesh": 0}]}
    assert np.abs(corners(read(writer, tmp_path)).reshape(6, 3) - points).max() < 1e-4


def test_draco_of_normalized_integers(tmp_path):
    """DracoPy gives them as floats, 32767 times too large."""
    writer = GltfWriter()
    data = DracoPy.encode((32767 * TRIANGLE).astype(np.int32), np.array([[0, 1, 2]]), preserve_order=True)
    number = writer.add("accessors", {"componentType": 5122, "count": 3, "type": "VEC3", "normalized": True})
    extension = {"bufferView": writer.view(data), "attributes": {"POSITION": 0}}
    primitive = {"attributes": {"POSITION": number}, "extensions": {"KHR_draco_mesh_compression": extension}}
    writer.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}]}
    assert corners(read(writer, tmp_path)).tolist() == [TRIANGLE.tolist()]


def test_draco_that_is_damaged_or_lacks_an_attribute(tmp_path):
    writer = GltfWriter()
    data = DracoPy.encode(TRIANGLE.astype(np.float32), np.array([[0, 1, 2]]))
    extension = {"bufferView": writer.view(data), "attributes": {"POSITION": 7}}
    placeholder = writer.add("accessors", {"componentType": 5126, "count": 3, "type": "VEC3"})
    primitive = {
        "attributes": {"POSITION": placeholder},
        "extensions": {"KHR_draco_mesh_compression": extension},
    }
    writer.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}]}
    with pytest.raises(InputError, match=r"KHR_draco_mesh_compression of primitive 0 of meshes\[0\] lacks POSITION"):
        read(writer, tmp_path)
    writer.data[4:20] = bytes(16)
    with pytest.raises(InputError, match="is damaged"):
        read(writer, tmp_path)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("my%20box.bin", "my box.bin"),
        ("my box.bin", "my box.bin"),
        ("st%C3%BChle%E6%9C%A8.bin", "stühle木.bin"),
        ("stühle木.bin", "stühle木.bin"),
        ("50%25.bin", "50%.bin"),
        ("a%20b.bin", "a%20b.bin"),
        ("a%2Bb.bin", "a+b.bin"),
    ],
)
def test_names_of_files_percent_encoded_or_not(tmp_path, uri, name):
    writer = file_of(lambda w: [plain(w)])
    writer.write(tmp_path / "a.gltf", uri)
    with pytest.raises(InputError, match=r"a\.gltf: .*its buffers\[0\], is missing; put it there"):
        read_gltf(tmp_path / "a.gltf")
    (tmp_path / name).write_bytes(writer.data)
    assert np.allclose(corners(read_gltf(tmp_path / "a.gltf")), [TRIANGLE])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("head", ["data:application/octet-stream;base64,", "DATA:;BASE64,", "data:;charset=x;base64,"])
def test_text_and_data_as_programs_write_them(tmp_path, encoding, head):
    writer = file_of(lambda w: [plain(w)])
    text = base64.b64encode(writer.data).decode()
    writer.write(tmp_path / "a.gltf", head + "\n".join(text[k : k + 20] for k in range(0, len(text), 20)).rstrip("="))
    content = json.loads((tmp_path / "a.gltf").read_text())
    content["meshes"][0]["name"] = "Stühle"
    (tmp_path / "a.gltf").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert np.allclose(corners(read_gltf(tmp_path / "a.gltf")), [TRIANGLE])


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    writer = file_of(lambda w: [plain(w)])
    (tmp_path / "secret.bin").write_bytes(writer.data)
    (tmp_path / "in").mkdir()
    for uri in ("../secret.bin", "%2e%2e/secret.bin", str(tmp_path / "secret.bin"), "http://x/secret.bin"):
        writer.write(tmp_path / "in" / "a.gltf", uri)
        with pytest.raises(InputError, match=r"a\.gltf: "):
            read_gltf(tmp_path / "in" / "a.gltf")


def test_files_that_are_told_apart_by_content(tmp_path):
    writer = file_of(lambda w: [plain(w)])
    writer.write(tmp_path / "a.glb").rename(tmp_path / "b.gltf")
    writer.write(tmp_path / "c.gltf").rename(tmp_path / "d.glb")
    (tmp_path / "e.gltf").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "d.glb").read_bytes())  # a byte order mark
    for name in ("b.gltf", "d.glb", "e.gltf"):
        assert np.allclose(read_mesh(tmp_path / name).vertices, TRIANGLE)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("is glTF 1.0", lambda j: j["asset"].update(version="1.0")),
        (r"nodes\[1\] has two parents", lambda j: j.update(nodes=[{"children": [1]}, {"mesh": 0}, {"children": [1]}])),
        ("lie below themselves", lambda j: j.update(nodes=[{"children": [1]}, {"mesh": 0, "children": [0]}])),
        (r"shows nodes\[0\] twice", lambda j: j.update(scenes=[{"nodes": [0, 0]}])),
        (r"refers to meshes\[4\] of 1", lambda j: j["nodes"][0].update(mesh=4)),
        (r"refers to accessors\[-1\]", lambda j: j["meshes"][0]["primitives"][0]["attributes"].update(POSITION=-1)),
        ("has the unknown mode 9", lambda j: j["meshes"][0]["primitives"][0].update(mode=9)),
        ("has no POSITION", lambda j: j["meshes"][0]["primitives"][0].update(attributes={})),
        ("is no quaternion", lambda j: j["nodes"][0].update(rotation=[0, 0, 0, 0])),
        ("translation must be 3 numbers", lambda j: j["nodes"][0].update(translation=[1, 2])),
        ("needs 1200000000000 bytes", lambda j: j["accessors"][0].update(count=10**11)),
        ("claims 100000000000 elements", lambda j: j["accessors"].__setitem__(0, claim())),
        ("unknown component type 5999", lambda j: j["accessors"][0].update(componentType=5999)),
        ("ends behind its buffer", lambda j: j["bufferViews"][0].update(byteOffset=8)),
        ("ends in the middle of a triangle", lambda j: j["accessors"][0].update(count=2)),
        ("not a valid glTF file", lambda j: j.update(nodes=3)),
        ("not a valid glTF file", lambda j: j["accessors"][0].update(count="3")),
    ],
)
def test_damaged_files_are_named(tmp_path, message, change):
    writer = copy.deepcopy(file_of(lambda w: [plain(w)]))
    change(writer.json)
    with pytest.raises(InputError, match=rf"a\.glb: .*{message}"):
        read(writer, tmp_path)


def claim():
    return {"componentType": 5126, "count": 10**11, "type": "VEC3"}


def test_indices_that_are_out_of_range_or_none(tmp_path):
    writer = file_of(lambda w: [plain(w, indices=w.accessor([0, 1, 3], "u1"))])
    with pytest.raises(InputError, match="refers to vertex 3 of 3"):
        read(writer, tmp_path)
    writer.json["accessors"][0]["componentType"] = 5120
    with pytest.raises(InputError, match="indices that are no unsigned integers"):
        read(writer, tmp_path)


def test_glb_that_is_cut_off(tmp_path):
    whole = file_of(lambda w: [plain(w)]).write(tmp_path / "a.glb").read_bytes()
    for size in (4, 19, 40, len(whole) - 1):
        (tmp_path / "a.glb").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"a\.glb: (ends before|is cut off|its JSON)"):
            read_gltf(tmp_path / "a.glb")
    old = whole[:4] + b"\1\0\0\0" + whole[8:]
    (tmp_path / "a.glb").write_bytes(old)
    with pytest.raises(InputError, match="GLB version 1"):
        read_gltf(tmp_path / "a.glb")


def test_what_is_not_needed_is_not_read(tmp_path):
    """Buffers of animations and images of normal maps may be missing."""
    writer = file_of(lambda w: [plain(w, material=0)])
    writer.add("images", {"uri": "normals.png"})
    writer.add("textures", {"source": 0})
    writer.add("materials", {"normalTexture": {"index": 0}})
    writer.json["buffers"] = [{}, {"uri": "animation.bin", "byteLength": 8}]
    assert len(read(writer, tmp_path).faces) == 1
