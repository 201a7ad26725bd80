"""Pairs of crops of one view: transforms, images and matches against loops over pixels and cases known by hand."""

import math

import pytest
import torch
import trimesh

from mvdecor.correspondences import Matching, embeddings_at_a, embeddings_at_b
from mvdecor.correspondences.crops import Crop, crop_images, match_crops, sample_crop
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.crops import CropPairSource
from mvdecor.views import Rendering, Surface, make_rasterizer, sphere_cameras
from mvdecor.views.shape_views import ShapeViews

SIZE = 24
WHOLE = Crop(0, 0, SIZE, SIZE, False, (SIZE, SIZE))
CROPS = [
    WHOLE,
    Crop(0, 0, SIZE, SIZE, True, (SIZE, SIZE)),
    Crop(3.3, 5.1, 14.2, 17.9, False, (SIZE, SIZE)),
    Crop(7.7, 2.4, 15.3, 11.8, True, (SIZE, SIZE)),
]


def shape_views(layers: int = 1) -> ShapeViews:
    box = Shape.from_trimesh(trimesh.creation.box((1, 0.7, 0.8)), "box")
    ball = Shape.from_trimesh(trimesh.creation.icosphere(2, 0.8), "ball")
    return ShapeViews(
        [box, ball], lambda s: sphere_cameras(6, SIZE, [box.id, ball.id].index(s.id)), make_rasterizer("embree"), layers
    )


def surface_of_view(shape: int, view: int, layers: int = 1) -> Surface:
    both = shape_views(layers)
    return both.surface(both[shape], [view])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def position(crop: Crop, x: float, y: float) -> tuple[float, float]:
    """Where a position of the crop lies in the view."""
    x = SIZE - x if crop.flip else x
    return crop.left + x / SIZE * crop.width, crop.top + y / SIZE * crop.height


def position_back(crop: Crop, x: float, y: float) -> tuple[float, float]:
    x, y = (x - crop.left) / crop.width * SIZE, (y - crop.top) / crop.height * SIZE
    return (SIZE - x if crop.flip else x), y


def match_by_loops(surface: Surface, a: Crop, b: Crop) -> dict[tuple[int, int], tuple[float, float]]:
    """(layer, pixel in A) -> position in B, one pixel after another; of rivals the one nearest to the pixel's centre."""
    found = {}
    for layer in range(surface.mask.shape[1]):
        candidates = []
        for i in range(SIZE):
            for j in range(SIZE):
                x, y = position(a, j + 0.5, i + 0.5)
                u, v = position_back(b, x, y)
                if 0 <= u < SIZE and 0 <= v < SIZE and surface.mask[0, layer, math.floor(y), math.floor(x)]:
                    candidates.append((i * SIZE + j, (x, y), (u, v)))
        for which in (1, 2):
            best: dict[tuple[int, int], tuple] = {}
            for candidate in candidates:
                p, q = candidate[which]
                distance = math.hypot(p % 1 - 0.5, q % 1 - 0.5)
                cell = (math.floor(p), math.floor(q))
                if cell not in best or distance < best[cell][0] - 1e-9:
                    best[cell] = (distance, candidate)
            candidates = [c for _, c in best.values()]
        found |= {(layer, c[0]): c[2] for c in candidates}
    return found


@pytest.mark.parametrize("a", CROPS[2:])
@pytest.mark.parametrize("b", CROPS)
def test_matches_are_those_of_a_loop_over_pixels(a: Crop, b: Crop):
    surface = surface_of_view(1, 2, layers=2)
    matches, expected = match_crops(surface, a, b), match_by_loops(surface, a, b)
    got = {(int(p) // SIZE**2, int(p) % SIZE**2): xy for p, xy in zip(matches.pixel_a, matches.xy_b, strict=True)}
    assert len(got) == len(matches)
    common = got.keys() & expected.keys()  # float32 may choose otherwise between rivals that are equally near
    assert len(common) >= 0.97 * max(len(got), len(expected)) > 50
    for key in common:
        assert got[key].tolist() == pytest.approx(expected[key], abs=1e-3)
    assert torch.equal(matches.layer_b, matches.pixel_a // SIZE**2)
    cells = {(int(l), *xy.floor().int().tolist()) for l, xy in zip(matches.layer_b, matches.xy_b, strict=True)}  # noqa: E741
    assert len(cells) == len(matches), "no pixel of B twice"
    assert len(torch.unique(matches.points, dim=0)) == len(matches), "no surface point twice"


def test_whole_view_twice_matches_each_pixel_with_itself():
    surface = surface_of_view(0, 1)
    matches = match_crops(surface, WHOLE, WHOLE)
    foreground = surface.mask.flatten().nonzero()[:, 0]
    order = matches.pixel_a.argsort()
    assert torch.equal(matches.pixel_a[order], foreground)
    own = torch.stack([foreground % SIZE, foreground // SIZE], -1) + 0.5
    assert torch.equal(matches.xy_b[order], own)
    assert torch.equal(matches.points[order], surface.points.reshape(-1, 3)[foreground])
    assert float(matches.overlap) == 1


def test_mirrored_view_matches_mirrored_pixels():
    surface = surface_of_view(0, 1)
    matches = match_crops(surface, WHOLE, CROPS[1])
    torch.testing.assert_close(matches.xy_b[:, 0], SIZE - (matches.pixel_a % SIZE + 0.5))
    torch.testing.assert_close(matches.xy_b[:, 1], matches.pixel_a // SIZE + 0.5)


def test_boxes_apart_have_no_match():
    left, right = Crop(0, 0, 10, SIZE, False, (SIZE, SIZE)), Crop(12, 0, 10, SIZE, True, (SIZE, SIZE))
    matches = match_crops(surface_of_view(1, 0), left, right)
    assert len(matches) == 0 and float(matches.overlap) == 0


@pytest.mark.parametrize("crop", CROPS)
def test_cropped_images_are_bilinear_samples(crop: Crop):
    images = torch.rand(1, 2, SIZE, SIZE, generator=rng())
    got = crop_images(images, crop, ("depth", "layer"))
    for i in range(0, SIZE, 3):
        for j in range(0, SIZE, 2):
            x, y = position(crop, j + 0.5, i + 0.5)
            x, y = min(max(x - 0.5, 0), SIZE - 1), min(max(y - 0.5, 0), SIZE - 1)
            x0, y0 = min(int(x), SIZE - 2), min(int(y), SIZE - 2)
            fx, fy = x - x0, y - y0
            p = images[0, :, y0 : y0 + 2, x0 : x0 + 2]
            expected = (p[:, 0, 0] * (1 - fx) + p[:, 0, 1] * fx) * (1 - fy) + (
                p[:, 1, 0] * (1 - fx) + p[:, 1, 1] * fx
            ) * fy
            torch.testing.assert_close(got[0, :, i, j], expected, rtol=1e-4, atol=1e-4)


def test_mirroring_turns_normals_in_camera_axes_only():
    images, flipped = torch.rand(2, 7, SIZE, SIZE, generator=rng()), CROPS[1]
    channels = ("rgb", "depth", "normal")
    camera, world = (crop_images(images, flipped, channels, frame) for frame in ("camera", "world"))
    torch.testing.assert_close(world, images.flip(-1))
    torch.testing.assert_close(camera[:, 4], -images.flip(-1)[:, 4])
    others = [0, 1, 2, 3, 5, 6]
    torch.testing.assert_close(camera[:, others], images.flip(-1)[:, others])


def test_sampled_boxes_lie_inside_and_have_the_areas_and_ratios_asked_for():
    generator, size = rng(), (40, 60)
    crops = [sample_crop(size, (0.1, 0.3), (0.8, 1.25), 0.5, generator) for _ in range(300)]
    for c in crops:
        assert c.left >= 0 and c.top >= 0 and c.left + c.width <= 60 + 1e-6 and c.top + c.height <= 40 + 1e-6
        assert 0.1 - 1e-6 <= c.width * c.height / 2400 <= 0.3 + 1e-6
        assert 0.8 - 1e-6 <= c.width / c.height <= 1.25 + 1e-6
    assert 100 < sum(c.flip for c in crops) < 200
    assert sample_crop(size, (1, 1), (1, 1), 0, rng()).height == 40


@pytest.mark.parametrize("layers", [1, 2])
def test_images_and_matches_of_a_batch_belong_together(layers: int):
    """With positions as the network's input, both ends of a match show its point (a pixel apart at most)."""
    source = CropPairSource(shape_views(layers), Rendering(("points",)), pairs=5, points=20)
    batch = source.sample(0, 0)
    assert batch.images.shape == (2, 5, layers, 3, SIZE, SIZE)
    assert torch.bincount(batch.matches.pair, minlength=5).tolist() == [20] * 5
    assert set(batch.shape_ids) == {"box", "ball"}
    for at in (embeddings_at_a(batch.images[0], batch.matches), embeddings_at_b(batch.images[1], batch.matches)):
        distance = (at - batch.matches.points).norm(dim=-1)
        assert float(distance.median()) < 0.03  # a pixel is about 0.08; silhouettes mix with the background


def test_samples_are_seeded_and_colours_change_for_each_crop():
    def sample(seed: int, jitter: float = 0.4):
        rendering = Rendering(("depth", "rgb"), colour_jitter=jitter)
        source = CropPairSource(shape_views(), rendering, 2, 20, scale=(1, 1), ratio=(1, 1), flip=0)
        return source.sample(seed, 0)

    first, again, other = sample(1), sample(1), sample(2)
    assert torch.equal(first.images, again.images) and torch.equal(first.matches.xy_b, again.matches.xy_b)
    assert not torch.equal(first.images, other.images)
    a, b = first.images  # whole views: they differ by the colours alone
    assert torch.equal(a[:, :, 0], b[:, :, 0]) and not torch.equal(a[:, :, 1:], b[:, :, 1:])
    a, b = sample(1, 0.0).images
    torch.testing.assert_close(a, b)


def test_shapes_whose_crops_never_overlap_end_in_one_error():
    source = CropPairSource(shape_views(), Rendering(("depth",)), 1, matching=Matching(min_overlap=1, tries=3))
    with pytest.raises(InputError, match=r"no shape has two crops of one view that overlap.*min_overlap"):
        source.sample(0, 0)
