"""`mvdecor.load(...).segment(...)`: labels belong to the file's own faces, whatever the format."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from octants import NAMES, octants, save_octants
from PIL import Image

import mvdecor
from mvdecor.errors import InputError
from mvdecor.shapes import read_mesh
from mvdecor.shapes.up import TURNS
from mvdecor.systems.mvdecor.setup import seed_of_test_views
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune
from tests.readers import as_trimesh

SUFFIXES = ["obj", "ply", "off", "stl", "glb"]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return mvdecor.load(save_octants(tmp_path_factory.mktemp("octants") / "model"), device="cpu", precision="32-true")


def shuffled(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, np.random.default_rng(0).permutation(mesh.faces), process=False)


@pytest.fixture(scope="module")
def colour_segmenter(tmp_path_factory):
    """A model that looks at textures, where there are any."""
    path = save_octants(tmp_path_factory.mktemp("colours") / "model", ("points", "rgb"))
    return mvdecor.load(path, device="cpu", precision="32-true")


def textured(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    uv = np.random.default_rng(1).random((len(mesh.vertices), 2))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, visual=visual, process=False)


def check(found, corners, least_checked=0.3) -> None:
    """Faces [F, 3, 3], in the order of what was written, have the octants that they lie in."""
    assert found.labels.shape == found.confidence.shape == (len(corners),)
    expected = octants(corners)
    known = (expected >= 0) & ~found.filled.numpy()
    assert known.mean() > least_checked, "too few faces were seen for the test to say anything"
    np.testing.assert_array_equal(found.labels.numpy()[known], expected[known])
    assert bool(((found.labels >= 0) & (found.labels < 8)).all())
    assert bool(((found.confidence >= 0) & (found.confidence <= 1)).all())
    assert 0 < found.coverage <= 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_generated_mesh_of_several_components(segmenter, tmp_path, suffix):
    ball = trimesh.creation.icosphere(subdivisions=2)
    parts = [shuffled(ball.copy().apply_translation(x)) for x in ((-2, -1, -2), (2, 1.5, -1.5), (1, -2, 2))]
    mesh = trimesh.util.concatenate(parts)
    path = tmp_path / f"balls.{suffix}"
    if suffix == "glb":  # one node a component, each placed by its transform
        scene = trimesh.Scene()
        for k, part in enumerate(parts):
            moved = part.copy().apply_translation([0, 0, 5])
            scene.add_geometry(
                moved, geom_name=f"ball{k}", transform=trimesh.transformations.translation_matrix([0, 0, -5])
            )
        scene.export(path)
    else:
        mesh.export(path)
    before = path.read_bytes()
    check(segmenter.segment(path), mesh.triangles)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_textured_mesh(segmenter, colour_segmenter, tmp_path, suffix):
    mesh = textured(shuffled(trimesh.creation.icosphere(subdivisions=2)))
    path = tmp_path / f"ball.{suffix}"
    mesh.export(path)
    found = colour_segmenter.segment(str(path))
    check(found, mesh.triangles)
    assert found.shape.texture is not None
    assert segmenter.segment(path).shape.texture is None


def test_a_model_that_does_not_look_at_textures_needs_none(segmenter, colour_segmenter, tmp_path):
    mesh = textured(shuffled(trimesh.creation.icosphere(subdivisions=2)))
    mesh.export(tmp_path / "ball.obj")
    for file in (*tmp_path.glob("*.mtl"), *tmp_path.glob("*.png")):
        file.unlink()
    check(segmenter.segment(tmp_path / "ball.obj"), mesh.triangles)
    with pytest.raises(InputError, match="material file cannot be read"):
        colour_segmenter.segment(tmp_path / "ball.obj")


@pytest.mark.parametrize("up", list(TURNS))
def test_a_mesh_on_its_side_gets_the_labels_of_the_upright_one(colour_segmenter, up):
    mesh = shuffled(trimesh.creation.icosphere(subdivisions=2))
    mesh.vertices *= [1.0, 0.5, 0.7]
    turned = trimesh.Trimesh(mesh.vertices @ np.array(TURNS[up]), mesh.faces, process=False)
    found, truth = colour_segmenter.segment(turned, up=up), colour_segmenter.segment(mesh)
    assert torch.equal(found.labels, truth.labels) and torch.equal(found.confidence, truth.confidence)
    np.testing.assert_array_equal(found.shape.vertices.numpy(), turned.vertices.astype(np.float32))
    turn = np.array(TURNS[up])
    assert np.linalg.det(turn) == pytest.approx(1), "a rotation, no mirror"
    axis = {"x": 0, "y": 1, "z": 2}[up[-1]]
    assert turn[:, axis].tolist() == [0, -1 if up[0] == "-" else 1, 0]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", ["partnet", "people"])
def test_real_mesh_in_every_format(segmenter, request, tmp_path, suffix, data):
    root = request.getfixturevalue(f"{data}_root")
    folder = root / "person_000" if data == "people" else min((root / "data_v0").iterdir()) / "objs"
    parts = [read_mesh(file) for file in sorted(folder.glob("*.obj"))]
    mesh = trimesh.util.concatenate([as_trimesh(part) for part in parts])
    while len(mesh.faces) < 5000:  # long triangles lie in several octants each
        mesh = trimesh.Trimesh(*trimesh.remesh.subdivide(mesh.vertices, mesh.faces), process=False)
    path = tmp_path / f"mesh.{suffix}"
    mesh.export(path)
    found = segmenter.segment(path)
    np.testing.assert_allclose(found.shape.vertices[found.shape.faces].numpy(), mesh.triangles, atol=1e-6)
    check(found, mesh.triangles, least_checked=0.005)


def test_ten_faces_and_three_hundred_thousand(segmenter, tmp_path):
    few = shuffled(trimesh.creation.cone(radius=1, height=2, sections=5))
    assert len(few.faces) == 10
    few.export(tmp_path / "few.stl")
    assert len(segmenter.segment(tmp_path / "few.stl").labels) == 10
    many = shuffled(trimesh.creation.icosphere(subdivisions=7))
    assert len(many.faces) > 300_000
    many.export(tmp_path / "many.ply")
    check(segmenter.segment(tmp_path / "many.ply"), many.triangles, least_checked=0.03)


def test_polygons_have_one_label_each(segmenter, tmp_path):
    """A grid of quads on the faces of a box, none of which crosses an octant's border: triangles would say no less."""
    lines, quads = [], []
    for axis in range(3):
        for side in (-1.0, 1.0):
            for i in range(4):
                for j in range(4):
                    square = np.array([(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]) / 2 - 1
                    quads.append(np.insert(square, axis, side, axis=1))
    quads = np.array(quads)[np.random.default_rng(0).permutation(len(quads))]
    lines += [f"v {x} {y} {z}" for x, y, z in quads.reshape(-1, 3)]
    lines += [f"f {4 * k + 1} {4 * k + 2} {4 * k + 3} {4 * k + 4}" for k in range(len(quads))]
    (tmp_path / "box.obj").write_text("\n".join(lines) + "\n")
    found = segmenter.segment(tmp_path / "box.obj")
    labels = found.of_file(found.labels)
    assert found.labels.shape == (2 * len(quads),) and labels.shape == (len(quads),)
    center = quads.mean(axis=1)
    np.testing.assert_array_equal(labels.numpy(), ((center > 0) * [4, 2, 1]).sum(axis=1))


def test_meshes_in_memory_are_labelled_as_their_file(segmenter, tmp_path):
    mesh = shuffled(trimesh.creation.icosphere(subdivisions=2))
    mesh.export(tmp_path / "ball.ply")
    file = segmenter.segment(tmp_path / "ball.ply")
    for given in (mesh, trimesh.Scene(mesh), read_mesh(tmp_path / "ball.ply"), mesh.copy().apply_scale(40)):
        found = segmenter.segment(given)
        assert torch.equal(found.labels, file.labels)
    assert torch.equal(segmenter.segment(mesh, batch_size=3).labels, file.labels)
    assert file.names[:2] == [NAMES[k] for k in file.labels[:2].tolist()]
    assert torch.allclose(file.shape.vertices, torch.tensor(mesh.vertices).float())


def test_views_and_vote_can_be_others_than_those_of_training(tmp_path):
    model = save_octants(tmp_path / "model")
    mesh = trimesh.creation.icosphere(subdivisions=3)
    few = mvdecor.load(model, views={"count": 1}).segment(mesh)
    many = mvdecor.load(model, views={"count": 20}, lifting={"rule": "mean"}).segment(mesh)
    assert few.coverage < 0.6 < many.coverage


def test_same_labels_as_the_evaluation(made_up_people, make_config, tiny, tmp_path):
    """The checkpoint alone, without data set or configuration, labels a test shape as scripts/evaluate.py does."""
    shared = ["experiment=people_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=1"]
    run_finetune(make_config(*shared, f"out={tmp_path / 'tuned'}"))
    model = tmp_path / "tuned" / "model"
    run_evaluate(make_config(*shared, f"out={tmp_path / 'tuned'}", f"checkpoint={model}"))
    (labels,) = (tmp_path / "tuned" / "labels").glob("*.npy")
    segmenter = mvdecor.load(model, device="cpu", precision="32-true")
    found = segmenter.segment(
        made_up_people / labels.stem / f"{labels.stem}.obj", seed=seed_of_test_views(make_config(*shared), labels.stem)
    )
    np.testing.assert_array_equal(found.labels.numpy(), np.load(labels))
    assert segmenter.info["textured"] is True
    with pytest.raises(InputError, match="has no texture"):
        segmenter.segment(trimesh.creation.box())


def test_a_model_of_shading_sees_no_texture(tmp_path):
    """Trained without textures, rgb is shading: a textured mesh gets the labels of the same mesh without."""
    model = mvdecor.load(save_octants(tmp_path / "model", ("points", "rgb"), textured=False))
    mesh = trimesh.creation.icosphere(subdivisions=2)
    assert model.read(textured(mesh)).texture is None
    mixed = mvdecor.load(save_octants(tmp_path / "mixed", ("points", "rgb"), textured=None))
    assert mixed.read(textured(mesh)).texture is not None
    assert mixed.read(mesh).texture is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": {"count": 0}}, "views.count=0: give a whole number of at least 1"),
        ({"views": {"cuont": 3}}, r"views.cuont is unknown: did you mean views.count\?"),
        ({"views": {"channels": ["rgb"]}}, "cannot be changed after"),
        ({"lifting": {"rule": "loudest"}}, "lifting.rule=loudest is unknown"),
        ({"device": "tpu"}, "device='tpu' is unknown"),
    ],
)
def test_bad_settings(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        mvdecor.load(save_octants(tmp_path / "model"), **change)


def test_checkpoints_of_older_versions(tmp_path):
    """Settings that came later take their defaults, those that went are left out, the rest stays as it was trained."""
    new = mvdecor.load(save_octants(tmp_path / "new"), device="cpu", precision="32-true")
    recorded = json.loads((tmp_path / "new" / "checkpoint.json").read_text())["config"]
    old = {"views": {**recorded["views"], "gone": 1}, "lifting": {**recorded["lifting"], "gone": 2}}
    for key in ("close_ups", "jitter", "depth", "normal_frame", "keep", "cache"):
        old["views"].pop(key, None)
    old["lifting"].pop("fill")
    loaded = mvdecor.load(save_octants(tmp_path / "old", config=old), device="cpu", precision="32-true")
    assert "gone" not in loaded.config.views and "gone" not in loaded.config.lifting
    assert (loaded.config.views.depth, loaded.config.views.close_ups, loaded.config.lifting.fill) == (
        "minmax",
        0,
        "nearest",
    )
    assert loaded.config.views.count == recorded["views"]["count"] == new.config.views.count
    ball = trimesh.creation.icosphere(subdivisions=2)
    assert (loaded.segment(ball).labels == new.segment(ball).labels).float().mean() > 0.95
    with pytest.raises(InputError, match=r"views.gone is unknown"):
        mvdecor.load(tmp_path / "old", views={"gone": 1})


def test_bad_checkpoints(tmp_path):
    with pytest.raises(InputError, match=r"only pretrained .* run scripts/finetune.py first"):
        mvdecor.load(save_octants(tmp_path / "pretrained", kind="pretrained"))
    with pytest.raises(InputError, match="does not say which views and lifting it takes"):
        mvdecor.load(save_octants(tmp_path / "bare", config={}))
    with pytest.raises(InputError, match="no checkpoint folder here"):
        mvdecor.load(tmp_path / "nowhere")


def test_bad_meshes(segmenter, tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    broken = ball.vertices.copy()
    broken[3] = np.nan
    trimesh.PointCloud(ball.vertices).export(tmp_path / "cloud.ply")
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    (tmp_path / "flat.obj").write_text("v 0 0 0\nv 1 1 1\nf 1 2 1\n")
    (tmp_path / "nan.obj").write_text("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "scene.blend").write_text("")
    cases = [
        (tmp_path / "cloud.ply", "has no faces"),
        (tmp_path / "empty.obj", "has no faces"),
        (tmp_path / "flat.obj", "degenerate"),
        (tmp_path / "nan.obj", "NaN"),
        (tmp_path / "scene.blend", r"\.blend is not a mesh format"),
        (tmp_path / "absent.obj", "no such file"),
        (trimesh.Trimesh(broken, ball.faces, process=False), "1 vertices are NaN"),
        (trimesh.PointCloud(ball.vertices), "a PointCloud is no mesh"),
        (trimesh.Scene(), "has no faces"),
    ]
    for mesh, message in cases:
        with warnings.catch_warnings(), pytest.raises(InputError, match=message):
            warnings.simplefilter("ignore")
            segmenter.segment(mesh)


def test_load_takes_a_path_or_a_string_and_seeds_nothing(tmp_path):
    path, numbers = save_octants(tmp_path / "model"), []
    for checkpoint in (Path(path), str(path)):
        mvdecor.load(checkpoint).segment(trimesh.creation.box())
        numbers.append(torch.rand(4))
    assert not torch.equal(*numbers), "a user's own random numbers do not begin anew"
