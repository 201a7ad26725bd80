"""Metrics of reconstructions, each against a slow and obvious version."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mvdecor.errors import InputError
from mvdecor.evaluation.geometry import align, closeness, sample_surface, solid_voxels, surface_voxels, voxel_iou
from mvdecor.evaluation.keypoints import pck
from mvdecor.evaluation.masks import mask_iou
from mvdecor.evaluation.rotations import angle_between, front_back_twin, rotation_errors
from mvdecor.made_up.birds import bird_mesh, mean_bird
from mvdecor.shapes import Shape
from mvdecor.views import Cameras, soft_silhouette


def test_mask_iou() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 5, 6, 7)) < 0.4
    first[3], second[3] = False, False
    first[4] = False
    slow = []
    for a, b in zip(first, second, strict=True):
        pixels = list(itertools.product(range(6), range(7)))
        union = sum(a[p] or b[p] for p in pixels)
        slow.append(sum(a[p] and b[p] for p in pixels) / union if union else 1.0)
    assert mask_iou(torch.from_numpy(first), torch.from_numpy(second)).tolist() == pytest.approx(slow)
    assert slow[3:] == [1.0, 0.0]


def test_pck() -> None:
    rng = np.random.default_rng(1)
    n, k = 9, 6
    truth = rng.random((n, k, 2)) * 100
    predicted = truth + rng.normal(0, 6, (n, k, 2))
    visible = rng.random((n, k)) < 0.6
    visible[:, 4] = False
    truth[~visible] = np.nan
    size = torch.from_numpy(rng.uniform(40, 90, n))
    for threshold in (0.1, 0.15):
        shares, correct, total = [], 0, 0
        for point in range(k):
            hits = [
                math.dist(predicted[i, point], truth[i, point]) < threshold * float(size[i])
                for i in range(n)
                if visible[i, point]
            ]
            correct, total = correct + sum(hits), total + len(hits)
            if hits:
                shares.append(sum(hits) / len(hits))
        result = pck(*(torch.from_numpy(x) for x in (predicted, truth, visible)), size, threshold)
        assert result.mean == pytest.approx(np.mean(shares)) and result.pooled == pytest.approx(correct / total)
        assert math.isnan(float(result.per_keypoint[4])) and 0 < result.mean < 1


def test_pck_is_the_released_codes_in_crops() -> None:
    """There a crop of 1.1 times the longer side spans 2 units, and error * 1.1 / 2 is compared."""
    rng = np.random.default_rng(2)
    truth = torch.from_numpy(rng.uniform(20, 60, (1, 40, 2)))
    predicted = truth + torch.from_numpy(rng.normal(0, 8, (1, 40, 2)))
    unit = 1.1 * 80 / 2
    released = ((predicted - truth) / unit).norm(dim=2) * (1 + 2 * 0.05) / 2 < 0.1
    assert pck(predicted, truth, torch.ones(1, 40, dtype=torch.bool), torch.tensor([80.0])).pooled == float(
        released.double().mean()
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 180))
def test_angles_are_those_of_scipy(seed: int, degrees: float) -> None:
    rotation = Rotation.random(random_state=seed)
    axis = Rotation.random(random_state=seed + 1).apply([1, 0, 0])
    other = rotation * Rotation.from_rotvec(np.radians(degrees) * axis)
    pair = [torch.from_numpy(x.as_matrix())[None] for x in (rotation, other)]
    assert float(angle_between(*pair)) == pytest.approx(degrees, abs=2e-6)


def test_the_front_back_twin_shows_the_same_silhouette() -> None:
    mesh = bird_mesh(mean_bird())
    vertices, faces = torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces)
    truth = torch.from_numpy(Rotation.random(3, random_state=4).as_matrix()).float()
    twin = front_back_twin(truth)
    assert torch.linalg.det(twin).tolist() == pytest.approx([1, 1, 1])
    masks = []
    for rotation in (truth, twin):
        cameras = Cameras.scaled_orthographic(rotation, torch.full((3,), 14.0), torch.full((3, 2), 20.0), 40, 40)
        masks.append(soft_silhouette(cameras.project(vertices.expand(3, -1, -1))[0], faces, 40, 40) > 0.5)
    assert float(mask_iou(*masks).min()) > 0.995
    side = torch.tensor([[[0.0, 0, 1], [0, -1, 0], [1, 0, 0]]])
    torch.testing.assert_close(front_back_twin(side), side)


def test_swaps_are_counted() -> None:
    truth = torch.from_numpy(Rotation.from_euler("y", [[0], [10], [20], [80]], degrees=True).as_matrix())
    predicted = truth.clone()
    predicted[0] = front_back_twin(truth)[0]  # 180 degrees off
    predicted[1] = truth[1] @ torch.from_numpy(Rotation.from_euler("x", 90, degrees=True).as_matrix())
    predicted[3] = front_back_twin(truth)[3]  # 20 degrees off: no swap
    errors = rotation_errors(predicted, truth)
    assert errors.degrees.tolist() == pytest.approx([180, 90, 0, 20], abs=1e-5)
    assert errors.swapped.tolist() == [True, False, False, False]
    assert errors.summary() == {
        "median": pytest.approx(55, abs=1e-5),
        "mean": pytest.approx(72.5, abs=1e-5),
        "share_below_30": 0.5,
        "front_back_swaps": 0.25,
    }


def test_chamfer_and_f_score() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(40, 3)), rng.normal(size=(70, 3))
    near = [[math.dist(a, b) for b in second] for a in first]
    to_second, to_first = [min(row) for row in near], [min(column) for column in zip(*near, strict=True)]
    result = closeness(first, second, 0.5)
    assert result.chamfer == pytest.approx((np.mean(to_second) + np.mean(to_first)) / 2)
    precision, recall = np.mean(np.array(to_second) < 0.5), np.mean(np.array(to_first) < 0.5)
    assert result.f_score == pytest.approx(2 * precision * recall / (precision + recall))
    assert closeness(first, first + 100, 0.5).f_score == 0 and closeness(first, first, 0.5).chamfer == 0
    with pytest.raises(InputError, match="predicted points: there are none"):
        closeness(first[:0], second, 0.5)


def test_points_of_a_surface_are_uniform() -> None:
    box = trimesh.creation.box((1, 2, 4))
    points = sample_surface(Shape.from_trimesh(box), 20_000, seed=5)
    on_side = [np.isclose(np.abs(points[:, axis]), half).mean() for axis, half in enumerate((0.5, 1, 2))]
    assert on_side == pytest.approx([16 / 28, 8 / 28, 4 / 28], abs=0.01)
    assert np.abs(points.mean(axis=0)).max() < 0.05


def test_alignment_undoes_a_similarity() -> None:
    rng = np.random.default_rng(6)
    points, rotation = rng.normal(size=(30, 3)), Rotation.random(random_state=7).as_matrix()
    scale, turned, shift = align(points, 2.5 * points @ rotation.T + [1, 2, 3])
    assert scale == pytest.approx(2.5)
    np.testing.assert_allclose(turned, rotation, atol=1e-12)
    np.testing.assert_allclose(shift, [1, 2, 3], atol=1e-12)
    assert np.linalg.det(align(points, points * [-1, 1, 1])[1]) == pytest.approx(1), "a mirror image is not reached"
    with pytest.raises(InputError, match="cannot be aligned"):
        align(points[:2], points[:2])


def clipped(polygon: list[np.ndarray], low: np.ndarray) -> list[np.ndarray]:
    """What is left of a polygon within the unit cube at `low` (Sutherland and Hodgman)."""
    for axis, sign in itertools.product(range(3), (1, -1)):
        limit, result = (low[axis] if sign > 0 else low[axis] + 1), []
        for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            ahead, behind = sign * (a[axis] - limit), sign * (b[axis] - limit)
            if ahead >= 0:
                result.append(a)
            if ahead * behind < 0:
                result.append(a + (b - a) * ahead / (ahead - behind))
        polygon = result
    return polygon


def test_touched_voxels_are_those_where_clipping_leaves_something() -> None:
    triangles = np.random.default_rng(8).uniform(0.2, 4.8, (12, 3, 3))
    slow = np.zeros((5, 5, 5), dtype=bool)
    for triangle, voxel in itertools.product(triangles, itertools.product(range(5), repeat=3)):
        slow[voxel] |= bool(clipped(list(triangle), np.array(voxel)))
    np.testing.assert_array_equal(surface_voxels(triangles, 5), slow)


def test_chunks_change_nothing(monkeypatch) -> None:
    triangles = np.random.default_rng(9).uniform(0.2, 7.8, (30, 3, 3))
    whole = surface_voxels(triangles, 8)
    monkeypatch.setattr("mvdecor.evaluation.geometry.CHUNK", 50)
    np.testing.assert_array_equal(surface_voxels(triangles, 8), whole)


def test_solids_are_filled_and_compared() -> None:
    """Boxes of known volume; a sphere's volume; an open box keeps its inside open."""
    box = trimesh.creation.box((8, 6, 4), trimesh.transformations.translation_matrix((5, 5, 5)))
    box.vertices[box.vertices > 5] -= 1e-6
    box.vertices[box.vertices < 5] += 1e-6
    assert solid_voxels(np.array(box.triangles), 10).sum() == 8 * 6 * 4
    assert not solid_voxels(np.array(box.triangles[:-2]), 10)[5, 5, 5]
    first, second = (Shape.from_trimesh(trimesh.creation.icosphere(3, radius)) for radius in (1.0, 0.8))
    assert voxel_iou(first, first) == 1
    centres = (np.arange(32) + 0.5) / 32 * 2 * 1.04 - 1.04
    distance = np.linalg.norm(np.stack(np.meshgrid(centres, centres, centres)), axis=0)
    half = 1.04 / 32  # touched voxels make a solid larger by about half a voxel
    expected = (distance < 0.8 + half).sum() / (distance < 1 + half).sum()
    assert voxel_iou(first, second) == pytest.approx(expected, abs=0.02)
    apart = Shape.from_trimesh(trimesh.creation.icosphere(2, 1.0).apply_translation((3, 0, 0)))
    assert voxel_iou(first, apart) == 0
