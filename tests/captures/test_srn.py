"""Files of SRN, NSVF and the semantic scenes data set: label maps, intrinsics.txt, bounds, and the real scene."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import NSVF, SRN
from mvdecor.captures.srn import read_intrinsics
from mvdecor.errors import InputError
from tests.capture_files import HEIGHT, WIDTH, some_cameras, some_images, write_srn

LEVEL = "1 chair/chair_head subcomponents\n2 chair/chair_back subcomponents\n4 chair/chair_seat subcomponents\n"


@pytest.fixture
def chairs(tmp_path) -> Path:
    """Two chairs in the semantic scenes data set's layout; the second has two label maps of four."""
    for id, maps in (("Chair.train/aa", 4), ("Chair.test/bb", 2)):
        folder = tmp_path / id
        write_srn(folder, some_cameras(), some_images())
        (folder / "seg").mkdir()
        for i in range(maps):
            np.save(folder / "seg" / f"{i:06d}.npy", some_map(i))
    (tmp_path / "Chair-level-1.txt").write_text(LEVEL)
    return tmp_path


def some_map(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 1, 2, 4], (HEIGHT, WIDTH))


def test_label_maps_of_the_semantic_scenes_data_set(chairs):
    captures = SRN(chairs)
    names = ("background", "chair/chair_head", "chair/chair_back", "unused 3", "chair/chair_seat")
    assert captures.label_names == names
    assert captures.ids("train") == ["aa"] and captures.ids("test") == ["bb"]
    capture = captures.load("aa")
    assert capture.labelled == (0, 1, 2, 3) and capture.label_names == names and capture.background == 0
    labels = capture.labels([3, 1])
    assert labels.dtype == torch.int16
    np.testing.assert_array_equal(labels, np.stack([some_map(3), some_map(1)]))
    part = captures.load("bb")
    assert part.labelled == (0, 1) and part.labels().shape == (2, HEIGHT, WIDTH)
    with pytest.raises(InputError, match=r"bb: view 2 has no label map; labelled are \[0, 1\]"):
        part.labels([0, 2])


def test_reduced_label_maps_have_the_most_frequent_label(chairs):
    path = chairs / "Chair.train" / "aa" / "seg" / "000000.npy"
    values = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    values[:2, :2] = [[4, 1], [2, 4]]
    values[:2, 2:4] = [[-1, -1], [-1, 2]]
    np.save(path, values)
    labels = SRN(chairs, reduce=2).load("aa").labels([0])[0]
    assert labels[0, :3].tolist() == [4, -1, 0]


def test_names_of_labels_in_json(chairs):
    (chairs / "names.json").write_text(json.dumps({"labels": ["wall", "a", "b", "c", "d"]}))
    captures = SRN(chairs, labels="names.json")
    assert captures.label_names == ("wall", "a", "b", "c", "d") and captures.load("aa").background is None


def test_label_maps_without_names_are_left_alone(chairs):
    (chairs / "Chair-level-1.txt").unlink()
    assert SRN(chairs).load("aa").labelled == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((HEIGHT, WIDTH), 5), r"labels \[5\], but only 0 to 4 have names"),
        (np.full((HEIGHT, WIDTH), -2), r"labels \[-2\]"),
        (np.zeros((HEIGHT, WIDTH + 1), np.int64), r"has 33x24 pixels, but the images of aa have 32x24"),
        (np.full((HEIGHT, WIDTH), 0.5), r"float64 \[24, 32\]; a label map is an array of integers"),
        (np.zeros(HEIGHT * WIDTH, np.int64), r"int64 \[768\]; a label map is an array of integers \[H, W\]"),
    ],
)
def test_bad_label_maps_are_refused_by_name(chairs, values, words):
    path = chairs / "Chair.train" / "aa" / "seg" / "000002.npy"
    np.save(path, values)
    capture = SRN(chairs).load("aa")
    capture.labels([1])
    with pytest.raises(InputError, match=rf"seg/000002\.npy: .*{words}"):
        capture.labels([2])


def test_label_map_of_no_image_is_refused(chairs):
    np.save(chairs / "Chair.train" / "aa" / "seg" / "zz.npy", some_map(0))
    with pytest.raises(InputError, match=r"zz\.npy: this label map has no image named zz"):
        SRN(chairs).load("aa")


def test_two_images_of_one_name_are_refused(tmp_path):
    write_srn(tmp_path / "a", some_cameras(), some_images())
    Image.fromarray(some_images()[0]).save(tmp_path / "a" / "rgb" / "000001.jpg")
    with pytest.raises(InputError, match=r"000001\.png: 000001\.jpg has the same name"):
        SRN(tmp_path).load("a")


def test_white_is_background_where_there_is_no_alpha(tmp_path):
    images = some_images()
    images[:, :4] = 255
    write_srn(tmp_path / "a", some_cameras(), images)
    capture = SRN(tmp_path).load("a")
    alpha = capture.alpha()
    assert alpha is not None
    np.testing.assert_array_equal(alpha == 0, (images == 255).all(axis=-1))
    assert set(alpha.unique().tolist()) == {0, 255}


@pytest.mark.parametrize(
    ("text", "size", "world_to_camera"),
    [
        ("131.25 64. 60. 0.\n0. 0. 0.\n1.\n128 100\n", (100, 128), False),  # SRN
        ("131.25 64. 60. 0.\n0. 0. 0.\n1.\n128 100\n1\n", (100, 128), True),
        ("131.25 64. 60. 0.\n0. 0. 0.\n0.\n1.\n128 100\n", (100, 128), False),  # NSVF has a line more
        ("131.25 64. 60. 0.\r\n0. 0. 0.\r\n0.\r\n1.\r\n128 100\r\n0\r\n", (100, 128), False),
        ("131.25 0 64 0\n0 131.25 60 0\n0 0 1 0\n0 0 0 1\n", None, False),
    ],
)
def test_lines_of_intrinsics(tmp_path, text, size, world_to_camera):
    path = tmp_path / "intrinsics.txt"
    path.write_bytes(text.encode())
    matrix, read_size, inverted = read_intrinsics(path)
    assert matrix.tolist() == [[131.25, 0, 64], [0, 131.25, 60], [0, 0, 1]]
    assert read_size == (None if size is None else (128, 100)) and inverted == world_to_camera


@pytest.mark.parametrize(
    "text", ["", "131.25 64. 60. 0.\n1.\n", "a b c d\n128 128", "1 2 3 4\n128.5 128\n", "1 2\n3 4\n"]
)
def test_bad_intrinsics_are_refused(tmp_path, text):
    write_srn(tmp_path / "a", some_cameras(), some_images())
    (tmp_path / "a" / "intrinsics.txt").write_text(text)
    with pytest.raises(InputError, match=r"a/intrinsics\.txt: "):
        SRN(tmp_path).load("a")


def test_poses_from_world_to_camera(tmp_path):
    cameras = some_cameras()
    write_srn(tmp_path / "a", cameras, some_images())
    for path in (tmp_path / "a" / "pose").iterdir():
        matrix = np.array(path.read_text().split(), dtype=float).reshape(4, 4)
        path.write_text("\n".join(" ".join(map(repr, row)) for row in np.linalg.inv(matrix).tolist()))
    with (tmp_path / "a" / "intrinsics.txt").open("a") as file:
        file.write("1\n")
    capture = SRN(tmp_path).load("a")
    torch.testing.assert_close(capture.cameras.centers, cameras.centers, atol=1e-5, rtol=0)


def test_pose_of_too_few_numbers_is_refused(tmp_path):
    write_srn(tmp_path / "a", some_cameras(), some_images())
    (tmp_path / "a" / "pose" / "000001.txt").write_text("1 0 0 0")
    with pytest.raises(InputError, match=r"000001\.txt: holds 4 numbers; a pose has 16"):
        SRN(tmp_path).load("a")


def test_views_and_bounds_of_nsvf(tmp_path):
    cameras, images = some_cameras(), some_images()
    write_srn(tmp_path / "s", cameras, images)
    for i, name in enumerate(["0_0000", "0_0001", "1_0000", "2_0000"]):
        for kind, suffix in (("rgb", "png"), ("pose", "txt")):
            (tmp_path / "s" / kind / f"{i:06d}.{suffix}").rename(tmp_path / "s" / kind / f"{name}.{suffix}")
    (tmp_path / "s" / "bbox.txt").write_text("-0.5 -0.6 -0.7 0.5 0.6 0.7 0.4\n")
    capture = NSVF(tmp_path, views="train").load("s")
    np.testing.assert_array_equal(capture.images(), images[:2])
    corners = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.6, 0.6) for z in (-0.7, 0.7)])
    depth = cameras[[0, 1]].project(corners.expand(2, 8, 3))[1]
    torch.testing.assert_close(capture.near, depth.amin(dim=1))
    torch.testing.assert_close(capture.far, depth.amax(dim=1))
    (tmp_path / "s" / "bbox.txt").write_text("1 1 1 0 0 0 0.4\n")
    with pytest.raises(InputError, match=r"bbox\.txt: should hold the least and greatest"):
        NSVF(tmp_path).load("s")


def test_real_scene(captures_root):
    """The visual hull of some views covers the others: cameras and masks belong together."""
    capture = NSVF(captures_root / "lego_nsvf", reduce=8).load("lego_nsvf")
    assert len(capture) == 20 and capture.images([0]).shape == (1, 100, 100, 3) and capture.has_alpha
    inside, alpha = visual_hull(capture, range(0, 20, 2))
    assert 0.005 < inside.float().mean() < 0.3
    shares = overlap(capture, inside, alpha, range(1, 20, 2))
    assert min(shares) > 0.8 and sum(shares) / len(shares) > 0.95
    first = np.asarray(Image.open(captures_root / "lego_nsvf" / "rgb" / "0_0000.png").convert("RGBA"))
    full = NSVF(captures_root / "lego_nsvf").load("lego_nsvf")
    assert full.alpha([0])[0].tolist() == first[..., 3].tolist()


GRID = torch.stack(torch.meshgrid(*[torch.linspace(-1.2, 1.2, 96)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)


def visual_hull(capture, views) -> tuple[torch.Tensor, torch.Tensor]:
    """Which points of the grid fall on the object in all views; and the object's pixels of all views."""
    alpha = capture.alpha()
    inside = torch.ones(len(GRID), dtype=torch.bool)
    for view in views:
        xy, _ = capture.cameras[[view]].project(GRID[None])
        column, row = xy[0].floor().long().unbind(1)
        within = (column >= 0) & (column < 100) & (row >= 0) & (row < 100)
        inside &= within & (alpha[view, row.clamp(0, 99), column.clamp(0, 99)] > 0)
    return inside, alpha


def overlap(capture, inside, alpha, views) -> list[float]:
    """Of each view the share of the hull's points that fall on the object."""
    shares = []
    for view in views:
        column, row = capture.cameras[[view]].project(GRID[inside][None])[0][0].floor().long().clamp(0, 99).unbind(1)
        shares.append(float((alpha[view, row, column] > 0).float().mean()))
    return shares
