"""What a model sees of a whole shape, by a network whose embedding is known: the position."""

import numpy as np
import pytest
import torch
import trimesh
from octants import save_octants

from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.embedder import Embedder


def test_a_shape_is_the_mean_of_its_visible_faces_by_area(tmp_path):
    """An ellipsoid of small faces beside a plate of larger ones: all are seen, so the mean follows from the faces alone."""
    embedder = Embedder(save_octants(tmp_path / "model"), "cpu")
    ball = trimesh.creation.icosphere(2)
    ball.apply_scale([0.2, 1.0, 0.5])
    ball.apply_translation([3, 0, 0])
    plate = trimesh.creation.box([0.1, 2, 2]).subdivide().subdivide().subdivide()
    shape = Shape.from_trimesh(trimesh.util.concatenate([ball, plate]), "both").normalized()
    embedding = embedder.of_shape(shape)
    corners = shape.vertices[shape.faces].double().numpy()
    centers = corners.mean(axis=1)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    split = np.concatenate([centers.clip(0), (-centers).clip(0)], axis=1)
    split /= np.linalg.norm(split, axis=1, keepdims=True)
    expected = (areas[:, None] * split).sum(axis=0)
    np.testing.assert_allclose(embedding, expected / np.linalg.norm(expected), atol=0.03)
    assert embedding.shape == (6,) and float(embedding.norm()) == pytest.approx(1)


def test_twins_and_hidden_faces_change_nothing(tmp_path):
    embedder = Embedder(save_octants(tmp_path / "model"), "cpu")
    ball = trimesh.creation.icosphere(2)
    inside = trimesh.creation.box([0.1, 0.3, 0.1])
    inside.apply_translation([0.4, 0, 0])
    one = embedder.of_shape(Shape.from_trimesh(ball, "one").normalized())
    hides = embedder.of_shape(Shape.from_trimesh(trimesh.util.concatenate([ball, inside]), "hides").normalized())
    faces = np.concatenate([ball.faces, ball.faces[:100, ::-1]])
    twins = trimesh.Trimesh(ball.vertices, faces, process=False)
    doubled = embedder.of_shape(Shape.from_trimesh(twins, "twins").normalized())
    torch.testing.assert_close(hides, one, atol=1e-6, rtol=0)
    torch.testing.assert_close(doubled, one, atol=1e-6, rtol=0)
