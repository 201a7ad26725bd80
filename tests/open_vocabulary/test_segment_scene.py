"""scripts/segment_scene.py: from photographs and words to masks, points and a labelled mesh; other words without training."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.apps.segment_scene import run_segment_scene
from mvdecor.captures import make_capture_set
from mvdecor.errors import InputError
from mvdecor.figures.word_maps import file_names
from tests.colour_room import BALLS
from tests.open_vocabulary.conftest import SMALL
from tests.readers import ply_labels


@pytest.fixture(scope="module")
def segment_config(make_config, colour_room):
    own = [word for word in SMALL if not word.startswith("system=")]
    return lambda *overrides: make_config(*own, f"capture.root={colour_room}", *overrides, name="segment_scene")


@pytest.fixture(scope="module")
def ball_mesh(tmp_path_factory):
    """The balls and the floor as one mesh, and for each face whether it is of the red ball."""
    balls = [trimesh.creation.icosphere(2, radius).apply_translation((x, y, radius)) for x, y, radius in BALLS.values()]
    floor = trimesh.creation.box((3, 3, 0.01)).subdivide().subdivide()
    mesh = trimesh.util.concatenate([*balls, floor])
    path = tmp_path_factory.mktemp("mesh") / "balls.ply"
    mesh.export(path)
    red = list(BALLS).index("red ball")
    counts = np.cumsum([0, *(len(ball.faces) for ball in balls)])
    return path, (np.arange(len(mesh.faces)) >= counts[red]) & (np.arange(len(mesh.faces)) < counts[red + 1])


def test_from_photographs_to_masks_points_and_mesh(segment_config, fitted_field, ball_mesh, tmp_path, capsys):
    path, is_red = ball_mesh
    words = "words=[red ball,gray floor,lime ball,blue ball]"
    out = tmp_path / "out"
    run_segment_scene(segment_config(f"out={out}", f"checkpoint={fitted_field}", words, f"mesh={path}"))
    capture = make_capture_set(segment_config().capture).load("balls")
    truth = capture.labels([4])[0].numpy() == capture.label_names.index("red ball")
    mask = np.array(Image.open(out / "segmentations" / "4" / "red ball.png")) == 255
    assert (mask & truth).sum() / (mask | truth).sum() > 0.4
    assert len(list((out / "heat").glob("*/*.png"))) == 4 * len(capture)
    labels, _ = ply_labels(out / "mesh.ply")
    red = (labels == 0).numpy()
    assert red[is_red].mean() > 0.6 > 0.2 > red[~is_red].mean()
    assert "labelled points" in capsys.readouterr().out
    # other words, of features that were distilled for these
    model = out / "features" / "model"
    run_segment_scene(segment_config(f"out={tmp_path / 'b'}", f"checkpoint={model}", "words=[blue,green,crimson,gray]"))
    assert not (tmp_path / "b" / "features").exists()
    mask = np.array(Image.open(tmp_path / "b" / "segmentations" / "4" / "crimson.png")) == 255
    assert (mask & truth).sum() / (mask | truth).sum() > 0.3
    # the vote alone
    run_segment_scene(segment_config(f"out={tmp_path / 'c'}", f"checkpoint={fitted_field}", words, "distil=false"))
    assert (tmp_path / "c" / "labels" / "11.png").exists() and not (tmp_path / "c" / "features").exists()


def test_a_mesh_that_no_camera_sees_and_a_folder_without_poses(segment_config, fitted_field, tmp_path):
    mesh = trimesh.creation.icosphere(1).apply_translation((0, 0, 500))
    mesh.export(tmp_path / "far.ply")
    own = [f"out={tmp_path / 'out'}", f"checkpoint={fitted_field}", "distil=false", f"mesh={tmp_path / 'far.ply'}"]
    with pytest.raises(InputError, match="no camera of capture balls sees it"):
        run_segment_scene(segment_config(*own))
    (tmp_path / "photographs").mkdir()
    Image.fromarray(torch.zeros(16, 16, 3, dtype=torch.uint8).numpy()).save(tmp_path / "photographs" / "a.png")
    with pytest.raises(InputError, match=r"holds no poses_bounds\.npy"):
        run_segment_scene(segment_config(f"out={tmp_path / 'd'}", f"capture.root={tmp_path / 'photographs'}"))


def test_names_of_files_differ():
    assert file_names(["a/b", "a\\b", "A-b", "cup", ".."]) == ["a-b", "a-b 1", "A-b 2", "cup", "-"]
