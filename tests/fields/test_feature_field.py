"""Features on a frozen field: rendered and then mapped as mapped and then rendered, the strongest samples, votes of views."""

import pytest
import torch

from mvdecor.captures.capture import Capture, Pixels
from mvdecor.fields import GridField, MLPField
from mvdecor.fields.feature_field import FeatureField
from mvdecor.fields.radiance import SceneSpace, see
from mvdecor.fields.strongest import strongest_samples
from mvdecor.lifting.scene_vote import gather_scores
from mvdecor.views import sphere_cameras

SIZE = 6


@pytest.fixture
def scene():
    cameras = sphere_cameras(4, size=SIZE, fov=50.0, distance=(2.0, 2.0), jitter=0.0, seed=0)
    capture = Capture("scene", cameras, lambda view: Pixels(torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8).numpy()))
    field = GridField(resolution=8, density_components=2, appearance_components=3, features=5, width=4)
    torch.nn.init.normal_(field.density_grid.planes, std=3.0)
    torch.nn.init.normal_(field.density_grid.lines, std=1.0)
    return field, SceneSpace((0.0, 0.0, 0.0), 1.0, False, 1.0, 3.0), capture


def features_of_samples(features, coordinates, weights):
    """The other way: each sample is mapped to D numbers by itself, and these are rendered."""
    total = []
    for ray, shares in zip(coordinates, weights):
        total.append(sum(share * features.at_points(point[None])[0] for point, share in zip(ray, shares)))
    return torch.stack(total)


@pytest.mark.parametrize("kind", [GridField, MLPField])
def test_rendered_then_mapped_is_mapped_then_rendered(kind):
    features = FeatureField(kind(), 7, scales=3, resolution=6)
    coordinates, weights = 2 * torch.rand(9, 4, 3) - 1, torch.rand(9, 4) / 4
    vectors, shares = features(coordinates, weights)
    assert torch.allclose(vectors, features_of_samples(features, coordinates, weights), atol=2e-6)
    assert torch.allclose(shares.sum(dim=-1), torch.ones(9))
    assert float(shares.detach().max()) <= 2.7183 / (2.7183 + 2)


def test_only_appearance_head_and_selection_move():
    field = GridField(resolution=8, features=5)
    features = FeatureField(field, 7, scales=2, resolution=6)
    names = {name for name, weight in features.named_parameters() if weight.requires_grad}
    assert not any("density" in name or "mlp" in name for name in names) and len(names) == 9
    rates = {id(weight) for group in features.groups(0.1, 0.2) for weight in group["params"]}
    assert rates == {id(weight) for weight in features.parameters() if weight.requires_grad}
    assert [group["lr"] for group in features.groups(0, 0.2)] == [0.2]
    features.field.appearance_grid.planes.data.zero_()
    assert float(field.appearance_grid.planes.detach().abs().max()) > 0  # a copy


def test_strongest_samples_are_those_of_the_whole_ray(scene):
    field, space, capture = scene
    cached = strongest_samples(field, space, capture, [1, 3], samples=12, count=5)
    pixels = torch.tensor([0, 17, 40, 71])
    rays = capture.rays(torch.tensor([1, 1, 3, 3]) * SIZE**2 + pixels % SIZE**2)
    seen = see(field, space, rays.origins, rays.directions, 12)
    coordinates, weights = cached.at(pixels)
    for ray in range(4):
        order = seen.weights[ray].argsort(descending=True)[:5]
        assert torch.allclose(weights[ray], seen.weights[ray][order])
        same = [bool((seen.coordinates[ray] - point).norm(dim=-1).min() < 1e-6) for point in coordinates[ray]]
        assert all(same)
    every = strongest_samples(field, space, capture, [1, 3], samples=12, count=12)
    assert every.lost == pytest.approx(0, abs=1e-6) and 0 <= cached.lost < 1
    assert torch.allclose(every.depth, cached.depth)
    rays_in_all = 2 * SIZE**2
    assert cached.bytes == rays_in_all * (5 * 6 + 4)


def test_a_view_votes_only_for_points_that_it_sees(scene):
    _, _, capture = scene
    cameras = capture.cameras
    scores = torch.rand(4, 3, SIZE, SIZE)
    depth = torch.full((4, SIZE, SIZE), 2.0)  # all cameras are 2 away from the middle
    depth[2] = 1.2  # something stands before the third one
    points = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.05, -0.1], [0.0, 50.0, 0.0]])
    mean, number = gather_scores(points, cameras, depth, scores, tolerance=0.15)
    assert number.tolist() == [3, 3, 0]
    expected = []
    for point in points[:2]:
        values = []
        for view in (0, 1, 3):
            camera = cameras.rotation[view] @ point + cameras.translation[view]
            x, y, w = cameras.intrinsics[view] @ camera
            values.append(scores[view, :, int(y / w), int(x / w)])
        expected.append(torch.stack(values).mean(dim=0))
    assert torch.allclose(mean[:2], torch.stack(expected))
    hidden, number = gather_scores(points[:1], cameras, torch.full_like(depth, 0.5), scores, 0.1)
    assert number.tolist() == [0] and float(hidden.sum()) > 0
