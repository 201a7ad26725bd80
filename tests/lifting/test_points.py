"""Labels of faces from labelled points, and the points' PLY file."""

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette
from mvdecor.figures.cloud import write_cloud
from mvdecor.lifting.points import labels_from_points
from mvdecor.shapes.shape import Shape


def ball() -> Shape:
    """A ball with three bands as labels."""
    shape = Shape.from_trimesh(trimesh.creation.icosphere(3), id="ball")
    labels = (shape.face_centers[:, 1] > -0.3).long() + (shape.face_centers[:, 1] > 0.3).long()
    return Shape("ball", shape.vertices, shape.faces, labels, ("low", "middle", "high"))


def test_points_of_the_true_surface_give_the_true_labels() -> None:
    shape = ball()
    points, faces = trimesh.sample.sample_surface(trimesh.Trimesh(shape.vertices, shape.faces), 40_000, seed=0)
    labels = labels_from_points(shape, torch.tensor(points).float(), shape.face_labels[torch.tensor(faces)], 3)
    assert (labels == shape.face_labels).float().mean() >= 0.97


@pytest.mark.parametrize("neighbours", [1, 4, 50])
def test_votes_are_those_of_the_nearest_points(neighbours: int) -> None:
    shape, points, labels = ball(), torch.randn(20, 3), torch.randint(3, (20,))
    got = labels_from_points(shape, points, labels, 3, neighbours)
    order = torch.cdist(shape.face_centers, points).argsort(dim=1)[:, : min(neighbours, 20)]
    for face, nearest in enumerate(order):
        counts = [int((labels[nearest] == label).sum()) for label in range(3)]
        assert int(got[face]) == counts.index(max(counts))


def test_an_empty_cloud_is_refused() -> None:
    with pytest.raises(InputError, match="ball: the point cloud is empty"):
        labels_from_points(ball(), torch.empty(0, 3), torch.empty(0, dtype=torch.int64), 3)


def test_other_readers_read_a_cloud(tmp_path) -> None:
    points, labels, confidence = torch.randn(7, 3), torch.tensor([0, 1, 1, 0, 2, 2, 1]), torch.rand(7)
    write_cloud(tmp_path / "a.ply", points, labels, confidence, ("seat", "Füße", "leg\nof chair"))
    theirs = trimesh.load(tmp_path / "a.ply")
    np.testing.assert_array_equal(theirs.vertices, points.double().numpy())
    np.testing.assert_array_equal(theirs.colors[:, :3], colours_of(labels.numpy(), label_palette(3)))
    rows = theirs.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(rows["label"], labels.numpy())
    np.testing.assert_array_equal(rows["confidence"], confidence.numpy())
