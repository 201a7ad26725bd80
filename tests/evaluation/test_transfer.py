"""Transfer by embedding against loops over pixels, and with embeddings whose answer is known."""

import json
import math

import pytest
import torch
import trimesh

from mvdecor.correspondences import match_views
from mvdecor.errors import InputError
from mvdecor.evaluation import Landings, height_of, land, pixel_centers, summarize_landings
from mvdecor.shapes import Shape
from mvdecor.views import Surface, make_rasterizer, sphere_cameras, surface_of


def surface(size: int = 24, layers: int = 1) -> Surface:
    """Two views of an ellipsoid, its longest axis up."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.apply_scale([0.7, 1.0, 0.5])
    shape = Shape.from_trimesh(mesh)
    cameras = sphere_cameras(12, size, seed=0)[[3, 4]]
    return surface_of(shape, make_rasterizer("embree")([shape], [cameras], layers)[0])


def test_landings_against_a_loop_over_pixels():
    both = surface(layers=2)
    a, b = both[[0]], both[[1]]
    matches = match_views(a, b, tolerance=0.02)
    assert len(matches) > 50
    generator = torch.Generator().manual_seed(0)
    embedded_a, embedded_b = (torch.randn(2, 5, 24, 24, generator=generator) for _ in "ab")
    found = land(a, b, embedded_a, embedded_b, matches, height=2.0, generator=generator)
    assert len(found) == len(matches)
    for m in range(0, len(matches), 7):
        layer, i, j = torch.unravel_index(matches.pixel_a[m], (2, 24, 24))
        own = embedded_a[layer, :, i, j]
        best, where = -2.0, (0, 0, 0)
        for pixel in b.mask[0].nonzero().tolist():
            other = embedded_b[pixel[0], :, pixel[1], pixel[2]]
            cosine = float(own @ other / (own.norm() * other.norm()))
            if cosine > best:
                best, where = cosine, tuple(pixel)
        assert torch.unravel_index(found.pixel[m], (2, 24, 24)) == tuple(map(torch.tensor, where))
        assert float(found.similarity[m]) == pytest.approx(best, abs=1e-5)
        distance = math.dist(matches.points[m].tolist(), b.points[0][where].tolist())
        assert float(found.error[m]) == pytest.approx(100 * distance / 2, abs=1e-3)
        x, y = matches.xy_b[m].tolist()
        assert float(found.pixels[m]) == pytest.approx(math.hypot(where[2] + 0.5 - x, where[1] + 0.5 - y), abs=1e-3)
        to_a, to_b = a.cameras.centers[0] - matches.points[m], b.cameras.centers[0] - matches.points[m]
        angle = math.degrees(math.acos(float(to_a @ to_b / (to_a.norm() * to_b.norm()))))
        assert float(found.angle[m]) == pytest.approx(angle, abs=0.05)


def test_embedding_by_position_lands_within_a_pixel_and_chance_does_not():
    """Directions from inside a convex shape tell its surface points apart, so the cosine of positions finds the point."""
    both = surface(size=64)
    matches = match_views(both[[0]], both[[1]])
    embedded = both.points.permute(0, 1, 4, 2, 3)
    generator = torch.Generator().manual_seed(0)
    found = land(both[[0]], both[[1]], embedded[0], embedded[1], matches, height=2.0, generator=generator)
    figures = summarize_landings(found)
    assert len(matches) > 500
    assert figures["within"]["5"] > 99.5 and figures["within"]["10"] == 100 and figures["median_error"] < 1.5
    assert figures["same_pixel"] > 98
    assert figures["chance"]["5"] < 20
    assert bool((found.pixels < 3).all())


def test_the_same_view_lands_where_it_started():
    both = surface()
    matches = match_views(both[[0]], both[[0]])
    embedded = torch.randn(1, 8, 24, 24, generator=torch.Generator().manual_seed(0))
    found = land(both[[0]], both[[0]], embedded, embedded, matches, 2.0, torch.Generator().manual_seed(0))
    assert torch.equal(found.pixel, matches.pixel_a)
    assert float(found.error.max()) == 0 and float(found.pixels.max()) < 1e-3 and float(found.angle.max()) < 0.1


def test_pixel_centers():
    assert pixel_centers(torch.tensor([0, 4, 5, 23]), 2, 5).tolist() == [[0.5, 0.5], [4.5, 0.5], [0.5, 1.5], [3.5, 0.5]]


def test_summary_of_a_few():
    landings = Landings(
        pixel=torch.zeros(4, dtype=torch.int64),
        similarity=torch.ones(4),
        error=torch.tensor([1.0, 4.0, 7.0, 30.5]),
        pixels=torch.tensor([0.5, 1.6, 9.0, 9.0]),
        angle=torch.tensor([3.0, 14.0, 15.0, 180.0]),
        chance=torch.tensor([50.0, 50.0, 50.0, 3.0]),
    )
    figures = summarize_landings(Landings.cat([landings]))
    assert figures["points"] == 4
    assert figures["within"] == {"2": 25, "5": 50, "10": 75} and figures["chance"] == {"2": 0, "5": 25, "10": 25}
    assert figures["same_pixel"] == 25
    rows = {(row["from"], row["to"]): (row["points"], row["within"]["5"]) for row in figures["by_angle"]}
    assert rows == {(0, 15): (2, 100), (15, 30): (1, 0), (165, 180): (1, 0)}
    shares = {row["distance"]: row["share"] for row in figures["by_distance"]}
    assert shares[0] == 0 and shares[1] == 25 and shares[6] == 50 and shares[30] == 75
    json.dumps(figures)


def test_height():
    faces = torch.tensor([[0, 1, 2]])
    corners = torch.tensor([[0.0, -1, 0], [5, 2, 0], [0, 0, 1], [0, 99, 0]])
    assert height_of(Shape("s", corners, faces)) == 3  # a vertex of no face does not count
    with pytest.raises(InputError, match="shape s: is flat"):
        height_of(Shape("s", corners * torch.tensor([1.0, 0, 1]), faces))
