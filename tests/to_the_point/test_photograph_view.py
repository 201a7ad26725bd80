"""Runs of To The Point in the viewer, through viser's own objects and without a browser."""

import json
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mvdecor.apps.reconstruct import run_reconstruct
from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.photograph_session import IN_BOTH, MASK_ALONE, MESH_ALONE, PhotographSession
from mvdecor.captures import PhotographFolder
from mvdecor.errors import InputError
from mvdecor.systems.to_the_point.model import save_model
from mvdecor.systems.to_the_point.stages import run_evaluate
from tests.glb_reader import GlbFile
from tests.small_reconstructor import small_reconstructor

pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A pipeline's folder with two models that say the same of every photograph; the fine-tuned one sees the bird smaller."""
    out = tmp_path_factory.mktemp("run") / "pipeline"
    models = {out / "pretrain": 1.0, out / "to_the_point" / "run_0": 0.8}
    for folder, scale in models.items():
        model = small_reconstructor()
        with torch.no_grad():
            model.regressor.head.bias.view(-1, 3)[:, :2] *= scale
        save_model(folder / "model", model, {"config": {}})
    run_evaluate(config(out / "pretrained", "evaluation.mirror=false", f"checkpoint={out / 'pretrain' / 'model'}"))
    tuned = out / "to_the_point" / "run_0"
    run_evaluate(config(tuned, "evaluation.mirror=false", f"checkpoint={tuned / 'model'}"))
    table = {"config": OmegaConf.to_container(config(out), resolve=True)}
    (out / "table.json").write_text(json.dumps(table))
    return out


@pytest.fixture
def make_view(make_config, tmp_path):
    own = [f"out={tmp_path / 'view'}", "device=cpu", "port=0"]
    return lambda *words: make_config(*own, *words, name="view")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def mesh_of(content, tmp_path):
    """Corners [F, 3, 3] of a GLB file, its reader, and the attributes of its one primitive."""
    (tmp_path / "mesh.glb").write_bytes(content)
    glb = GlbFile(tmp_path / "mesh.glb")
    node = next(number for number, entry in enumerate(glb.tree["nodes"]) if "mesh" in entry)
    return glb.corners(node, 0), glb, glb.tree["meshes"][0]["primitives"][0]["attributes"]


def test_the_photographs_of_the_evaluation_with_its_figures(run, make_view):
    session = PhotographSession(make_view(f"run={run}"))
    assert session.models == ("fine-tuned", "pretrained") and session.model == "fine-tuned"
    folders = {"fine-tuned": run / "to_the_point" / "run_0", "pretrained": run / "pretrained"}
    for name, folder in folders.items():
        session.choose_model(name)
        metrics = metrics_of(folder)
        assert session.ids == metrics["split"]["ids"] and len(session.ids) == 3
        figures = [session.figures(id) for id in session.ids]
        assert [one["mask_iou"] for one in figures] == pytest.approx(list(metrics["mask_ious"].values()))
        medians = [one["rotation"]["median"] for one in figures]
        assert np.median(medians) == pytest.approx(metrics["rotation"]["median"])
        assert np.mean([one["surface"]["chamfer"] for one in figures]) == pytest.approx(metrics["surface"]["chamfer"])
        note = session.note(session.ids[1])
        assert f"mask IoU {figures[1]['mask_iou']:.3f}" in note and f"rotation {medians[1]:.1f} degrees off" in note
        assert "PCK" in note and "label mIoU" in note
    every = PhotographSession(make_view(f"run={run}", "split=all"))
    assert len(every.ids) == 8
    alone = PhotographSession(make_view(f"run={folders['fine-tuned']}"))
    assert alone.models == ("model",) and alone.ids == session.ids
    session.choose_model("fine-tuned")
    assert alone.figures(alone.ids[0]) == session.figures(alone.ids[0])


def test_the_mesh_in_every_colour(run, birds, make_view, tmp_path):
    session = PhotographSession(make_view(f"run={run}"))
    id = session.ids[0]
    result = session.reconstruction(id)
    faces, template = result.shape.faces.numpy(), result.shape
    expected = result.posed.vertices.numpy()[faces]
    assert session.modes == ("texture", "position", "labels", "visibility")
    for mode in session.modes:
        corners, glb, attributes = mesh_of(session.glb(id, mode), tmp_path)
        np.testing.assert_allclose(corners, expected, atol=1e-4)
        assert ("TEXCOORD_0" in attributes) == (mode == "texture")
        if mode == "texture":
            np.testing.assert_array_equal(glb.image(0), PhotographFolder(birds).load(id).image)
            continue
        colours = glb.values(attributes["COLOR_0"])[:, :3].reshape(-1, 3, 3).astype(float)
        if mode == "labels":
            assert (colours == colours[:, :1]).all(), "one colour a face"
            of_label = {int(k): tuple(c) for k, c in zip(template.face_labels, colours[:, 0], strict=True)}
            assert len(set(of_label.values())) == len(of_label) == len(session.legend(mode))
            for label, colour in of_label.items():
                assert (colours[template.face_labels.numpy() == label] == colour).all()
        elif mode == "position":
            undeformed = session._reconstructor.template.shape.vertices.numpy()[faces]
            for axis in range(3):
                order = np.argsort(undeformed[..., axis].ravel(), kind="stable")
                assert (np.diff(colours[..., axis].ravel()[order]) >= 0).all(), "x, y, z as red, green, blue"
    corners, _, _ = mesh_of(session.template_glb(id, "position"), tmp_path)
    lengths = [np.linalg.norm(x[:, 0] - x[:, 1], axis=1) for x in (corners, undeformed)]
    np.testing.assert_allclose(*lengths, atol=1e-4)
    assert np.abs(corners - expected).max() > 0.01, "it is not deformed"


def test_pictures_beside_the_scene(run, make_view):
    session = PhotographSession(make_view(f"run={run}"))
    id = session.ids[1]
    pictures, photograph, result = session.pictures(id), session.photograph(id), session.reconstruction(id)
    assert set(pictures) == {"photograph", "mask", "labels"}
    assert len({picture.shape for picture in pictures.values()}) == 1
    seen = result.face_ids >= 0
    counts = {
        IN_BOTH: photograph.mask & seen,
        MASK_ALONE: photograph.mask & ~seen,
        MESH_ALONE: ~photograph.mask & seen,
    }
    for colour, pixels in counts.items():
        assert (pictures["mask"] == colour).all(axis=2).sum() == pixels.sum() > 0
    assert (pictures["labels"] != pictures["photograph"]).any(axis=2).sum() > 0.5 * seen.sum()


def test_the_look_from_the_camera_is_nearly_the_photographs(run, make_view):
    session = PhotographSession(make_view(f"run={run}"))
    result, look = session.reconstruction(session.ids[0]), session.look(session.ids[0])
    height, width = result.face_ids.shape
    true = result.scale * (result.shape.vertices @ result.rotation.T)[:, :2] + result.shift
    away = result.posed.vertices.numpy() - look.position  # it looks along -z, x right, y up
    assert look.target[2] < look.position[2] and (look.target[:2] == look.position[:2]).all()
    focal = height / 2 / np.tan(look.fov / 2)
    x, y = (focal * away[:, axis] / -away[:, 2] for axis in (0, 1))
    seen = np.stack([width / 2 + x, height / 2 - y], axis=1)
    assert np.abs(seen - true.numpy()).max() < 0.03 * height


def test_export_writes_what_the_command_writes(run, birds, make_config, make_view, tmp_path):
    session = PhotographSession(make_view(f"run={run}"))
    id = session.ids[2]
    folder = session.export(id)
    assert folder == tmp_path / "view" / "export" / "fine-tuned" / id
    words = [f"image={birds}/images/{id}.png", f"mask={birds}/masks/{id}.png", f"out={tmp_path / 'command'}"]
    model = run / "to_the_point" / "run_0" / "model"
    run_reconstruct(make_config(*words, f"checkpoint={model}", "mirror=false", "device=cpu", name="reconstruct"))
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names and "mesh.glb" in names
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name


@contextmanager
def recorded(camera):
    yield camera


def test_the_page(run, make_view):
    with Viewer(make_view(f"run={run}")) as viewer:
        panel, session = viewer.panel, viewer.session
        assert isinstance(session, PhotographSession) and panel.model.visible
        assert panel.mesh is not None and panel.template is None and panel._message.content == ""
        panel.go(-1)
        assert panel.id == panel.choice.value == session.ids[-1] and session.note(panel.id) in panel.note.content
        panel.go(1)
        assert panel.id == session.ids[0]
        for mode in session.modes:
            panel.show.value = mode
            assert panel.mesh.glb_data == session.glb(panel.id, mode)
            assert (session.legend(mode) == []) == (mode in ("texture", "position"))
        panel.beside.value = True
        assert panel.template.glb_data == session.template_glb(panel.id, "visibility")
        wide = np.ptp(session.reconstruction(panel.id).posed.vertices[:, 0].numpy())
        assert panel.template.position[0] < -wide
        picture = panel.pictures.image
        panel.model.value = "pretrained"
        assert session.model == "pretrained" and panel.pictures.image.shape == picture.shape
        assert (panel.pictures.image != picture).any()
        camera = SimpleNamespace()
        panel.look_from_camera(SimpleNamespace(camera=camera, atomic=lambda: recorded(camera)))
        look = session.look(panel.id)
        assert (
            camera.fov == look.fov and camera.look_at == tuple(look.target) and camera.position == tuple(look.position)
        )
        panel.export()
        assert "written: " in panel.exported.content and (session.out / "export" / "pretrained" / panel.id).is_dir()


def test_a_photograph_that_no_camera_fits(run, config, make_view, tmp_path):
    model = small_reconstructor()
    with torch.no_grad():
        model.regressor.head.bias.zero_()
    save_model(tmp_path / "flat" / "model", model, {"config": {}})
    run_evaluate(config(tmp_path / "flat", f"checkpoint={tmp_path / 'flat' / 'model'}"))
    with Viewer(make_view(f"run={tmp_path / 'flat'}")) as viewer:
        panel = viewer.panel
        assert "no camera fits" in panel._message.content and panel.mesh is None and not panel.model.visible
        assert set(viewer.session.pictures(panel.id)) == {"photograph", "mask"} and panel.pictures.image.size > 1000
        panel.go(1)
        assert "no camera fits" in panel._message.content and panel.id == viewer.session.ids[1]


def test_what_was_moved_or_lost(run, birds, make_view, tmp_path):
    moved = shutil.copytree(run, tmp_path / "run")
    tuned = moved / "to_the_point" / "run_0"
    metrics = metrics_of(tuned)
    metrics["config"]["photographs"]["root"] = str(tmp_path / "nowhere")
    (tuned / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"nowhere.*with data_root=DIR"):
        PhotographSession(make_view(f"run={moved}"))
    session = PhotographSession(make_view(f"run={moved}", f"data_root={birds}"))
    assert session.figures(session.ids[0])["surface"] is not None
    metrics["config"]["checkpoint"] = str(tmp_path / "lost")
    (tuned / "metrics.json").write_text(json.dumps(metrics))
    shutil.rmtree(tuned / "model")
    with pytest.raises(InputError, match=r"its model is at none of .*lost"):
        PhotographSession(make_view(f"run={moved}", f"data_root={birds}"))
    shutil.rmtree(moved / "to_the_point")
    with pytest.raises(InputError, match="run the pipeline again"):
        PhotographSession(make_view(f"run={moved}"))
