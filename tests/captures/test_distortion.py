"""Undistorted pictures show what a pinhole camera would have seen, by the published formula of the lens."""

import numpy as np
import pytest
import torch

from mvdecor.captures import Transforms
from mvdecor.captures.distortion import Distortion, Undistortion
from mvdecor.errors import InputError
from tests.capture_files import some_cameras, write_transforms

LENS = {"k1": 0.12, "k2": -0.05, "p1": 0.004, "p2": -0.003}


def through_lens(x: np.ndarray, y: np.ndarray, k1=0.0, k2=0.0, p1=0.0, p2=0.0, k3=0.0) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's formula, as its documentation prints it."""
    r = np.sqrt(x**2 + y**2)
    radial = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    return x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2), y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y


def photographed(lens: dict[str, float], focal=(60.0, 64.0), center=(41.0, 30.0), size=(60, 80)) -> np.ndarray:
    """uint8 [H, W, 3], a smooth pattern on the plane z = 1 seen through a lens: the formula, inverted step by step."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    u, v = (columns - center[0]) / focal[0], (rows - center[1]) / focal[1]
    x, y = u.copy(), v.copy()
    for _ in range(50):
        shown_x, shown_y = through_lens(x, y, **lens)
        x, y = x + u - shown_x, y + v - shown_y
    assert max(np.abs(through_lens(x, y, **lens)[0] - u).max(), np.abs(through_lens(x, y, **lens)[1] - v).max()) < 1e-9
    return pattern(x, y)


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    waves = np.stack([np.sin(4 * x + 2 * y), np.cos(5 * y), np.sin(3 * x * y + x)], axis=-1)
    return (127.5 + 120 * waves).round().astype(np.uint8)


@pytest.mark.parametrize("lens", [LENS, {"k1": -0.2, "k3": 0.02}, {"k1": 0.05}, {"p1": 0.01}], ids=str)
def test_undistorted_picture_is_that_of_a_pinhole_camera(lens):
    undistort = Undistortion((60.0, 64.0), (41.0, 30.0), (60, 80), Distortion(**lens), "lens")
    picture = undistort.image(photographed(lens))
    rows, columns = np.mgrid[0:60, 0:80] + 0.5
    expected = pattern((columns - 41) / (60 * undistort.zoom), (rows - 30) / (64 * undistort.zoom))
    assert np.abs(picture.astype(int) - expected).max() <= 3  # bilinear sampling of a curved pattern
    labels = (photographed(lens)[..., 0] // 32).astype(np.int16)
    assert (undistort.labels(labels) == expected[..., 0] // 32).mean() > 0.9


@pytest.mark.parametrize("lens", [LENS, {"k1": -0.2}])
def test_picture_is_filled_and_no_part_of_it_is_given_away(lens):
    undistort = Undistortion((60.0, 64.0), (41.0, 30.0), (60, 80), Distortion(**lens), "lens")

    def within(zoom: float) -> bool:
        rows, columns = np.mgrid[0:60, 0:80] + 0.5
        x, y = through_lens((columns - 41) / (60 * zoom), (rows - 30) / (64 * zoom), **lens)
        x, y = x * 60 + 41, y * 64 + 30
        return bool((x > 0.49).all() and (x < 79.51).all() and (y > 0.49).all() and (y < 59.51).all())

    assert within(undistort.zoom) and not within(undistort.zoom * 0.99)


def test_reader_undistorts_images_and_intrinsics_together(tmp_path):
    """A point seen at a pixel of the photograph is at its projection in the undistorted picture."""
    cameras = some_cameras(2)
    k = cameras.intrinsics[0]
    focal, center = (float(k[0, 0]), float(k[1, 1])), (float(k[0, 2]), float(k[1, 2]))
    photo = photographed({"k1": 0.1}, focal, center, (24, 32))
    write_transforms(tmp_path, cameras, np.stack([photo, photo]), k1=0.1)
    capture = Transforms(tmp_path).load(tmp_path.name)
    plane = cameras.centers[:, None, None] + cameras.rays()  # of pixels without a lens, at camera z 1
    xy, _ = capture.cameras.project(plane.reshape(2, -1, 3))
    rows, columns = np.mgrid[0:24, 0:32] + 0.5
    expected = pattern((columns - center[0]) / focal[0], (rows - center[1]) / focal[1])
    column, row = xy[0].reshape(24, 32, 2).round().long().unbind(-1)
    inner = (column >= 1) & (column < 32) & (row >= 1) & (row < 24)
    # the picture at the nearest pixel corner: the mean of the four pixels around it
    picture = capture.images([0])[0].float()
    corners = (picture[row - 1, column - 1] + picture[row - 1, column % 32] + picture[row % 24, column - 1]) / 4
    corners = corners + picture[row % 24, column % 32] / 4
    error = (corners - torch.from_numpy(expected).float()).abs()[inner]
    assert inner.float().mean() > 0.8 and float(error.mean()) < 4


@pytest.mark.parametrize("lens", [{"k1": -3.0}, {"k1": 20.0}])
def test_lens_that_cannot_be_undone_is_refused(tmp_path, lens):
    cameras = some_cameras()
    write_transforms(tmp_path / "a", cameras, np.zeros((4, 24, 32, 3), np.uint8), **lens)
    with pytest.raises(InputError, match=r"transforms\.json, frame 0 .*cannot be undone"):
        Transforms(tmp_path).load("a")
