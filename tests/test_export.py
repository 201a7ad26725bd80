"""Labels of a person as files: what scripts/segment.py labels=mine writes, read by trimesh and by the bytes."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from glb_reader import GlbFile
from PIL import Image
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from mvdecor.apps.export import export_labels
from mvdecor.apps.segment import run_segment
from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder, read_mesh
from mvdecor.shapes.label_files import read_labels
from tests.readers import ply_labels

NAMES = ["seat", "leg/left", "Fuß"]


def textured(mesh: trimesh.Trimesh, material) -> trimesh.Trimesh:
    uv = np.random.default_rng(0).random((len(mesh.vertices), 2))
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return mesh


def save_glb(path: Path, image: Image.Image) -> None:
    scene = trimesh.Scene()
    seat = textured(trimesh.creation.box((4.0, 0.5, 4.0)), PBRMaterial(name="wood", baseColorTexture=image))
    scene.add_geometry(seat, node_name="seat", geom_name="seat")
    leg = trimesh.creation.cylinder(0.25, 2, sections=8)
    scene.add_geometry(leg, node_name="left", geom_name="leg", transform=np.diag([1.0, 2.0, 4.0, 1.0]))
    turned = trimesh.transformations.rotation_matrix(0.5, (1, 0, 0), (1, 2, 3))
    scene.graph.update("right", geometry="leg", matrix=turned)
    scene.export(path)


def save_obj(path: Path, image: Image.Image) -> None:
    ball = textured(trimesh.creation.icosphere(2), SimpleMaterial(image=image))
    ball.export(path)


SAVED = {"a.glb": save_glb, "a.obj": save_obj, "a.ply": lambda path, _: trimesh.creation.icosphere(2).export(path)}


@pytest.fixture
def labelled(tmp_path):
    """Saves a mesh with labels beside it, some -1; gives its file and the labels."""

    def save(name: str) -> tuple[Path, np.ndarray]:
        folder = tmp_path / "meshes"
        folder.mkdir()
        image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8))
        SAVED[name](folder / name, image)
        labels = np.random.default_rng(2).integers(-1, len(NAMES), read_mesh(folder / name).num_faces)
        (folder / "labels.json").write_text(json.dumps({"labels": NAMES}))
        np.save(folder / "a_labels.npy", labels.astype(np.int16))
        return folder / name, labels

    return save


@pytest.mark.parametrize("name", SAVED)
def test_each_face_is_in_the_object_of_its_part_with_the_texture_that_it_had(name, labelled, tmp_path):
    mesh, labels = labelled(name)
    export_labels(mesh, tmp_path / "out")
    shape, file = read_mesh(mesh), GlbFile(tmp_path / "out" / "original.glb")
    corners = shape.vertices[shape.faces].double().numpy()
    nodes = np.load(tmp_path / "out" / "face_nodes.npy")
    assert nodes.dtype == np.int32 and nodes.shape == (len(labels), 3)
    for node, primitive in np.unique(nodes[:, :2], axis=0).tolist():
        faces = np.flatnonzero((nodes[:, 0] == node) & (nodes[:, 1] == primitive))
        part = file.tree["nodes"][node]
        (label,) = set(labels[faces].tolist())
        expected = "unlabelled" if label < 0 else NAMES[label]
        content = file.tree["meshes"][part["mesh"]]["primitives"][primitive]
        assert part["name"] == expected == file.tree["materials"][content["material"]]["name"]
        assert part["extras"] == {"label": label, "label_name": expected}
        written = file.corners(node, primitive)
        assert sorted(nodes[faces, 2].tolist()) == list(range(len(written)))  # no face twice, none left out
        np.testing.assert_allclose(written[nodes[faces, 2]], corners[faces], atol=1e-5)
        if "TEXCOORD_0" in content["attributes"]:
            uv = file.values(content["attributes"]["TEXCOORD_0"])[file.index(content)].reshape(-1, 3, 2)
            up = np.array([0, 1]) + uv[nodes[faces, 2]] * np.array([1, -1])
            np.testing.assert_allclose(up, shape.texture.uv[faces].numpy(), atol=1e-6)
            (variant,) = content["extensions"]["KHR_materials_variants"]["mappings"]
            (image,) = set(shape.texture.image_ids[faces].tolist())
            np.testing.assert_array_equal(file.image(variant["material"]), shape.texture.images[image].numpy())
    if name == "a.glb":
        assert {"seat", "left", "right"} <= {node.get("name") for node in file.tree["nodes"]}


@pytest.mark.parametrize("name", SAVED)
def test_trimesh_reads_parts_of_the_same_area_and_all_labels_come_back(name, labelled, tmp_path):
    mesh, labels = labelled(name)
    result = export_labels(mesh, tmp_path / "out")
    shape, out = read_mesh(mesh), tmp_path / "out"
    scene = trimesh.load_scene(out / "original.glb", process=False)
    names = [*NAMES, "unlabelled"]
    areas = dict.fromkeys(names, 0.0)
    for node in scene.graph.nodes_geometry:
        transform, geometry = scene.graph[node]
        part = scene.geometry[geometry].copy().apply_transform(transform)
        areas[part.visual.material.name] += part.area
    expected = [float(shape.face_areas[labels == label].sum()) for label in (0, 1, 2, -1)]
    assert list(areas.values()) == pytest.approx(expected, rel=1e-4)
    shares = [result["parts"][part]["area"] for part in NAMES]
    assert shares == pytest.approx(np.array(expected[:3]) / sum(expected), rel=1e-4)
    assert result["unlabelled"] == pytest.approx((labels < 0).mean())
    for ending in ("npy", "txt", "seg", "json"):
        np.testing.assert_array_equal(read_labels(out / f"labels.{ending}", tuple(NAMES)), labels)
    np.testing.assert_array_equal(ply_labels(out / "mesh.ply")[0], labels)
    parts = {path.name: path for path in (out / "parts").iterdir()}
    assert set(parts) == {"0_seat.ply", "1_leg_left.ply", "2_Fuß.ply", "unlabelled.ply"}
    corners = shape.vertices[shape.faces].numpy()
    for file, label in (("1_leg_left.ply", 1), ("unlabelled.ply", -1)):
        np.testing.assert_allclose(
            trimesh.load(parts[file], process=False).triangles, corners[labels == label], atol=1e-6
        )
        assert set(ply_labels(parts[file])[0].tolist()) == {label}


def save_quads(folder: Path) -> Path:
    folder.mkdir()
    (folder / "q.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1\nf 1 2 3 4\nf 5 6 7 8\nf 1 2 6\n"
    )
    (folder / "labels.json").write_text('{"labels": ["a", "b"]}')
    return folder / "q.obj"


def test_polygons_have_one_label_or_where_their_triangles_differ_none_is_lost(tmp_path):
    mesh = save_quads(tmp_path / "meshes")
    np.save(tmp_path / "meshes" / "q_labels.npy", np.array([0, 1, -1], dtype=np.int16))
    result = export_labels(mesh, tmp_path / "out")
    assert result["labels_per"] == "face" and np.load(tmp_path / "out" / "labels.npy").tolist() == [0, 1, -1]
    assert np.load(tmp_path / "out" / "triangle_labels.npy").tolist() == [0, 0, 1, 1, -1]
    np.save(tmp_path / "meshes" / "q_labels.npy", np.array([0, 1, 1, 1, -1], dtype=np.int16))
    result = export_labels(mesh, tmp_path / "out")
    assert result["labels_per"] == "triangle" and np.load(tmp_path / "out" / "labels.npy").tolist() == [0, 1, 1, 1, -1]
    # as training data they mean the same
    before = MeshFolder(tmp_path / "meshes").load("q").face_labels
    np.save(tmp_path / "meshes" / "q_labels.npy", np.load(tmp_path / "out" / "labels.npy"))
    assert before.equal(MeshFolder(tmp_path / "meshes").load("q").face_labels)


def test_labels_that_were_all_erased_are_none(labelled, tmp_path):
    mesh, labels = labelled("a.glb")
    np.save(mesh.parent / "a_labels.npy", np.full_like(labels, -1))
    with pytest.raises(InputError, match=r"a\.glb: no face of it has a label"):
        export_labels(mesh, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_script_exports_a_folder_keeps_what_is_the_same_and_replaces_what_changed(
    labelled, make_config, tmp_path, capsys
):
    mesh, labels = labelled("a.glb")
    trimesh.creation.box().export(mesh.parent / "other.ply")
    overrides = [f"mesh={mesh.parent}", "labels=mine", f"out={tmp_path / 'out'}"]

    def run(*more: str) -> list[dict]:
        return run_segment(make_config(*overrides, *more, name="segment"))

    with pytest.raises(InputError, match=r"other\.ply: there are no labels of it"):
        run()
    assert len(run("on_error=skip")) == 1
    assert f"{tmp_path / 'out' / 'a'}" in capsys.readouterr().out
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "a").rglob("*")}
    run("on_error=skip")
    assert {path: path.stat().st_mtime_ns for path in files} == files
    changed = np.where(labels == 0, 1, labels)
    np.save(mesh.parent / "a_labels.npy", changed.astype(np.int16))
    run("on_error=skip")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a" / "labels.npy"), changed)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a"]
    with pytest.raises(InputError, match="checkpoint=b: labels=mine takes no model"):
        run("checkpoint=b")


def test_what_is_not_an_export_is_not_replaced_and_nothing_is_half_written(labelled, tmp_path, monkeypatch):
    mesh, _ = labelled("a.ply")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no export of labels"):
        export_labels(mesh, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    export_labels(mesh, tmp_path / "first")
    np.save(mesh.parent / "a_labels.npy", np.zeros(320, dtype=np.int16))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, to: full() if path.name.endswith(".part") else rename(path, to))
    with pytest.raises(InputError, match="No space left"):
        export_labels(mesh, tmp_path / "first")
    assert len(np.unique(np.load(tmp_path / "first" / "labels.npy"))) > 1, "the earlier one is still there"
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr("mvdecor.apps.part_files.write_glb", full)
    with pytest.raises(InputError, match="No space left"):
        export_labels(mesh, tmp_path / "other")
    assert not (tmp_path / "other").exists() and not list(tmp_path.glob(".*"))
    (mesh.parent / "labels.json").unlink()
    with pytest.raises(InputError, match="the labels have no names"):
        export_labels(mesh, tmp_path / "other")
