"""From one image of a new object: a code that explains it, views all round, and a command that writes them."""

import sys

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from safetensors.torch import save_file

import mvdecor
from mvdecor.apps.interpolate import run_interpolate
from mvdecor.apps.segment_image import run_segment_image
from mvdecor.captures.pose_file import read_pose
from mvdecor.errors import InputError
from mvdecor.figures.animation import save_animation
from mvdecor.image_segmenter import ImageSegmenter, InferredObject, between, pose_at, turntable
from mvdecor.views.cameras import Cameras
from tests.calls import call
from tests.capture_files import some_cameras, some_images, write_transforms
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


def test_poses_in_other_formats_are_the_same_pose(tmp_path):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "0002.png")
    cameras, image = some_cameras(), tmp_path / "0002.png"
    write_transforms(tmp_path, cameras, some_images())
    np.save(tmp_path / "pose.npy", cameras.poses("llff")[2])
    np.savetxt(tmp_path / "pose.txt", cameras.poses("opengl")[2][:3])
    for name, axes in (("transforms.json", "opencv"), ("pose.npy", "llff"), ("pose.txt", "opengl")):
        pose = read_pose(tmp_path / name, image, axes)
        intrinsics = np.eye(3) if pose.intrinsics is None else pose.intrinsics
        camera = Cameras.from_poses(pose.pose[None], intrinsics[None], 24, 32, pose.axes)
        np.testing.assert_allclose(camera.rotation[0], cameras.rotation[2], atol=1e-5)
        np.testing.assert_allclose(camera.translation[0], cameras.translation[2], atol=1e-5)
        if pose.intrinsics is not None:
            np.testing.assert_allclose(pose.intrinsics, cameras.intrinsics[2], atol=1e-5)
    with pytest.raises(InputError, match="0 of its frames are called other"):
        read_pose(tmp_path / "transforms.json", tmp_path / "other.png", "opencv")
    np.save(tmp_path / "pose.npy", np.full((4, 4), "x"))
    with pytest.raises(InputError, match=r"pose\.npy: holds <U1"):
        read_pose(tmp_path / "pose.npy", image, "opencv")
    (tmp_path / "pose.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"pose\.txt: holds 3 numbers"):
        read_pose(tmp_path / "pose.txt", image, "opencv")


def test_a_mask_is_as_good_as_white(checkpoint, tmp_path):
    image, mask = np.full((16, 16, 3), 255, np.uint8), np.zeros((16, 16), np.uint8)
    image[4:12, 4:12] = np.random.default_rng(0).integers(0, 255, (8, 8, 3))
    mask[4:12, 4:12] = 255
    street = np.where(mask[..., None] > 0, image, np.uint8(90))
    cut_out = np.dstack([image, mask])
    segmenter, pose = ImageSegmenter(checkpoint, "cpu"), pose_at(0, 20, 2.0)
    assert torch.equal(segmenter.infer(street, pose, mask=mask).code, segmenter.infer(cut_out, pose).code)
    assert torch.equal(segmenter.infer(cut_out).code, segmenter.infer(cut_out, pose_at(0, 45, 2.0)).code)
    with pytest.raises(InputError, match=r"mask: has \[8, 8\] pixels, the image \[16, 16\]"):
        segmenter.infer(street, pose, mask=mask[:8, :8])


def test_the_command_labels_a_mesh_and_warns_of_a_background(checkpoint, make_config, tmp_path, capsys):
    Image.fromarray(np.full((12, 12, 3), 60, np.uint8)).save(tmp_path / "street.png")
    trimesh.creation.box().export(tmp_path / "box.ply")
    words = [f"image={tmp_path / 'street.png'}", f"checkpoint={checkpoint}", "count=2", "size=12", "device=cpu"]
    words += [f"mesh={tmp_path / 'box.ply'}", f"out={tmp_path / 'out'}"]
    run_segment_image(make_config(*words, name="segment_image"))
    assert "its border is not white" in capsys.readouterr().out
    shape = trimesh.load(tmp_path / "out" / "mesh.ply", process=False)
    np.testing.assert_allclose(shape.bounds, [[-0.5] * 3, [0.5] * 3])  # where it was in its file
    assert set(shape.metadata["_ply_raw"]["face"]["data"]["label"].tolist()) <= {0, 1}


def test_a_film_strip_begins_and_ends_with_its_objects(checkpoint, make_config, tmp_path):
    segmenter = ImageSegmenter(checkpoint, "cpu")
    first, last = segmenter.trained("a"), segmenter.trained("c")
    codes = torch.stack([object.code for object in between(first, last, 5)])
    assert torch.equal(codes[0], first.code) and torch.allclose(codes[-1], last.code)
    torch.testing.assert_close(codes.diff(dim=0), ((last.code - first.code) / 4).expand(4, -1))
    words = [f"checkpoint={checkpoint}", "size=12", "device=cpu", "steps=3", f"out={tmp_path / 'out'}"]
    run_interpolate(make_config("objects=[a,c,b]", *words, name="interpolate"))
    gif = Image.open(tmp_path / "out" / "strip.gif")
    durations = [gif.seek(i) or gif.info["duration"] for i in range(gif.n_frames)]
    assert sum(durations) == 10 * 120  # there and back; equal pictures in a row are one that stays longer
    save_file({"new": segmenter.field.codes.weight[1].detach().clone()}, tmp_path / "codes.safetensors")
    run_interpolate(
        make_config("objects=[new,new]", *words, f"codes={tmp_path / 'codes.safetensors'}", name="interpolate")
    )
    for overrides, message in (
        ("objects=[a,nobody]", "nobody: is none of the 3"),
        ("objects=[a]", "at least two objects"),
    ):
        with pytest.raises(InputError, match=message):
            run_interpolate(make_config(overrides, *words, name="interpolate"))


def test_animations(tmp_path):
    frames = [np.full((8, 10, 3), shade, np.uint8) for shade in (0, 120, 250)]
    save_animation(tmp_path / "a.gif", frames, 0.2)
    gif = Image.open(tmp_path / "a.gif")
    assert gif.n_frames == 3 and gif.size == (10, 8) and gif.info["duration"] == 200
    with pytest.raises(InputError, match=r"a\.avi: an animation is written as \.gif or \.mp4"):
        save_animation(tmp_path / "a.avi", frames)


def test_mp4_without_its_package_is_refused_before_any_work(make_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    words = ["objects=[a,b]", "checkpoint=nowhere", "animation=mp4", f"out={tmp_path / 'out'}"]
    with pytest.raises(InputError, match="pip install imageio-ffmpeg"):
        run_interpolate(make_config(*words, name="interpolate"))


def test_mp4_holds_its_frames(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs imageio-ffmpeg (pip install imageio-ffmpeg)")
    frames = [np.full((33, 50, 3), shade, np.uint8) for shade in (0, 120, 250)]
    save_animation(tmp_path / "a.mp4", frames, 0.2)
    reader = ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta = next(reader)
    shades = [np.frombuffer(frame, np.uint8).reshape(34, 50, 3)[:33].mean() for frame in reader]
    assert meta["size"] == (50, 34) and meta["fps"] == 5
    np.testing.assert_allclose(shades, [0, 120, 250], atol=4)
