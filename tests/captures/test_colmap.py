"""COLMAP's models: against pycolmap, which writes them and projects its points; faults of the files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import COLMAP
from mvdecor.captures.colmap_files import read_colmap
from mvdecor.captures.distortion import Distortion
from mvdecor.errors import InputError
from tests.capture_files import some_cameras, some_images, write_colmap

LENSES = {
    "SIMPLE_PINHOLE": [60.0, 31.0, 25.0],
    "PINHOLE": [60.0, 65.0, 31.0, 25.0],
    "SIMPLE_RADIAL": [60.0, 31.0, 25.0, 0.08],
    "RADIAL": [60.0, 31.0, 25.0, 0.08, -0.03],
    "OPENCV": [60.0, 65.0, 31.0, 25.0, 0.08, -0.03, 0.004, -0.002],
}


def synthetic(folder: Path, lens: str, kind: str):
    """A model of made-up points and cameras by pycolmap, written by it, with grey pictures beside."""
    pycolmap = pytest.importorskip("pycolmap")
    pycolmap.set_random_seed(1)
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 2, 1, 3
    options.num_points3D = 60
    options.camera_model_id = getattr(pycolmap.CameraModelId, lens)
    options.camera_params, options.camera_width, options.camera_height = LENSES[lens], 64, 48
    model = pycolmap.synthesize_dataset(options)
    (folder / "sparse" / "0").mkdir(parents=True)
    getattr(model, f"write_{kind}")(folder / "sparse" / "0")
    for image in model.images.values():
        path = folder / "images" / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((48, 64, 3), 128, np.uint8)).save(path.with_suffix(".png"))
        path.with_suffix(".png").rename(path) if path.suffix else None
    return model


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_models_of_pycolmap_are_read_as_it_wrote_them(tmp_path, lens, kind):
    model = synthetic(tmp_path, lens, kind)
    mine = read_colmap(tmp_path / "sparse" / "0")
    assert len(mine.images) == 6 and len(mine.points) == model.num_points3D()
    for id, theirs in model.images.items():
        image, pose = mine.images[id], theirs.cam_from_world()
        assert image.name == theirs.name and image.camera == theirs.camera_id
        x, y, z, w = pose.rotation.quat
        np.testing.assert_allclose(image.quaternion, [w, x, y, z], atol=1e-12)
        np.testing.assert_allclose(image.translation, pose.translation, atol=1e-12)
        np.testing.assert_allclose(image.keypoints, [point.xy for point in theirs.points2D], atol=1e-9)
        ids = [point.point3D_id if point.has_point3D() else -1 for point in theirs.points2D]
        assert image.point_ids.tolist() == ids
        assert list(mine.cameras[image.camera].parameters.values()) == pytest.approx(theirs.camera.params)
    for id, point in model.points3D.items():
        np.testing.assert_allclose(mine.points[id], point.xyz, atol=1e-12)


@pytest.mark.parametrize("lens", LENSES)
def test_points_fall_on_their_keypoints(tmp_path, lens):
    """COLMAP's own points, by our undistorted cameras, against its keypoints moved as the pictures are."""
    model = synthetic(tmp_path / "scene", lens, "binary")
    capture = COLMAP(tmp_path).load("scene")
    by_name = {image.name: image for image in model.images.values()}
    for view, name in enumerate(sorted(by_name)):
        image = by_name[name]
        seen = [point for point in image.points2D if point.has_point3D()]
        assert len(seen) > 10
        world = np.array([model.points3D[point.point3D_id].xyz for point in seen])
        xy, depth = capture.cameras[[view]].project(torch.tensor(world, dtype=torch.float32)[None])
        k = capture.cameras.intrinsics[view].double().numpy()
        plane = (xy[0].double().numpy() - k[:2, 2]) / k[[0, 1], [0, 1]]
        theirs = image.camera.img_from_cam(np.c_[plane, np.ones(len(plane))])
        np.testing.assert_allclose(theirs, [point.xy for point in seen], atol=1e-3)
        low, high = np.quantile(depth[0].numpy(), (0.001, 0.999))
        assert float(capture.near[view]) == pytest.approx(low, rel=1e-4)
        assert float(capture.far[view]) == pytest.approx(high, rel=1e-4)


def test_distortion_is_that_of_pycolmap():
    pycolmap = pytest.importorskip("pycolmap")
    camera = pycolmap.Camera(model="OPENCV", width=64, height=48, params=LENSES["OPENCV"])
    plane = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    fx, fy, cx, cy, *lens = LENSES["OPENCV"]
    x, y = Distortion(*lens)(plane[:, 0], plane[:, 1])
    np.testing.assert_allclose(camera.img_from_cam(np.c_[plane, np.ones(50)]), np.stack([fx * x + cx, fy * y + cy], 1))


def written(folder: Path) -> Path:
    names = [f"{i}.png" for i in range(4)]
    write_colmap(folder / "scene", some_cameras(), some_images(), names)
    return folder / "scene" / "sparse" / "0"


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("cameras", "PINHOLE", "OPENCV_FISHEYE", "camera model OPENCV_FISHEYE cannot be turned into a pinhole"),
        ("cameras", "PINHOLE", "RADIAL", r"cameras\.txt: damaged"),
        ("cameras", "7 PINHOLE", "8 PINHOLE", "has a camera 7 that is not there"),
        ("cameras", "PINHOLE 32 24", "PINHOLE 32 x", r"cameras\.txt: damaged"),
        ("images", " 7 2.png", " 7 ../../../2.png", "outside of the folder of images"),
        ("images", " 7 2.png", " 7 1.png", "names the image '1.png' twice"),
        ("images", " 7 2.png", "", r"images\.txt: damaged"),
        ("points3D", "# 3D point list", "1 0.5 0.5", r"points3D\.txt: damaged"),
    ],
)
def test_faults_are_refused_in_one_message(tmp_path, file, before, after, words):
    path = written(tmp_path) / f"{file}.txt"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(InputError, match=words):
        COLMAP(tmp_path).load("scene")


def test_missing_file_of_the_model_is_refused(tmp_path):
    (written(tmp_path) / "points3D.txt").unlink()
    with pytest.raises(InputError, match=r"points3D\.txt: cannot be read"):
        COLMAP(tmp_path).load("scene")


def test_bounds_need_points(tmp_path):
    written(tmp_path)
    assert COLMAP(tmp_path).load("scene").near is None


def test_masks(tmp_path):
    written(tmp_path)
    masks = tmp_path / "scene" / "masks"
    masks.mkdir()
    for i in range(4):
        Image.fromarray(np.full((24, 32), 60 * i, np.uint8)).save(masks / (f"{i}.png.png" if i % 2 else f"{i}.png"))
    alpha = COLMAP(tmp_path, masks="masks").load("scene").alpha()
    assert alpha is not None and alpha[:, 5, 5].tolist() == [0, 60, 120, 180]
    (masks / "2.png").unlink()
    with pytest.raises(InputError, match=r"masks/2\.png\.png: no such mask"):
        COLMAP(tmp_path, masks="masks").load("scene")


def test_damaged_binary_files_are_read_or_refused(tmp_path):
    synthetic(tmp_path / "scene", "OPENCV", "binary")
    model = tmp_path / "scene" / "sparse" / "0"
    sound = {name: (model / name).read_bytes() for name in ("cameras.bin", "images.bin", "points3D.bin")}
    generator = np.random.default_rng(3)
    refused = 0
    for turn in range(150):
        name = list(sound)[turn % 3]
        content = bytearray(sound[name])
        if turn % 2:
            del content[generator.integers(len(content)) :]
        else:
            for place in generator.integers(len(content), size=3):
                content[place] = generator.integers(256)
        (model / name).write_bytes(content)
        try:
            read_colmap(model)
        except InputError as error:
            refused += 1
            assert str(model) in str(error)
        (model / name).write_bytes(sound[name])
    assert refused > 75
