"""`poses_bounds.npy` and the masks of 3D-OVS: faults, and the real scene."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import LLFF
from mvdecor.errors import InputError
from tests.capture_files import HEIGHT, WIDTH, centred, some_cameras, some_images, write_llff


@pytest.fixture
def scene(tmp_path) -> Path:
    write_llff(tmp_path / "scene", centred(some_cameras()), some_images(), scale=6.25)
    return tmp_path / "scene"


def test_focal_length_is_that_of_the_original_images(scene):
    capture = LLFF(scene).load("scene")
    torch.testing.assert_close(capture.cameras.intrinsics, centred(some_cameras()).intrinsics)
    assert capture.near is not None and capture.far is not None
    torch.testing.assert_close(capture.near, torch.tensor([1.0, 1.1, 1.2, 1.3]))
    assert capture.far.tolist() == [5.0] * 4


def write_masks(scene: Path, view: str, **masks: np.ndarray) -> None:
    folder = scene / "segmentations" / view
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    (folder.parent / "classes.txt").write_text("a chair\r\nbackground\r\n\r\n")


def test_masks_become_label_maps(scene):
    chair = np.zeros((HEIGHT, WIDTH), np.uint8)
    chair[5:12, 3:20] = 255
    other = 255 - chair
    chair[0, 0] = 255  # in both
    other[0, 1] = 254  # in neither: only 255 is inside
    write_masks(scene, "02", **{"a chair": chair, "background": other})
    capture = LLFF(scene).load("scene")
    assert capture.labelled == (2,) and capture.label_names == ("a chair", "background") and capture.background == 1
    labels = capture.labels()[0]
    assert labels[0, :3].tolist() == [-1, -1, 1]
    np.testing.assert_array_equal(labels == 0, (chair == 255) & (other == 0))


@pytest.mark.parametrize(
    ("view", "masks", "words"),
    [
        ("0", {"a chair": (HEIGHT, WIDTH)}, r"segmentations/0: 'background' has no mask here"),
        (
            "0",
            {"a chair": (4, 4), "background": (4, 4), "dog": (4, 4)},
            r"segmentations/0: 'dog' is the mask of no label",
        ),
        ("0", {"a chair": (4, 4), "background": (4, 5)}, r"segmentations/0: its masks have different sizes"),
        (
            "0",
            {"a chair": (4, 4), "background": (4, 4)},
            "segmentations/0: has 4x4 pixels, but the images of scene have",
        ),
        ("4", {"a chair": (4, 4), "background": (4, 4)}, r"segmentations/4: masks of no view.*0 to 3"),
    ],
)
def test_bad_masks_are_refused_by_name(scene, view, masks, words):
    write_masks(scene, view, **{name: np.zeros(size, np.uint8) for name, size in masks.items()})
    with pytest.raises(InputError, match=words):
        LLFF(scene).load("scene").labels()


@pytest.mark.parametrize(
    "rows", [np.zeros((4, 15)), np.zeros((4, 17)), np.full((4, 17), np.nan), np.zeros(17), np.zeros((4, 17), np.int64)]
)
def test_bad_poses_are_refused(scene, rows):
    np.save(scene / "poses_bounds.npy", rows)
    with pytest.raises(InputError, match=r"poses_bounds\.npy: h"):
        LLFF(scene).load("scene")


def test_bad_bounds_are_refused(scene):
    rows = np.load(scene / "poses_bounds.npy")
    rows[:, 15] = 9
    np.save(scene / "poses_bounds.npy", rows)
    with pytest.raises(InputError, match=r"poses_bounds\.npy, row 0: its bounds are 9 and 5; give 0 < near < far"):
        LLFF(scene).load("scene")


def test_pickled_poses_are_not_run(scene):
    np.save(scene / "poses_bounds.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array"):
        LLFF(scene).load("scene")


def test_real_scene(captures_root):
    """Masks of some views, carried into space, cover those of the others."""
    capture = LLFF(captures_root / "ethiopian_head", reduce=8).load("ethiopian_head")
    assert len(capture) == 66 and capture.labelled == tuple(range(0, 66, 8))
    assert capture.label_names == ("a metal head", "background")
    head = capture.labels() == 0
    assert 0.1 < head.float().mean() < 0.4
    views = list(capture.labelled)
    grid = torch.stack(torch.meshgrid(*[torch.linspace(-1.5, 1.5, 64)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    cameras = capture.cameras[views]
    near, far = capture.near[views], capture.far[views]
    middle = (cameras.centers + cameras.rotation[:, 2] * ((near + far) / 2)[:, None]).mean(dim=0)
    points = grid + middle
    xy, depth = cameras.project(points.expand(len(views), -1, 3))
    column, row = xy.floor().long().clamp(0, 79).unbind(-1)
    hit = torch.stack([head[i, row[i], column[i]] for i in range(len(views))])
    hull = hit.all(dim=0)
    assert bool((depth[:, hull] > near[:, None] - 1).all() and (depth[:, hull] < far[:, None] + 1).all())
    for i in range(len(views)):  # each picture's head is almost filled by the hull of all
        shown = torch.zeros(80, 80, dtype=torch.bool)
        shown[row[i, hull], column[i, hull]] = True
        both = (shown & head[i]).sum() / (shown | head[i]).sum()
        assert both > 0.8, (views[i], float(both))
