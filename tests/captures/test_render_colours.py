"""Looks of renders: colours by part are symmetric and flat on each side, the blur is SciPy's, lines lie on a background."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from mvdecor.captures.render_colours import EYE, Colouring, blurred, random_backgrounds
from tests.small_reconstructor import bird_template


@pytest.fixture(scope="module")
def template():
    return bird_template()


def test_colours_by_part_are_of_two_sides_and_symmetric(template):
    mirror, labels = template.mirror, template.shape.face_labels
    eyes = [vertex for name, vertex in template.keypoints.items() if "eye" in name]
    for seed in range(5):
        colours = Colouring(template, 8, parts=1.0)(torch.Generator().manual_seed(seed))
        assert len(eyes) == 2 and bool((colours[eyes] == EYE).all())
        torch.testing.assert_close(mirror.of(colours), colours, atol=1e-4, rtol=0)
        for label in range(len(template.shape.label_names)):
            of_part = torch.tensor([v for v in template.shape.faces[labels == label].unique() if v not in eyes])
            others = template.shape.faces[labels > label].unique()
            of_part = of_part[~torch.isin(of_part, others)]  # a vertex of several parts has the last one's colour
            by_height = colours[of_part[template.shape.vertices[of_part, 1].argsort()]]
            spreads = [
                max(float((x.amax(dim=0) - x.amin(dim=0)).max()) for x in (by_height[:k], by_height[k:]) if len(x))
                for k in range(len(by_height))
            ]
            assert min(spreads) <= 0.24 + 1e-6, "two colours, one above the other, and stripes of at most 0.12"


def test_colours_in_patches_where_there_are_no_labels(template):
    colours = Colouring(template, 1, parts=0.0)(torch.Generator().manual_seed(0))
    assert colours.shape == (len(template.shape.vertices), 3)
    assert float((colours - colours.mean(dim=0)).abs().max()) <= 0.24 + 1e-6, "one patch has one colour and stripes"


def test_the_blur_is_a_gaussian_of_each_image():
    images = torch.rand(4, 3, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    deviations = (0.5, 1.0, 1.7, 0.1)
    found = blurred(images, torch.tensor(deviations, dtype=torch.float64)).numpy()
    for image, deviation, result in zip(images.numpy(), deviations, found, strict=True):
        radius = int(np.ceil(2.5 * deviation))
        expected = [gaussian_filter(channel, deviation, mode="nearest", radius=radius) for channel in image]
        np.testing.assert_allclose(result, image if deviation == 0.1 else expected, atol=1e-12)
    assert blurred(images, torch.zeros(4)) is images


def test_lines_lie_over_the_background():
    plain, lined = (random_backgrounds(32, lines, [torch.Generator().manual_seed(3)])[0] for lines in (0, 6))
    changed = (plain != lined).any(dim=0)
    colours = lined[:, changed].T.unique(dim=0)
    assert 0 < changed.double().mean() < 1 and len(colours) <= 6
