"""Renders of a template: what is said of them is true of their pictures. Warped images and crops of photographs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch3d.utils import ico_sphere

from mvdecor.captures.photo_batches import PADDING, PhotoSource, crop_photograph
from mvdecor.captures.photographs import Photograph
from mvdecor.captures.template_renders import RenderSettings, TemplateRenders
from mvdecor.captures.warps import random_matrices, warp_images
from mvdecor.errors import InputError
from mvdecor.losses.positions import move_positions
from mvdecor.shapes.deformations import Deformations
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.template import Template, find_mirror
from mvdecor.solvers import solve_camera


@pytest.fixture(scope="module")
def template():
    sphere = ico_sphere(2)
    vertices = sphere.verts_packed() * torch.tensor([0.5, 0.7, 1.0])
    vertices[:, 1] += 0.3 * vertices[:, 2] ** 2 + 0.2 * vertices[:, 2]
    shape = Shape("egg", vertices, sphere.faces_packed()).normalized()
    return Template(shape, {}, find_mirror(shape))


def test_renders_show_what_they_say(template):
    settings = RenderSettings(deformations=Deformations(0.0, 0.0, 0.0), noise=0.0)
    batch = TemplateRenders(template, 48, 4, settings).sample(0, 3)
    assert batch.images.shape == (4, 3, 48, 48) and batch.images.min() >= 0 and batch.images.max() <= 1
    fit = solve_camera(batch.positions, None, template.shape.vertices)
    assert bool(fit.converged.all())
    torch.testing.assert_close(fit.rotation, batch.rotation, atol=1e-4, rtol=0)
    for b in range(4):
        column, row = ((batch.positions[b] + 1) * 24).floor().long().unbind(1)
        inside = (column >= 0) & (column < 48) & (row >= 0) & (row < 48)
        around = torch.nn.functional.max_pool2d(batch.masks[b].float()[None, None], 3, 1, 1)[0, 0]
        assert bool((around[row[inside], column[inside]] == 1).all()), "all vertices lie in the mask"
        depth = template.shape.vertices @ batch.rotation[b, 2]
        assert depth[batch.visible[b]].mean() < depth[~batch.visible[b]].mean(), "what is seen lies in front"


def test_mirror_images_of_renders_show_what_they_say(template):
    settings = RenderSettings(deformations=Deformations(0.0, 0.0, 0.0), noise=0.0)
    renders, mirror = TemplateRenders(template, 48, 3, settings).sample(0, 1), template.mirror
    batch = renders.with_mirror_images(mirror.vertices, mirror.weights, mirror.axis)
    assert torch.equal(batch.images[3:].flip(-1), renders.images) and torch.equal(batch.masks[:3], renders.masks)
    fit = solve_camera(batch.positions, None, template.shape.vertices)
    assert bool(fit.converged.all()) and bool((torch.linalg.det(batch.rotation) > 0).all())
    torch.testing.assert_close(fit.rotation, batch.rotation, atol=2e-3, rtol=0)
    for b in range(6):
        depth = template.shape.vertices @ batch.rotation[b, 2]
        assert depth[batch.visible[b]].mean() < depth[~batch.visible[b]].mean(), "what is seen lies in front"
        column, row = ((batch.positions[b, batch.visible[b]] + 1) * 24).floor().long().clamp(0, 47).unbind(1)
        around = torch.nn.functional.max_pool2d(batch.masks[b].float()[None, None], 3, 1, 1)[0, 0]
        assert bool((around[row, column] == 1).all()), "seen vertices lie in the mask"


def test_renders_depend_on_seed_step_and_place_alone(template):
    source = TemplateRenders(template, 32, 3)
    whole, part = source.sample(5, 2), source.sample(5, 2, range(1, 3))
    assert torch.equal(whole.images[1:], part.images) and torch.equal(whole.positions[1:], part.positions)
    assert part.share == pytest.approx(2 / 3)
    assert not torch.allclose(source.sample(5, 3).positions, whole.positions)


def test_warped_images_show_the_moved_points():
    image = torch.zeros(3, 1, 41, 41)
    spots = [(20, 20), (12, 25), (26, 17)]
    for b, (i, j) in enumerate(spots):
        image[b, 0, i - 1 : i + 2, j - 1 : j + 2] = 1
    matrices = random_matrices(3, True, torch.Generator().manual_seed(1))
    warped = warp_images(image, matrices)
    for b, (i, j) in enumerate(spots):
        start = torch.tensor([[[(2 * j + 1) / 41 - 1, (2 * i + 1) / 41 - 1]]])
        x, y = ((move_positions(start, matrices[b : b + 1])[0, 0] + 1) * 20.5 - 0.5).tolist()
        rows, columns = np.mgrid[:41, :41]
        weight = warped[b, 0].numpy()
        assert (rows * weight).sum() / weight.sum() == pytest.approx(y, abs=0.3)
        assert (columns * weight).sum() / weight.sum() == pytest.approx(x, abs=0.3)
    assert (torch.linalg.det(random_matrices(50, False, torch.Generator())[:, :, :2]) > 0).all()


def photograph(seed=0):
    rng = np.random.default_rng(seed)
    image = np.array(Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((80, 60)))
    mask = np.zeros((60, 80), dtype=bool)
    mask[20:50, 4:24] = True
    keypoints = np.array([[10.0, 30.0, 1.0], [23.0, 49.0, 1.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    return Photograph(str(seed), image, mask, (4.0, 20.0, 24.0, 50.0), keypoints)


def test_crops_keep_pixels_and_keypoints_together():
    photo = photograph()
    crop = crop_photograph(photo, 66, (1, 2, -1, 0))  # a square of 33 pixels, twice as large
    assert crop.side == pytest.approx(30 * (1 + 2 * PADDING))
    assert crop.corner == pytest.approx((14 - crop.side / 2, 35 - crop.side / 2))
    assert crop.keypoints[:, 2].tolist() == [1, 0, 0, 1]
    back = (crop.keypoints[[3, 0], :2].numpy() + 1) / 2 * crop.side + np.array(crop.corner)
    np.testing.assert_allclose(back, photo.keypoints[:2, :2], atol=1e-4)
    for row, column in ((30, 20), (10, 50), (60, 33)):
        x, y = crop.corner[0] + (column + 0.5) / 2, crop.corner[1] + (row + 0.5) / 2
        expected = _bilinear(photo.image, x - 0.5, y - 0.5)
        np.testing.assert_allclose(crop.image[:, row, column].numpy() * 255, expected, atol=1.5)
    assert crop.mask.sum() == pytest.approx(4 * photo.mask.sum(), rel=0.03)


def test_masks_that_vanish_are_refused():
    photo = photograph()
    thin = np.zeros_like(photo.mask)
    thin[20:50, 4], thin[20, 4:24] = True, True
    with pytest.raises(InputError, match="nothing is left of its mask at 4 x 4"):
        crop_photograph(replace(photo, mask=thin), 4)
    with pytest.raises(InputError, match="has no mask"):
        crop_photograph(replace(photo, mask=None), 4)


def _bilinear(image, x, y):
    height, width = image.shape[:2]
    total = np.zeros(3)
    for i in (int(np.floor(y)), int(np.floor(y)) + 1):
        for j in (int(np.floor(x)), int(np.floor(x)) + 1):
            total += (1 - abs(y - i)) * (1 - abs(x - j)) * image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
    return total


def test_every_photograph_comes_once_before_one_comes_again():
    photos = SimpleNamespace(load=lambda id: photograph(int(id)), keypoint_names=("b", "a"))
    ids = [str(i) for i in range(7)]
    source = PhotoSource(photos, ids, ("a", "b"), 32, 3, jitter=0.1, points=5)
    seen = [id for step in range(7) for id in source.sample(0, step).shape_ids]
    assert all(sorted(seen[i : i + 7]) == ids for i in (0, 7, 14))
    assert source.columns == [1, 0]
    whole, part = source.sample(0, 2), source.sample(0, 2, range(1, 3))
    for name in ("images", "masks", "distances", "points", "keypoints", "matrices"):
        assert torch.equal(getattr(whole, name)[1:], getattr(part, name)), name


def test_mirrored_photographs_have_the_other_sides_keypoints():
    photos = SimpleNamespace(load=lambda id: photograph(int(id)), keypoint_names=("left", "right"), mirror=(1, 0))
    names = ("right", "left")
    plain, mirrored = (
        PhotoSource(photos, ["0"], names, 32, 12, jitter=0.0, mirrored=m).sample(0, 0) for m in (False, True)
    )
    same = (plain.images == mirrored.images).flatten(1).all(dim=1)
    assert 2 <= int(same.sum()) <= 10
    assert torch.equal(plain.keypoints[same], mirrored.keypoints[same])
    flipped = mirrored.images.flip(-1), mirrored.masks.flip(-1), mirrored.distances.flip(-1)
    for a, b in zip((plain.images, plain.masks, plain.distances), flipped, strict=True):
        assert torch.equal(a[~same], b[~same])
    swapped = plain.keypoints[:, [1, 0]] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(swapped[~same], mirrored.keypoints[~same])
    with pytest.raises(InputError, match="do not say which keypoint each becomes"):
        PhotoSource(SimpleNamespace(keypoint_names=names, mirror=()), ["0"], names, 32, 12, mirrored=True)
