"""Every reader gives back the cameras and pictures that were written in its format, and refuses what does not fit together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import COLMAP, LLFF, NSVF, SRN, Capture, Transforms
from mvdecor.errors import InputError
from tests.capture_files import (
    HEIGHT,
    WIDTH,
    WRITERS,
    centred,
    some_cameras,
    some_images,
    written,
)

READERS = {"srn": SRN, "nsvf": NSVF, "transforms": Transforms, "llff": LLFF, "colmap": COLMAP}
FORMATS = sorted(READERS)


def first_image(format: str, folder: Path) -> Path:
    return sorted(folder.rglob("*.png"))[0]


def only(captures) -> Capture:
    (id,) = captures.ids("all")
    return captures.load(id)


@pytest.mark.parametrize("format", FORMATS)
def test_cameras_and_images_are_those_that_were_written(format, tmp_path):
    cameras = written(format, tmp_path / "scene")
    capture = only(READERS[format](tmp_path))
    assert capture.id == "scene" and len(capture) == 4
    torch.testing.assert_close(capture.cameras.rotation, cameras.rotation, atol=1e-6, rtol=0)
    torch.testing.assert_close(capture.cameras.translation, cameras.translation, atol=2e-6, rtol=0)
    torch.testing.assert_close(capture.cameras.intrinsics, cameras.intrinsics)
    assert (capture.cameras.height, capture.cameras.width) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(capture.images(), some_images())
    np.testing.assert_array_equal(capture.images([2, 0]), some_images()[[2, 0]])
    points = torch.rand(4, 20, 3) - 0.5
    torch.testing.assert_close(capture.cameras.project(points)[0], cameras.project(points)[0], atol=1e-3, rtol=1e-4)
    assert len(capture.rays()) == 4 * HEIGHT * WIDTH
    assert capture.depth() is None and capture.background is None
    if format not in ("srn", "nsvf"):  # white is background there
        assert capture.alpha() is None
    with pytest.raises(InputError, match="no view 4"):
        capture.images([4])
    with pytest.raises(InputError, match="label map"):
        capture.labels()


@pytest.mark.parametrize("format", FORMATS)
def test_root_may_be_the_capture_itself(format, tmp_path):
    written(format, tmp_path / "scene")
    assert READERS[format](tmp_path / "scene").ids("all") == ["scene"]


@pytest.mark.parametrize("format", FORMATS)
def test_reduced_images_are_means_of_blocks(format, tmp_path):
    cameras = written(format, tmp_path / "scene")
    capture = only(READERS[format](tmp_path, reduce=4))
    blocks = some_images().reshape(4, HEIGHT // 4, 4, WIDTH // 4, 4, 3)
    assert np.abs(capture.images().numpy() - blocks.mean(axis=(2, 4))).max() <= 0.5
    torch.testing.assert_close(capture.cameras.intrinsics, cameras.reduced(4).intrinsics)
    with pytest.raises(InputError, match=r"32x24 pixels cannot be reduced by 5: set capture\.reduce"):
        only(READERS[format](tmp_path, reduce=5))


@pytest.mark.parametrize("format", FORMATS)
def test_alpha_is_read_and_colours_are_over_white(format, tmp_path):
    images = some_images(channels=4)
    WRITERS[format](tmp_path / "scene", some_cameras(), images)
    capture = only(READERS[format](tmp_path))
    alpha = capture.alpha()
    assert alpha is not None
    np.testing.assert_array_equal(alpha, images[..., 3])
    share = images[..., 3:] / 255
    over_white = images[..., :3] * share + 255 * (1 - share)
    assert np.abs(capture.images().numpy() - over_white).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("format", FORMATS)
def test_camera_without_image_is_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    image = first_image(format, tmp_path)
    image.unlink()
    with pytest.raises(InputError) as error:
        only(READERS[format](tmp_path))
    # LLFF knows images by their number only
    assert ("row 3" if format == "llff" else image.stem) in str(error.value)


@pytest.mark.parametrize("format", FORMATS)
def test_image_without_camera_is_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    image = first_image(format, tmp_path)
    more = image.with_name("zz_more.png" if format != "nsvf" else "0_zz.png")
    shutil.copy(image, more)
    with pytest.raises(InputError, match=more.name):
        only(READERS[format](tmp_path))


@pytest.mark.parametrize("format", ["transforms", "colmap"])
def test_such_images_can_be_left_out_with_a_word(format, tmp_path, capsys):
    written(format, tmp_path / "scene")
    image = first_image(format, tmp_path)
    image.rename(image.with_name("other.png"))
    capture = only(READERS[format](tmp_path, on_error="skip"))
    assert len(capture) == 3
    np.testing.assert_array_equal(capture.images(), some_images()[1:])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 and image.name in printed[0] and "other.png" in printed[1]


@pytest.mark.parametrize("format", FORMATS)
def test_mixed_sizes_are_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    last = sorted(tmp_path.rglob("*.png"))[-1]
    Image.fromarray(some_images()[0, :20]).save(last)
    with pytest.raises(InputError, match=rf"{last.name}: has 32x20 pixels.*32x24.*same size"):
        only(READERS[format](tmp_path))


@pytest.mark.parametrize("format", FORMATS)
def test_alpha_of_some_images_only_is_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    last = sorted(tmp_path.rglob("*.png"))[-1]
    Image.fromarray(some_images(channels=4)[0]).save(last)
    with pytest.raises(InputError, match=f"{last.name}: has alpha channel or mask, unlike"):
        only(READERS[format](tmp_path))


@pytest.mark.parametrize("format", FORMATS)
def test_one_view_is_refused(format, tmp_path):
    cameras = some_cameras()[[0]]
    WRITERS[format](tmp_path / "scene", cameras, some_images()[:1])
    with pytest.raises(InputError, match=r"scene.*1 posed image.*at least 2"):
        only(READERS[format](tmp_path))


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_image_is_refused_when_it_is_read(format, tmp_path):
    written(format, tmp_path / "scene")
    image = first_image(format, tmp_path)
    image.write_bytes(image.read_bytes()[:200])
    capture = only(READERS[format](tmp_path))
    capture.images([1])
    with pytest.raises(InputError, match=f"{image.name}: cannot be read as an image"):
        capture.images([0])


@pytest.mark.parametrize("format", FORMATS)
def test_images_of_other_proportions_than_their_cameras_are_refused(format, tmp_path):
    written(format, tmp_path / "scene")
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(some_images()[0, :16]).save(path)
    with pytest.raises(InputError, match=r"32x16 pixels, but .* is for 32x24"):
        only(READERS[format](tmp_path))


@pytest.mark.parametrize("format", FORMATS)
def test_images_that_were_reduced_reduce_their_cameras(format, tmp_path):
    cameras = written(format, tmp_path / "scene")
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(some_images()[0, ::2, ::2]).save(path)
    torch.testing.assert_close(only(READERS[format](tmp_path)).cameras.intrinsics, cameras.reduced(2).intrinsics)


@pytest.mark.parametrize("format", FORMATS)
def test_poses_that_mirror_are_refused(format, tmp_path):
    """A left-handed frame; COLMAP's quaternions cannot say one, but they can fail to be of unit length."""
    written(format, tmp_path / "scene")
    _spoil(tmp_path / "scene")
    expected = "no rotation" if format == "colmap" else r"mirrors.*left-handed.*negate"
    with pytest.raises(InputError, match=expected) as error:
        only(READERS[format](tmp_path))
    assert str(tmp_path) in str(error.value)


def _spoil(folder: Path) -> None:
    """Negate the second camera axis of the second pose, or double its quaternion."""
    for path in sorted((folder / "pose").glob("*.txt"))[1:2]:
        matrix = np.array(path.read_text().split(), dtype=float).reshape(4, 4)
        matrix[:3, 1] *= -1
        path.write_text(" ".join(map(str, matrix.reshape(-1))))
    if (path := folder / "transforms.json").exists():
        content = json.loads(path.read_text())
        for row in content["frames"][1]["transform_matrix"]:
            row[1] *= -1
        path.write_text(json.dumps(content))
    if (path := folder / "poses_bounds.npy").exists():
        rows = np.load(path)
        rows[1, [1, 6, 11]] *= -1
        np.save(path, rows)
    if (path := folder / "sparse" / "0" / "images.txt").exists():
        lines = path.read_text().split("\n")
        words = lines[3].split(" ")
        words[1:5] = [str(2 * float(word)) for word in words[1:5]]
        path.write_text("\n".join([*lines[:3], " ".join(words), *lines[4:]]))


@pytest.mark.parametrize("format", FORMATS)
def test_bounds_of_the_settings(format, tmp_path):
    written(format, tmp_path / "scene")
    capture = only(READERS[format](tmp_path, bounds=[0.5, 4]))
    assert capture.near is not None and capture.far is not None
    assert capture.near.tolist() == [0.5] * 4 and capture.far.tolist() == [4.0] * 4
    with pytest.raises(InputError, match=r"capture\.bounds"):
        READERS[format](tmp_path, bounds=[4, 0.5])


@pytest.mark.parametrize("format", FORMATS)
def test_folder_without_such_a_capture_is_refused(format, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no .* set capture\.root"):
        READERS[format](tmp_path)
    with pytest.raises(InputError, match=r"no such folder; set capture\.root"):
        READERS[format](tmp_path / "missing")


def test_the_same_scene_in_all_formats_is_the_same(tmp_path):
    cameras = centred(some_cameras())
    captures = []
    for format in FORMATS:
        WRITERS[format](tmp_path / format / "scene", cameras, some_images())
        captures.append(only(READERS[format](tmp_path / format)))
    for capture in captures[1:]:
        torch.testing.assert_close(capture.cameras.rotation, captures[0].cameras.rotation, atol=1e-6, rtol=0)
        torch.testing.assert_close(capture.cameras.centers, captures[0].cameras.centers, atol=3e-6, rtol=0)
        assert torch.equal(capture.images(), captures[0].images())


def test_splits(tmp_path):
    for place in ("chairs_train/chairs_2.0_train/a", "chairs_train/b", "chairs_val/c", "chairs_test/d"):
        written("srn", tmp_path / place)
    captures = SRN(tmp_path)
    splits = {split: captures.ids(split) for split in ("train", "val", "test", "unlabelled", "all")}
    assert splits == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
        "unlabelled": ["a", "b"],
        "all": ["a", "b", "c", "d"],
    }
    assert captures.load("d").id == "d"
    assert SRN(tmp_path / "chairs_train").ids("train") == ["a", "b"]
    (tmp_path / "split.json").write_text('{"train": ["d"], "test": ["a"]}')
    listed = SRN(tmp_path)
    assert listed.ids("train") == ["d"] and listed.ids("unlabelled") == ["b", "c", "d"]
    with pytest.raises(InputError, match="no list 'val'"):
        listed.ids("val")
    with pytest.raises(InputError, match="holds no capture 'e'"):
        listed.load("e")
    written("srn", tmp_path / "chairs_val" / "a")
    with pytest.raises(InputError, match=r"both .* hold a capture a"):
        SRN(tmp_path)


def test_memory_stays_within_its_limit_and_images_are_read_again(tmp_path):
    written("srn", tmp_path / "scene")
    view = HEIGHT * WIDTH * 4  # bytes of colours and alpha
    captures = SRN(tmp_path, memory=2.5 * view / 1e6)
    capture, memory = captures.load("scene"), captures.reading.memory
    np.testing.assert_array_equal(capture.images(), some_images())
    assert memory.bytes == 2 * view
    assert memory.get("scene", 1) is None and memory.get("scene", 3) is not None
    Image.fromarray(some_images()[1]).save(first_image("srn", tmp_path))
    np.testing.assert_array_equal(capture.images([0, 3]), some_images()[[1, 3]])
