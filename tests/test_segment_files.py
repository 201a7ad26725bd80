"""scripts/segment.py: what it writes, keeps and refuses."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from octants import NAMES, octants, save_octants
from PIL import Image

from mvdecor.apps import segment as segment_files
from mvdecor.apps.segment import find_meshes, run_segment
from mvdecor.errors import InputError
from mvdecor.figures import label_palette
from mvdecor.shapes import MeshFolder, read_mesh
from tests.calls import call
from tests.readers import ply_labels

FILES = {
    *("labels.npy", "labels.txt", "labels.seg", "labels.json", "confidence.npy"),
    *("mesh.ply", "mesh.glb", "original.glb", "face_nodes.npy", "views.png", "segmentation.json"),
}


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_octants(tmp_path_factory.mktemp("octants") / "model")


@pytest.fixture
def segment(make_config, model, tmp_path):
    """Runs scripts/segment.py's stage into tmp_path / "out"."""

    def run(mesh, *overrides: str):
        out, checkpoint = f"out={tmp_path / 'out'}", f"checkpoint={model}"
        given = f"mesh=[{','.join(map(str, mesh))}]" if isinstance(mesh, list) else f"mesh={mesh}"
        return run_segment(make_config(given, checkpoint, "device=cpu", out, *overrides, name="segment"))

    return run


@pytest.fixture
def ball(tmp_path) -> Path:
    """A file whose faces are in an arbitrary order."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh = trimesh.Trimesh(mesh.vertices, np.random.default_rng(0).permutation(mesh.faces), process=False)
    (tmp_path / "meshes").mkdir()
    mesh.export(tmp_path / "meshes" / "ball.off")
    return tmp_path / "meshes" / "ball.off"


def test_everything_that_is_written(segment, ball, model, tmp_path, capsys):
    before = contents(ball.parent)
    (result,) = segment(ball, "parts=true")
    folder, shape = tmp_path / "out" / "ball", read_mesh(ball)
    corners = shape.vertices[shape.faces].numpy()
    assert {path.name for path in folder.iterdir()} - {"code.diff"} == FILES | {"parts"}
    assert contents(ball.parent) == before
    labels, confidence = np.load(folder / "labels.npy"), np.load(folder / "confidence.npy")
    known = octants(corners) >= 0
    np.testing.assert_array_equal(labels[known], octants(corners)[known])
    assert confidence.shape == labels.shape and confidence.dtype == np.float32
    for text in ("labels.txt", "labels.seg"):
        assert (folder / text).read_text() == "".join(f"{label}\n" for label in labels)
    assert json.loads((folder / "labels.json").read_text()) == {"label_names": NAMES, "labels": labels.tolist()}
    np.testing.assert_array_equal(ply_labels(folder / "mesh.ply")[0], labels)
    colours = label_palette(8)[labels].repeat(3, axis=0)
    ply = trimesh.load(folder / "mesh.ply", process=False)
    (glb,) = trimesh.load_scene(folder / "mesh.glb", process=False).geometry.values()
    for opened in (ply, glb):
        np.testing.assert_allclose(opened.triangles, corners, atol=1e-6)
    np.testing.assert_array_equal(ply.visual.vertex_colors[:, :3], colours)
    np.testing.assert_array_equal(glb.visual.to_color().vertex_colors[:, :3], colours)
    assert {g.visual.material.name for g in trimesh.load_scene(folder / "original.glb").geometry.values()} == set(NAMES)
    assert Image.open(folder / "views.png").width >= 4 * 256
    for label in np.unique(labels):
        (file,) = (folder / "parts").glob(f"{label}_*.ply")
        part = trimesh.load(file, process=False)
        np.testing.assert_allclose(part.triangles, corners[labels == label], atol=1e-6)
    assert len(list((folder / "parts").iterdir())) == len(np.unique(labels))
    assert result == json.loads((folder / "segmentation.json").read_text())
    assert result["faces"] == len(labels) and result["label_names"] == NAMES
    assert sum(part["faces"] for part in result["parts"].values()) == len(labels)
    assert sum(part["area"] for part in result["parts"].values()) == pytest.approx(1)
    assert result["low_confidence"] == pytest.approx((confidence < 0.5).mean())
    areas = shape.face_areas.double().numpy()
    assert result["confidence"] == pytest.approx((areas * confidence).sum() / areas.sum())
    assert 0 <= result["disagreement"] <= 1 and result["familiarity"] is None
    carried = trimesh.load(folder / "mesh.ply", process=False).metadata["_ply_raw"]["face"]["data"]
    assert result["disagreement"] == pytest.approx(
        (areas * carried["disagreement"].reshape(-1)).sum() / areas.sum(), rel=1e-5
    )
    printed = capsys.readouterr().out
    assert f"disagreement of the views {result['disagreement']:.2f}" in printed and "familiarity" not in printed
    assert (
        f"{ball}: {len(labels)} faces, " in printed
        and "of the area seen" in printed
        and "below confidence 0.5" in printed
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ball"]


@pytest.mark.parametrize(("familiarity", "warned"), [(0.9, False), (0.7, True)])
def test_a_mesh_unlike_those_of_the_training_is_warned_of(make_config, ball, tmp_path, capsys, familiarity, warned):
    """The familiarity is the mesh's evidence over the checkpoint's, so a checkpoint of evidence 1 tells the mesh's."""

    def run(name: str, evidence: float) -> dict:
        model = save_octants(tmp_path / name, calibration={"temperature": 1.0, "evidence": evidence})
        settings = (f"mesh={ball}", f"checkpoint={model}", "device=cpu", f"out={tmp_path / 'out' / name}")
        return run_segment(make_config(*settings, name="segment"))[0]

    evidence = run("first", 1.0)["familiarity"]
    assert run("second", evidence / familiarity)["familiarity"] == pytest.approx(familiarity)
    printed = capsys.readouterr().out
    assert (f"warning: {ball}: familiarity 0.70" in printed) == warned


def test_calibration_changes_the_confidence_and_no_label(make_config, tmp_path):
    """A quad whose triangles may differ, so that the vote within polygons is tested too."""
    box = trimesh.creation.box()
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    lines = [f"v {x} {y} {z}" for x, y, z in box.vertices] + ["f " + " ".join(str(i + 1) for i in q) for q in quads]
    (tmp_path / "box.obj").write_text("\n".join(lines) + "\n")
    found = []
    for temperature in (1.0, 30.0):
        calibration = {"temperature": temperature, "evidence": None}
        model = save_octants(tmp_path / f"model_{temperature}", calibration=calibration)
        out = tmp_path / f"out_{temperature}"
        run_segment(
            make_config(
                f"mesh={tmp_path / 'box.obj'}", f"checkpoint={model}", "device=cpu", f"out={out}", name="segment"
            )
        )
        found.append([np.load(out / "box" / f"{name}.npy") for name in ("labels", "triangle_labels", "confidence")])
    (labels, triangles, confidence), (same, same_triangles, lower) = found
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_array_equal(triangles, same_triangles)
    assert (lower < confidence).all() and (lower > 0).all()


def test_a_damaged_calibration_is_refused(make_config, ball, tmp_path):
    model = save_octants(tmp_path / "model", calibration={"temperature": -1})
    with pytest.raises(InputError, match=r"calibration in its checkpoint\.json is damaged"):
        run_segment(
            make_config(f"mesh={ball}", f"checkpoint={model}", "device=cpu", f"out={tmp_path / 'o'}", name="segment")
        )


def test_quads_have_a_label_each(segment, tmp_path):
    box = trimesh.creation.box()
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    lines = [f"v {x} {y} {z}" for x, y, z in box.vertices] + ["f " + " ".join(str(i + 1) for i in q) for q in quads]
    (tmp_path / "box.obj").write_text("\n".join(lines) + "\n")
    (result,) = segment(tmp_path / "box.obj")
    folder = tmp_path / "out" / "box"
    labels = np.load(folder / "labels.npy")
    assert labels.shape == np.load(folder / "confidence.npy").shape == (6,)
    np.testing.assert_array_equal(np.load(folder / "triangle_labels.npy"), labels.repeat(2))
    assert (result["faces"], result["triangles"]) == (6, 12)


def test_labels_of_quads_are_read_back_by_the_data_set(segment, ball, tmp_path):
    """What is written for a mesh, put beside it, labels it for training: per polygon, in every format."""
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    lines = [f"v {x} {y} {z}" for x, y, z in trimesh.creation.box().vertices]
    lines += ["f " + " ".join(str(i + 1) for i in quad) for quad in quads]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "box.obj").write_text("\n".join(lines) + "\n")
    (tmp_path / "data" / "labels.json").write_text(json.dumps({"labels": NAMES[::-1]}))
    segment(tmp_path / "data" / "box.obj")
    written = tmp_path / "out" / "box"
    expected = np.load(written / "triangle_labels.npy")
    for source, name, back in (
        ("labels.npy", "box_labels.npy", False),
        ("labels.txt", "box_labels.txt", False),
        ("labels.seg", "box.seg", False),
        ("labels.json", "box_labels.json", True),
        ("triangle_labels.npy", "box_labels.npy", False),
    ):
        file = tmp_path / "data" / name
        file.write_bytes((written / source).read_bytes())
        labels = MeshFolder(tmp_path / "data").load("box").face_labels.numpy()
        np.testing.assert_array_equal(labels, 7 - expected if back else expected)  # JSON goes by name
        file.unlink()


@pytest.mark.parametrize("suffix", ["obj", "glb", "ply"])
def test_up_turns_the_views_and_not_the_files(segment, tmp_path, suffix):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.vertices *= [1.0, 0.5, 0.7]
    lying = mesh.copy()
    lying.vertices = mesh.vertices[:, [0, 2, 1]] * [1, -1, 1]  # the y axis becomes z
    for name, one in (("standing", mesh), ("lying", lying)):
        one.export(tmp_path / f"{name}.{suffix}")
    segment(tmp_path / f"standing.{suffix}")
    segment(tmp_path / f"lying.{suffix}", "up=z")
    standing, lain = (tmp_path / "out" / name for name in ("standing", "lying"))
    for file in ("labels.npy", "confidence.npy"):
        np.testing.assert_array_equal(np.load(standing / file), np.load(lain / file))
    for file in ("mesh.ply", "mesh.glb"):
        (opened,) = trimesh.load_scene(lain / file, process=False).geometry.values()
        np.testing.assert_allclose(opened.triangles, lying.triangles, atol=1e-6)


def test_what_a_gltf_file_was_comes_back_with_its_parts(segment, tmp_path):
    scene = trimesh.Scene()
    for number, place in enumerate(((-2, -1, -2), (2, 1.5, -1.5))):
        ball = trimesh.creation.icosphere(subdivisions=2)
        scene.add_geometry(
            ball, node_name=f"ball {number}", transform=trimesh.transformations.translation_matrix(place)
        )
    scene.export(tmp_path / "balls.glb")
    segment(tmp_path / "balls.glb")
    folder = tmp_path / "out" / "balls"
    labels, sources = np.load(folder / "labels.npy"), np.load(folder / "face_sources.npy")
    assert sources.shape == (len(labels), 5)
    opened = trimesh.load_scene(folder / "original.glb", process=False)
    assert {"ball 0", "ball 1"} <= set(opened.graph.nodes)
    counts = {name: 0 for name in NAMES}
    for node in opened.graph.nodes_geometry:
        _, geometry = opened.graph[node]
        counts[opened.geometry[geometry].visual.material.name] += len(opened.geometry[geometry].faces)
    assert list(counts.values()) == np.bincount(labels, minlength=8).tolist()


def test_a_hint_where_little_was_seen(segment, tmp_path, capsys):
    """Of three balls inside each other one layer sees the outermost, and a hint says what to do; none for one ball."""
    balls = [trimesh.creation.icosphere(2, radius) for radius in (1.0, 0.9, 0.8)]
    nested = trimesh.util.concatenate(balls)
    nested.apply_translation([0, 0, 5000]).export(tmp_path / "nested.ply")
    balls[0].export(tmp_path / "ball.ply")
    (result,) = segment(tmp_path / "nested.ply")
    share = 100 / (1 + 0.81 + 0.64)
    assert result["coverage"] == pytest.approx(share, abs=3) and result["coverage"] < 80
    assert result["hint"].startswith(f"only {result['coverage']:.0f} % of the area was seen")
    assert "views.layers=3" in result["hint"] and "views.count=16" in result["hint"] and "up=z" in result["hint"]
    assert "move the mesh to the origin" in result["hint"]
    assert f"warning: {tmp_path / 'nested.ply'}: only" in capsys.readouterr().out
    (result,) = segment(tmp_path / "ball.ply", "views.count=24")
    assert result["coverage"] > 80 and result["hint"] == ""
    assert "warning" not in capsys.readouterr().out


def test_same_command_keeps_what_is_there_and_others_are_refused(segment, ball, model, tmp_path, capsys):
    (first,) = segment(ball)
    before = contents(tmp_path / "out")
    assert segment(ball) == [first]
    assert "not made again" in capsys.readouterr().out
    assert segment(ball, "views.count=8", "lifting.fill=nearest") == [first], "what the model takes by itself"
    assert "not made again" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"\(parts=False there, True here\): choose another out="):
        segment(ball, "parts=true")
    with pytest.raises(InputError, match=r"other settings or inputs \(views\."):
        segment(ball, "views.count=3")
    other = save_octants(tmp_path / "other", ("points", "depth"))
    with pytest.raises(InputError, match=r"other settings or inputs \(model\.weights_sha256="):
        segment(ball, f"checkpoint={other}")
    trimesh.creation.box().export(ball)
    with pytest.raises(InputError, match=r"other settings or inputs \(mesh="):
        segment(ball, "on_error=skip")
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / "ball" / "segmentation.json").unlink()
    with pytest.raises(InputError, match=r"holds no segmentation\.json: choose another out="):
        segment(ball)
    assert len(contents(tmp_path / "out")) == len(before) - 1


def test_nothing_half_written(segment, ball, tmp_path, monkeypatch):
    def fails(*_args, **_kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(segment_files, "render_segmentation", fails)
        with pytest.raises(InputError, match=r"cannot write .*ball: disk full"):
            segment(ball)
        assert not (tmp_path / "out").exists()
    (tmp_path / "out" / ".ball.part").mkdir(parents=True)  # of a process that was killed
    (tmp_path / "out" / ".ball.part" / "labels.npy").write_text("")
    assert len(segment(ball)) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ball"]


def test_bad_meshes_stop_or_are_skipped(segment, ball, tmp_path, capsys):
    trimesh.PointCloud(np.eye(3)).export(ball.parent / "cloud.ply")
    (ball.parent / "a_flat.obj").write_text("v 0 0 0\nv 1 1 1\nf 1 2 1\n")
    with pytest.raises(InputError, match=r"a_flat\.obj: shape a_flat: all its faces are degenerate"):
        segment(ball.parent)
    assert not (tmp_path / "out").exists()
    assert len(segment(ball.parent, "on_error=skip")) == 1
    printed = capsys.readouterr().out
    assert "skipped 2 of 3 meshes:" in printed and printed.count("cloud.ply: has no faces") == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ball"]
    ball.unlink()
    with pytest.raises(InputError, match=r"all 2 were skipped, the first because: .*a_flat"):
        segment(ball.parent, "on_error=skip")


def test_other_files_beside_the_meshes_are_refused_first_or_skipped(segment, ball, tmp_path, capsys):
    """`segment.py meshes/*` names materials and labels too."""
    ball.with_name("ball.mtl").write_text("newmtl a\n")
    ball.with_name("labels.json").write_text("{}")
    everything = sorted(ball.parent.iterdir())
    with pytest.raises(InputError, match=r"ball\.mtl \(and 1 more\) is no mesh format .* on_error=skip"):
        segment(everything)
    assert not (tmp_path / "out").exists()
    assert len(segment(everything, "on_error=skip")) == 1
    assert "skipped 2 of 3 meshes:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mesh=null"], "mesh=null: name a file, a folder"),
        (["up=up"], "up=up is unknown: choose y, z"),
        (["checkpoint=null"], "checkpoint=null: give a fine-tuned model"),
        (["on_error=ignore"], "on_error=ignore is unknown: choose raise or skip"),
        (["parts=2"], "parts=2: choose true or false"),
        (["batch_size=0"], "batch_size=0: give a whole number"),
        (["low_confidence=50"], "low_confidence=50: give a number between 0 and 1"),
        (["views.layers=0"], "views.layers=0: give a whole number"),
    ],
)
def test_bad_settings(segment, ball, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        segment(ball, *overrides)
    assert not (tmp_path / "out").exists()


def test_which_files(tmp_path):
    for name in ("a/model.obj", "a/model.mtl", "a/x[1].ply", "a/.hidden.obj", "b/model.obj", "b/other.stl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    a, b = tmp_path / "a", tmp_path / "b"
    assert find_meshes([str(a)]) == {"model": a / "model.obj", "x[1]": a / "x[1].ply"}
    assert find_meshes([str(a / "x[1].ply"), f"{b}/*"]) == {
        "x[1]": a / "x[1].ply",
        "model": b / "model.obj",
        "other": b / "other.stl",
    }
    assert find_meshes([f"{tmp_path}/*/model.obj"]) == {"a/model": a / "model.obj", "b/model": b / "model.obj"}
    assert find_meshes([str(a), f"{a}/*.obj", str(a / ".." / "a" / "model.obj")]).keys() == {"model", "x[1]"}
    everything = [str(path) for path in sorted(a.glob("*"))]  # as the shell gives it for a/*
    assert list(find_meshes(everything)) == [".hidden", "model.mtl", "model", "x[1]"]
    (b / "model.glb").write_text("")
    with pytest.raises(InputError, match=r"model\.glb and .*model\.obj would share the name model"):
        find_meshes([str(b)])
    for wrong, message in (
        (f"{tmp_path}/c", "no such file or folder"),
        (f"{a}/*.stl", "no mesh file"),
        (str(tmp_path), "no mesh"),
    ):
        with pytest.raises(InputError, match=message):
            find_meshes([wrong])


def test_the_script_runs_alone(ball, model, tmp_path):
    """As a user calls it: two meshes of one name, by a pattern without its key, then an error as one line."""
    (tmp_path / "more").mkdir()
    trimesh.creation.box().export(tmp_path / "more" / "ball.stl")
    for mesh, code in (("*/ball.*", 0), ("mesh=absent.obj", 2)):
        words = (f"checkpoint={model}", "views.count=2", "views.size=32", mesh, "out=out")
        done = call("segment", *words, "device=cpu", cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert done.stderr == "error: mesh=absent.obj: no such file or folder; check the path\n"
    assert {path.parent.relative_to(tmp_path) for path in tmp_path.rglob("labels.npy")} == {
        Path("out/meshes/ball"),
        Path("out/more/ball"),
    }
