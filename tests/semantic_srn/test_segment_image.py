"""From one image of a new object: a code that explains it, views all round, and a command that writes them."""

import numpy as np
import pytest
from PIL import Image

import mvdecor
from mvdecor.errors import InputError
from mvdecor.image_segmenter import ImageSegmenter, InferredObject, pose_at, turntable
from mvdecor.views.cameras import Cameras
from tests.calls import call
from tests.small_field import save_small_field


@pytest.fixture
def checkpoint(tmp_path):
    save_small_field(tmp_path / "model")
    return tmp_path / "model"


def test_an_image_of_a_known_object_gives_its_code_back(checkpoint):
    segmenter, pose = mvdecor.load(checkpoint, device="cpu"), pose_at(30.0, 20.0, 2.0)
    assert isinstance(segmenter, ImageSegmenter)
    cameras = Cameras.from_poses(pose[None], turntable(1, 16).intrinsics.numpy(), 16, 16)
    names, field = segmenter.label_names, segmenter.field
    true = [InferredObject(code, names, field).views(cameras).images for code in field.codes.weight]
    for number, images in enumerate(true):
        inferred = segmenter.infer((images[0] * 255).round().byte().numpy(), pose).views(cameras).images
        errors = [float((inferred - other).abs().mean()) for other in true]
        assert errors[number] < 0.5 * min(errors[:number] + errors[number + 1 :]), errors


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (90, 0), (200, 45), (10, 90), (0, -60)])
def test_a_pose_stands_where_it_is_said_and_looks_at_the_origin(azimuth, elevation):
    pose = pose_at(azimuth, elevation, 3.0)
    a, e = np.deg2rad([azimuth, elevation])
    np.testing.assert_allclose(
        pose[:3, 3], [3 * np.sin(a) * np.cos(e), 3 * np.sin(e), 3 * np.cos(a) * np.cos(e)], atol=1e-6
    )
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], -pose[:3, 3] / 3, atol=1e-6)  # OpenCV's z is forward
    assert pose[1, 1] <= 1e-6  # y is down


def test_the_command_writes_views_points_and_labels(checkpoint, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 14, 4), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "chair.png")
    np.savetxt(tmp_path / "pose.txt", pose_at(10, 20, 2.5))
    words = ("image=chair.png", f"checkpoint={checkpoint}", "count=3", "size=12", "device=cpu", "out=out")
    for more in ((), ("pose=pose.txt",)):
        result = call("segment_image", *words, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        labels = np.load(tmp_path / "out" / "labels.npy")
        assert labels.shape == (3, 12, 12) and set(np.unique(labels)) <= {0, 1, 2}
        assert Image.open(tmp_path / "out" / "turntable.gif").size == (24, 12)
        assert b"element vertex" in (tmp_path / "out" / "cloud.ply").read_bytes()
        assert (tmp_path / "out" / "views.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": np.diag([2.0, 2, 2, 1])}, "the pose is no rotation"),
        ({"pose": pose_at(0, 0, 0.5)}, "a camera stands in the unit sphere"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"uint8 \[H, W, 3 or 4\], this is uint8 \[4, 4\]"),
        ({"image": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_bad_input_is_refused(checkpoint, change, message):
    arguments = {"image": np.full((8, 8, 3), 255, np.uint8), "pose": pose_at(0, 0, 2.0)}
    with pytest.raises(InputError, match=message):
        ImageSegmenter(checkpoint, "cpu").infer(**{**arguments, **change})
