"""`transforms.json` as Blender, instant-ngp and nerfstudio write it, its faults, and the real scene."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import Transforms
from mvdecor.errors import InputError
from tests.capture_files import HEIGHT, WIDTH, some_cameras, some_images, write_transforms


@pytest.fixture
def scene(tmp_path) -> Path:
    write_transforms(tmp_path / "scene", some_cameras(), some_images())
    return tmp_path / "scene"


def edit(scene: Path, drop: tuple[str, ...] = (), frame: dict[str, Any] | None = None, **values: Any) -> None:
    """Change values of the file, and of frame 1."""
    content = json.loads((scene / "transforms.json").read_text())
    content = {key: value for key, value in {**content, **values}.items() if key not in drop}
    content["frames"][1].update(frame or {})
    (scene / "transforms.json").write_text(json.dumps(content))


def load(scene: Path, **settings):
    return Transforms(scene, **settings).load("scene")


def test_blenders_file(tmp_path):
    """One angle, names without suffix, depth and normals beside the pictures, splits in files of their own."""
    cameras, images = some_cameras(), some_images(channels=4)
    write_transforms(tmp_path / "scene", cameras, images)
    content = json.loads((tmp_path / "scene" / "transforms.json").read_text())
    (tmp_path / "scene" / "transforms.json").unlink()
    for i, frame in enumerate(content["frames"]):
        frame["file_path"] = f"./images/{i:04d}"
    for name, frames in (("train", content["frames"][:2]), ("test", content["frames"][2:])):
        values = {"camera_angle_x": 1.2, "frames": frames}
        (tmp_path / "scene" / f"transforms_{name}.json").write_text(json.dumps(values))
    Image.fromarray(images[3]).save(tmp_path / "scene" / "images" / "0003_depth_0001.png")
    capture = load(tmp_path / "scene", file="transforms_test.json", bounds=[2, 6])
    assert len(capture) == 2 and capture.alpha() is not None
    torch.testing.assert_close(capture.cameras.rotation, cameras.rotation[2:], atol=1e-6, rtol=0)
    focal = 0.5 * WIDTH / math.tan(0.6)
    expected = torch.tensor([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
    torch.testing.assert_close(capture.cameras.intrinsics, expected.expand(2, 3, 3))


def test_values_of_a_frame_count_more_than_those_of_the_file(scene):
    edit(scene, frame={"fl_x": 50.0, "cx": 11.0, "w": 64, "h": 48})
    intrinsics = load(scene).cameras.intrinsics
    assert intrinsics[0, 0].tolist() == [30, 0, 15] and intrinsics[1, 0].tolist() == [25, 0, 5.5]


def test_angle_of_the_height_is_read(scene):
    edit(scene, drop=("fl_y", "fl_x"), camera_angle_x=1.0, camera_angle_y=0.7)
    intrinsics = load(scene).cameras.intrinsics[0]
    assert float(intrinsics[0, 0]) == pytest.approx(WIDTH / 2 / math.tan(0.5))
    assert float(intrinsics[1, 1]) == pytest.approx(HEIGHT / 2 / math.tan(0.35))


def test_masks_and_label_maps(scene):
    labels = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH), dtype=np.uint8)
    labels[0, :4] = 255
    (scene / "more").mkdir()
    Image.fromarray(labels).save(scene / "more" / "labels.png")
    content = json.loads((scene / "transforms.json").read_text())
    for i, frame in enumerate(content["frames"]):
        mask = np.full((HEIGHT, WIDTH), 50 * i, np.uint8)
        Image.fromarray(mask).save(scene / "more" / f"mask_{i}.png")
        frame["mask_path"] = f"more/mask_{i}.png"
    content["frames"][2]["label_path"] = "more/labels.png"
    (scene / "transforms.json").write_text(json.dumps({**content, "labels": ["wall", "door", "background"]}))
    capture = load(scene)
    alpha = capture.alpha()
    assert alpha is not None and alpha[:, 0, 0].tolist() == [0, 50, 100, 150]
    assert capture.labelled == (2,) and capture.background == 2
    expected = labels.astype(int)
    expected[0, :4] = -1
    np.testing.assert_array_equal(capture.labels([2])[0], expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "camera_model OPENCV_FISHEYE cannot be turned into a pinhole"),
        ({"frame": {"camera_model": "EQUIRECTANGULAR"}}, r"frame 1 \(images/0001\.png\): camera_model EQUIRECTANGULAR"),
        ({"k4": 0.1}, "k4=0.1, of a fisheye"),
        ({"fl_x": "30"}, r"frame 0 \(images/0000\.png\): fl_x: Input should be a valid number"),
        ({"fl_x": -30.0}, "fl_x: Input should be greater than 0"),
        ({"drop": ("fl_x", "fl_y")}, "focal length is not known"),
        ({"drop": ("fl_x", "fl_y"), "camera_angle_x": 43.0}, "camera_angle_x: Input should be less than 3.14"),
        ({"w": 0}, "w: Input should be greater than 0"),
        ({"frame": {"transform_matrix": [[1, 2], [3, 4]]}}, "frame 1.*transform_matrix"),
        ({"frame": {"transform_matrix": [["a"] * 4] * 4}}, "frame 1.*transform_matrix"),
        ({"frame": {"file_path": 3}}, "frame 1.*file_path"),
        ({"frame": {"mask_path": "no.png"}}, "no.png: no such file, though .*frame 1.* names it as mask_path"),
        ({"frame": {"file_path": "../../../secret.png"}}, "outside of its folder"),
        ({"frame": {"file_path": "./images/0000"}}, "frames 0 and 1 both name 0000.png"),
        ({"frames": {}}, 'no list "frames"'),
    ],
)
def test_faults_are_refused_in_one_message(scene, change, words):
    edit(scene, **change) if "frames" not in change else (scene / "transforms.json").write_text(json.dumps(change))
    with pytest.raises(InputError, match=words) as error:
        load(scene)
    assert "transforms.json" in str(error.value)


def test_real_scene(captures_root, tmp_path, capsys):
    fox = captures_root / "fox"
    capture = Transforms(fox, reduce=4).load("fox")
    images = capture.images([0, 24])
    assert len(capture) == 25 and images.shape == (2, 480, 270, 3) and images.is_contiguous()
    content = json.loads((fox / "transforms.json").read_text())
    # all look at one spot: each sees it within the middle half of its picture
    spot = torch.tensor(nearest_to_axes(content))[None, None].expand(25, 1, 3).float()
    xy, depth = capture.cameras.project(spot)
    assert bool((depth > 0).all())
    assert bool(((xy[:, 0] - torch.tensor([135.0, 240.0])).abs() < torch.tensor([135.0, 240.0])).all())
    with pytest.raises(InputError, match=r"0002\.jpg.*but there is no such image \(41 of them\)"):
        Transforms(fox, file="transforms.original.json").load("fox")
    with pytest.raises(InputError, match=r"0005\.jpg: cannot be read as an image \(the file is empty\)"):
        Transforms(fox, file="transforms.original.json", on_error="skip").load("fox")
    assert "41 of them" in capsys.readouterr().out


def nearest_to_axes(content: dict) -> np.ndarray:
    """The point nearest to the optical axes (OpenGL: -z), by least squares over its distances along each axis."""
    poses = np.array([frame["transform_matrix"] for frame in content["frames"]])
    centers, forward = poses[:, :3, 3], -poses[:, :3, 2]
    system = np.zeros((3 * len(poses), 3 + len(poses)))
    for i, direction in enumerate(forward):
        system[3 * i : 3 * i + 3, :3], system[3 * i : 3 * i + 3, 3 + i] = np.eye(3), -direction
    return np.linalg.lstsq(system, centers.reshape(-1), rcond=None)[0][:3]
