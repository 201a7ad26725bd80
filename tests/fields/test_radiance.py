"""Radiance fields against plain loops: volume rendering, factorised grids, the contraction of space, and their files."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mvdecor.errors import InputError
from mvdecor.fields import GridField, MLPField
from mvdecor.fields.grid import LINES, PLANES, PlanesAndLines
from mvdecor.fields.radiance import SceneSpace, colour_loss, see
from mvdecor.fields.radiance_file import load_radiance, save_radiance

BOX = SceneSpace((0.5, 0.0, -0.2), 1.3, False, 1.0, 4.0)
WORLD = SceneSpace((0.5, 0.0, -0.2), 1.3, True, 0.5, 4.0)


class Ball:
    """A soft coloured ball around the middle."""

    def density(self, coordinates):
        return 6 * torch.exp(-8 * coordinates.square().sum(dim=-1))

    def colours(self, coordinates, directions):
        return (0.5 + 0.4 * torch.sin(3 * coordinates + directions)).clamp(0, 1)


def some_rays(count=5):
    generator = torch.Generator().manual_seed(0)
    origins = torch.tensor([0.5, 0.3, 2.5]) + 0.1 * torch.randn(count, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.tensor([0.5, 0.0, -0.2]) - origins, dim=-1)
    return origins, directions


@pytest.mark.parametrize("space", [BOX, WORLD])
def test_rays_see_what_a_loop_over_samples_sees(space):
    origins, directions = some_rays()
    behind = torch.rand(5, 3, generator=torch.Generator().manual_seed(1))
    seen = see(Ball(), space, origins, directions, 12, background=behind, skipped=0)
    distances, lengths = space.distances(5, 12, jitter=False)
    for ray in range(5):
        light, rgb, lost = 1.0, np.zeros(3), []
        for t, length in zip(distances[ray].tolist(), lengths[ray].tolist()):
            point = space.coordinates((origins[ray] + t * directions[ray])[None])
            density = float(Ball().density(point)) if bool((point.abs() <= 1).all()) else 0.0
            stopped = light * (1 - math.exp(-density * length / space.radius))
            rgb += stopped * Ball().colours(point, directions[ray][None])[0].double().numpy()
            light -= stopped
            lost.append(1 - light)
        np.testing.assert_allclose(seen.rgb[ray].numpy(), rgb + light * behind[ray].numpy(), atol=1e-5)
        np.testing.assert_allclose(float(seen.opacity[ray]), 1 - light, atol=1e-5)
        half = next(i for i, total in enumerate(lost) if total >= lost[-1] / 2) if lost[-1] >= 0.5 else -1
        assert float(seen.distance[ray]) == float(distances[ray, half])


def test_skipped_samples_change_little():
    rays = some_rays()
    every, few = see(Ball(), BOX, *rays, 64, skipped=0), see(Ball(), BOX, *rays, 64)
    assert int(few.seen.sum()) < int(every.seen.sum())
    torch.testing.assert_close(few.rgb, every.rgb, atol=0.02, rtol=0)


def test_colour_loss_is_the_weighted_error_of_each_sample():
    seen, rgb = (
        see(Ball(), BOX, *some_rays(), 8, skipped=0),
        torch.rand(5, 3, generator=torch.Generator().manual_seed(2)),
    )
    places, expected = seen.seen.nonzero().tolist(), 0.0
    for (ray, sample), colour in zip(places, seen.colours):
        expected += float(seen.weights[ray, sample] * (colour - rgb[ray]).square().mean())
    assert float(colour_loss(seen, rgb)) == pytest.approx(expected / 5, rel=1e-4)


def test_contraction_keeps_the_middle_and_holds_all_space():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(500, 3, generator=generator) * torch.logspace(-1, 4, 500)[:, None]
    scaled = (points - torch.tensor(WORLD.center)) / WORLD.radius
    coordinates = WORLD.coordinates(points)
    inside = scaled.abs().amax(dim=1) <= 1
    torch.testing.assert_close(coordinates[inside], scaled[inside] / 2)
    assert bool((coordinates.abs() <= 1).all())
    order = scaled[~inside].abs().amax(dim=1).argsort()
    norms = coordinates[~inside].abs().amax(dim=1)[order]
    assert bool((norms.diff() >= -1e-6).all()) and float(norms[0]) >= 0.5 and float(norms[-1]) > 0.99


@pytest.mark.parametrize("samples", [2, 7, 16])
def test_samples_ascend_and_fill_the_ray(samples):
    for space in (BOX, WORLD):
        for jitter in (False, True):
            distances, lengths = space.distances(3, samples, jitter)
            assert distances.shape == (3, samples) and bool((distances.diff(dim=1) > 0).all())
            end = space.far + (100 * space.radius if space.contracted else 0)
            torch.testing.assert_close(lengths.sum(dim=1), torch.full((3,), end - space.near), rtol=1e-4, atol=1e-4)
    inner = (samples + 1) // 2
    distances, _ = WORLD.distances(1, samples, False)
    assert float(distances[0, inner - 1]) < WORLD.far < float(distances[0, inner])


def at(values, place):
    """Linear interpolation in a list of values that stand evenly from -1 to 1."""
    x = (place + 1) / 2 * (len(values) - 1)
    low = min(int(x), len(values) - 2)
    return values[low] * (1 - (x - low)) + values[low + 1] * (x - low)


def test_planes_and_lines_are_products_of_interpolated_values():
    torch.manual_seed(0)
    grid = PlanesAndLines(2, 5)
    points = torch.rand(20, 3) * 2 - 1
    products = grid(points).detach()
    assert products.shape == (20, 6)
    for number, point in enumerate(points.tolist()):
        for mode, ((first, second), line) in enumerate(zip(PLANES, LINES)):
            for component in range(2):
                plane = grid.planes[mode, component].tolist()  # rows along the second coordinate
                value = at([at(row, point[first]) for row in plane], point[second])
                value *= at(grid.lines[mode, component, :, 0].tolist(), point[line])
                assert float(products[number, 2 * mode + component]) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("field", [GridField(8, 2, 2, 5, 8), MLPField(8, 2, 2)])
def test_a_new_field_is_clear_and_its_colours_are_colours(field):
    points, directions = torch.rand(50, 3) * 2 - 1, torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    density, colours = field.density(points), field.colours(points, directions)
    assert density.shape == (50,) and bool((density >= 0).all()) and density.mean().item() < 3
    assert colours.shape == (50, 3) and bool(((colours >= 0) & (colours <= 1)).all())
    trained = {id(weight) for group in field.groups(0.1) for weight in group["params"]}
    assert trained == {id(weight) for weight in field.parameters()}


def test_a_field_comes_back_from_its_file(tmp_path):
    field = GridField(8, 2, 2, 5, 8)
    settings = {"_target_": "mvdecor.fields.GridField", "resolution": 8, "density_components": 2}
    settings |= {"appearance_components": 2, "features": 5, "width": 8}
    save_radiance(tmp_path, field, settings, WORLD, {"capture": "a"})
    again, space, record = load_radiance(tmp_path)
    points = torch.rand(9, 3)
    assert space == WORLD and record["capture"] == "a"
    assert torch.equal(again.density(points), field.density(points))


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"format": "something else"}, "this is no radiance field"),
        ({"field": {"_target_": "os.system"}}, r"class os\.system, which is not of mvdecor"),
        ({"field": {"_target_": "mvdecor.fields.MLPField", "width": 3}}, "damaged"),
        ({"space": {"center": [0, 0, 0]}}, "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, record, words):
    field = MLPField(8, 2, 2)
    sound = {"format": "mvdecor radiance field 1", "space": vars(BOX)}
    sound["field"] = {"_target_": "mvdecor.fields.MLPField", "width": 8, "layers": 2, "harmonics": 2}
    text = {"record": json.dumps(sound | record)}
    save_file(dict(field.state_dict()), tmp_path / "radiance.safetensors", text)
    with pytest.raises(InputError, match=words):
        load_radiance(tmp_path)
