"""Captures in the viewer, through viser's own objects and without a browser."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation

from mvdecor.apps.viewer.app import Viewer
from mvdecor.apps.viewer.capture_session import CaptureSession
from mvdecor.captures import Transforms
from mvdecor.errors import InputError
from tests.capture_files import some_cameras, some_images, write_colmap, write_transforms
from tests.field_runs import overrides, write_balls, write_field_run

pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")


@pytest.fixture
def scene(tmp_path):
    """Four posed images with two label maps."""
    folder = tmp_path / "captures" / "scene"
    file = write_transforms(folder, some_cameras(), some_images())
    content = json.loads(file.read_text()) | {"labels": ["seat", "background"]}
    for frame in content["frames"][:2]:
        frame["label_path"] = frame["file_path"].replace("images/", "labels_")
        Image.fromarray(np.eye(24, 32, dtype=np.uint8)).save(folder / frame["label_path"])
    file.write_text(json.dumps(content))
    return folder


def test_cameras_stand_where_they_are_and_show_their_pictures(scene, make_view):
    capture = Transforms(scene).load("scene")
    with Viewer(make_view("capture=transforms", f"capture.root={scene}", "port=0")) as viewer:
        panel = viewer.panel
        assert len(panel.frusta) == 4
        for number, frustum in enumerate(panel.frusta):
            np.testing.assert_allclose(frustum.position, capture.cameras.centers[number].numpy(), atol=1e-5)
            w, x, y, z = frustum.wxyz
            turned = Rotation.from_quat([x, y, z, w]).as_matrix()
            np.testing.assert_allclose(turned, capture.cameras.rotation[number].numpy().T, atol=1e-5)
            assert frustum.aspect == pytest.approx(32 / 24)
            assert frustum.fov == pytest.approx(2 * np.arctan(12 / 30), abs=1e-5)
        assert [tuple(f.color) for f in panel.frusta].count((220, 30, 30)) == 1
        with_labels = panel.pictures.image.shape
        panel.view.value = 3  # without label map
        panel._show_view()
        assert tuple(panel.frusta[3].color) == (220, 30, 30)
        assert panel.pictures.image.shape[0] < with_labels[0]
        before = panel.frusta[0].scale
        panel.size.value = 2.0
        panel._resize()
        assert panel.frusta[0].scale == pytest.approx(2 * before)


def test_points_of_colmap_are_shown(tmp_path, make_view):
    folder = tmp_path / "captures" / "scene"
    write_colmap(folder, some_cameras(), some_images(), [f"{i}.png" for i in range(4)])
    points = np.random.default_rng(0).normal(size=(7, 3))
    lines = [f"{i + 1} {x} {y} {z} 9 9 9 0.1" for i, (x, y, z) in enumerate(points)]
    (folder / "sparse" / "0" / "points3D.txt").write_text("\n".join(lines) + "\n")
    session = CaptureSession(make_view("capture=colmap", f"capture.root={folder}"))
    np.testing.assert_allclose(session.cloud("scene").points, points, atol=1e-6)
    assert session.renderer is None and set(session.pictures("scene", 0)) == {"image"}


def test_a_run_shows_what_its_field_renders(tmp_path, make_config, make_view):
    root = write_balls(tmp_path / "balls")
    run = write_field_run(tmp_path / "run", make_config(*overrides(root)))
    with Viewer(make_view(f"run={run}", "port=0")) as viewer:
        session, panel = viewer.session, viewer.panel
        pictures = session.pictures("ball_1", 2)
        assert set(pictures) == {"image", "labels", "rendered", "rendered labels"}
        assert {picture.shape for picture in pictures.values()} == {(16, 16, 3)}
        assert "PSNR" in session.note("ball_1", 2, pictures)
        assert panel.coloured.value == "labels" and len(session.cloud("ball_1").points) > 10
        panel.open("ball_2")
        assert panel.id == "ball_2" and len(panel.frusta) == 4


def test_any_run_of_a_pipeline_is_shown(tmp_path, make_config, make_view):
    root = write_balls(tmp_path / "balls")
    run = write_field_run(tmp_path / "run", make_config(*overrides(root)))
    second = shutil.copytree(run / "semantic_srn" / "run_0", run / "semantic_srn" / "run_10")
    shutil.copytree(second, run / "semantic_srn" / "run_2")
    codes = load_file(second / "codes.safetensors")
    save_file({id: code + 1 for id, code in codes.items()}, second / "codes.safetensors")
    with Viewer(make_view(f"run={run}", "port=0")) as viewer:
        session, panel = viewer.session, viewer.panel
        assert session.runs == ("run_0", "run_2", "run_10") and panel.run.visible
        before, points = session.pictures("ball_0", 0)["rendered"], session.cloud("ball_0").points
        panel.run.value = "run_2"
        panel.show_run("run_2")
        np.testing.assert_array_equal(session.pictures("ball_0", 0)["rendered"], before)
        panel.show_run("run_10")
        alone = CaptureSession(make_view(f"run={second}"))
        shown, expected = session.pictures("ball_0", 0), alone.pictures("ball_0", 0)
        assert (shown["rendered"] != before).any() and alone.runs == ()
        np.testing.assert_array_equal(shown["rendered"], expected["rendered"])
        np.testing.assert_array_equal(session.cloud("ball_0").points, alone.cloud("ball_0").points)
        assert session.cloud("ball_0").points.shape != points.shape or (session.cloud("ball_0").points != points).any()


def test_exact_depth_gives_points_on_the_surface(tmp_path, make_view):
    root = write_balls(tmp_path / "balls")
    words = ["data=folder", f"data.root={root}", "capture=rendered", "capture.size=24", "capture.count=4"]
    session = CaptureSession(make_view(*words))
    cloud = session.cloud("ball_0")
    radius = np.linalg.norm(cloud.points, axis=1)
    assert radius.max() < 1.001 and radius.min() > 0.95
    above = cloud.points[:, 1] > 0.2
    assert len(np.unique(cloud.colours["labels"][above], axis=0)) == 1


def test_what_is_refused(tmp_path, make_view):
    with pytest.raises(InputError, match="no such folder"):
        CaptureSession(make_view("capture=srn", f"capture.root={tmp_path / 'nowhere'}"))
