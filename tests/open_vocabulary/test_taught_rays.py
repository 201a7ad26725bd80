"""What a distillation is taught by: features and relevancies of pixels, affinities of patches."""

import pytest
import torch
from torch.nn.functional import normalize

from mvdecor.captures.capture import Capture, Pixels
from mvdecor.fields import GridField, taught_rays
from mvdecor.fields.radiance import SceneSpace
from mvdecor.fields.strongest import strongest_samples
from mvdecor.fields.taught_rays import PatchSource, PixelSource
from mvdecor.networks.crop_features import CropFeatures, crop_boxes
from mvdecor.views import sphere_cameras

SIZE, VIEWS, WORDS = 12, [0, 2], 3


@pytest.fixture
def samples():
    cameras = sphere_cameras(3, size=SIZE, fov=50.0, distance=(2.0, 2.0), jitter=0.0, seed=0)
    capture = Capture("scene", cameras, lambda view: Pixels(torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8).numpy()))
    space = SceneSpace((0.0, 0.0, 0.0), 1.0, False, 1.0, 3.0)
    return strongest_samples(GridField(resolution=4, features=5), space, capture, VIEWS, samples=6, count=3)


@pytest.fixture
def crops():
    boxes = [crop_boxes(SIZE, SIZE, (2, 4), seed=view) for view in range(2)]
    return [
        CropFeatures(tuple(normalize(torch.randn(len(b), 8), dim=1).half() for b in view), tuple(view), SIZE, SIZE)
        for view in boxes
    ]


def test_rays_are_taught_by_their_own_pixels(samples, crops, monkeypatch):
    relevancy = torch.rand(2, 2, WORDS, SIZE, SIZE)
    source = PixelSource(samples, crops, relevancy, [1, 0], rays=20)
    batch = source.sample(0, 5)
    pixels = [
        next(
            p for p in range(2 * SIZE**2) if torch.allclose(samples.at(torch.tensor([p]))[0][0], batch.coordinates[ray])
        )
        for ray in range(20)
    ]
    for ray, pixel in enumerate(pixels):
        view, row, column = pixel // SIZE**2, pixel // SIZE % SIZE, pixel % SIZE
        for i, scale in enumerate([1, 0]):
            expected = crops[view].pixels(scale, torch.tensor([row]), torch.tensor([column]))[0]
            assert torch.allclose(batch.features[ray, i], expected, atol=2e-3)
        assert torch.allclose(batch.relevancy[ray], relevancy[view, :, :, row, column], atol=1e-3)
    parts = [source.sample(0, 5, range(0, 7)), source.sample(0, 5, range(7, 20))]
    assert torch.equal(torch.cat([part.features for part in parts]), batch.features)
    assert sum(part.share for part in parts) == pytest.approx(1)
    monkeypatch.setattr(taught_rays, "TABLE", 0)
    summed = PixelSource(samples, crops, relevancy, [1, 0], rays=20)
    assert summed.table is None and torch.allclose(summed.sample(0, 5).features, batch.features, atol=2e-3)


def test_affinities_are_cosines_minus_a_quantile_of_them(samples):
    dense = [normalize(torch.randn(4, SIZE, SIZE), dim=0) for _ in VIEWS]
    source = PatchSource(samples, dense, points=4, span=0.7, patches=3, shift_quantile=0.5, shift=0.0, seed=0)
    assert source.spacing == 2 and source.quartiles[1] == pytest.approx(source.shift)
    batch = source.sample(0, 1)
    assert batch.affinity.shape == (3, 16, 16) and batch.coordinates.shape == (48, 3, 3)
    assert torch.allclose(batch.affinity, batch.affinity.transpose(1, 2), atol=1e-6)
    assert torch.allclose(batch.affinity.diagonal(dim1=1, dim2=2), torch.full((3, 16), 1 - source.shift), atol=1e-5)
    for patch in range(3):  # one of all patches has these affinities: dense features have the pictures' size here
        matches = []
        for view in range(2):
            for top in range(SIZE - 6):
                for left in range(SIZE - 6):
                    points = dense[view][:, top : top + 7 : 2, left : left + 7 : 2].flatten(1).T
                    matches.append(torch.allclose(points @ points.T - source.shift, batch.affinity[patch], atol=1e-5))
        assert sum(matches) == 1
    fixed = PatchSource(samples, dense, points=4, span=0.7, patches=3, shift_quantile=None, shift=0.7, seed=0)
    assert fixed.shift == 0.7
