"""Batches: images and matches belong together, samples are seeded, shapes without overlapping views are reported."""

import pytest
import torch
import trimesh

from mvdecor.channels import channel_slice
from mvdecor.correspondences import Matching, embeddings_at_a, embeddings_at_b
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.views import (
    Cameras,
    Rendering,
    jitter_colours,
    labels_at_pixels,
    look_at,
    make_rasterizer,
    sphere_cameras,
)
from mvdecor.views.placement import pinhole
from mvdecor.views.shape_views import ShapeViews

SIZE = 32


def labelled(mesh: trimesh.Trimesh, id: str) -> Shape:
    """Labels by height: lower, upper, and undetermined at the front."""
    centers = torch.tensor(mesh.triangles_center)
    labels = (centers[:, 1] > 0).long()
    labels[centers[:, 2] > 0.3] = -1
    return Shape.from_trimesh(mesh, id, face_labels=labels, label_names=("lower", "upper"))


def ball(id: str = "ball") -> Shape:
    return labelled(trimesh.creation.icosphere(2, 0.8), id)


def box(id: str = "box") -> Shape:
    return labelled(trimesh.creation.box((1, 0.7, 0.8)).subdivide().subdivide(), id)


def plate(id: str = "plate") -> Shape:
    """Thin; from its two opposite cameras no point is seen twice."""
    return labelled(trimesh.creation.box((1, 1, 1e-3)), id)


def place(shape: Shape, seed: int) -> Cameras:
    if not shape.id.startswith("plate"):
        return sphere_cameras(10, SIZE, seed)
    centers = torch.tensor([[0, 0, 1.5], [0, 0, -1.5]])
    return Cameras(*look_at(centers, torch.zeros(2, 3)), pinhole(2, SIZE, 60.0), SIZE, SIZE)


def shape_views(*shapes: Shape, layers: int = 1) -> ShapeViews:
    numbers = {shape.id: number for number, shape in enumerate(shapes)}
    return ShapeViews(shapes, lambda s: place(s, numbers[s.id]), make_rasterizer("embree"), layers)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layers", [1, 2])
def test_images_and_matches_of_a_batch_belong_together(layers):
    """With positions as the network's input, both ends of every match must show its point."""
    source = PairSource(shape_views(ball(), box(), layers=layers), Rendering(("points",)), pairs=5, points=40)
    batch = source.sample(0, 0)
    assert batch.images.shape == (2, 5, layers, 3, SIZE, SIZE)
    assert len(batch.shape_ids) == 5 and set(batch.shape_ids) == {"ball", "box"}
    matches = batch.matches
    assert torch.bincount(matches.pair, minlength=5).tolist() == [40] * 5
    assert torch.equal(embeddings_at_a(batch.images[0], matches), matches.points)
    at_b = (embeddings_at_b(batch.images[1], matches) - matches.points).norm(dim=-1)
    assert float((at_b < 0.03).float().mean()) > 0.6  # exact on flat faces, not across edges and silhouettes
    assert float(at_b.median()) < 0.02


def test_all_matches_are_taken_where_there_are_fewer_than_asked_for():
    source = PairSource(shape_views(ball()), Rendering(("points",)), pairs=3, points=100_000)
    batch = source.sample(0, 0)
    smaller = (batch.images.abs().sum(3) > 0).flatten(2).sum(2).amin(0)
    counted = torch.bincount(batch.matches.pair, minlength=3) / smaller
    torch.testing.assert_close(batch.matches.overlap, counted)
    assert bool((batch.matches.overlap > source.matching.min_overlap).all())


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    def sample(seed: int) -> list[torch.Tensor]:
        source = PairSource(shape_views(ball(), box()), Rendering(("rgb",), "minmax", "camera", True, 0.4), 2, 50)
        batches = [source.sample(seed, step) for step in range(3)]
        return [x for b in batches for x in (b.images, b.matches.pixel_a, b.matches.xy_b)]

    first, again, other = sample(1), sample(1), sample(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[3])  # and the samples go on


@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_a_batch_is_that_of_its_step_whoever_samples_which_part_of_it_and_in_whatever_order(kind):
    def source():
        if kind == "labelled":
            return LabelledSource(
                shape_views(ball(), box()), Rendering(("rgb",), random_light=True), [range(10)] * 2, 6
            )
        return PairSource(shape_views(ball(), plate(), box()), Rendering(("rgb",), random_light=True), 6, 20)

    here, there = source(), source()
    whole = [here.sample(7, step) for step in (3, 4)]
    later = there.sample(7, 4)
    parts = [there.sample(7, 3, items) for items in (range(4, 6), range(0, 4))][::-1]
    axis = 1 if kind == "pairs" else 0
    assert torch.equal(torch.cat([part.images for part in parts], dim=axis), whole[0].images)
    assert sum((part.shape_ids for part in parts), ()) == whole[0].shape_ids
    assert sum((part.views for part in parts), ()) == whole[0].views
    assert torch.equal(later.images, whole[1].images) and not torch.equal(later.images, whole[0].images)
    if kind == "pairs":
        assert torch.equal(torch.cat([part.matches.xy_b for part in parts]), whole[0].matches.xy_b)


def test_a_shape_without_overlap_is_named_and_others_are_sampled_in_its_place():
    source = PairSource(shape_views(plate(), ball()), Rendering(("depth",)), pairs=4, points=20)
    batches = [source.sample(0, step) for step in range(5)]
    assert {id for batch in batches for id in batch.shape_ids} == {"ball"}
    assert {batch.unmatched for batch in batches} <= {("plate",), ()} and ("plate",) in {b.unmatched for b in batches}
    again = PairSource(source.shape_views, source.rendering, pairs=4, points=20).sample(0, 4)
    assert torch.equal(again.images, batches[4].images) and again.unmatched == batches[4].unmatched


def test_no_shape_left_is_an_input_error():
    source = PairSource(shape_views(plate("plate_a"), plate("plate_b")), Rendering(("depth",)), pairs=2)
    with pytest.raises(InputError, match=r"no shape has two views that overlap in more than 15%.*raise views\.count"):
        source.sample(0, 0)


def test_labelled_views_show_the_labels_of_their_faces():
    stage = shape_views(ball(), box(), layers=2)
    source = LabelledSource(stage, Rendering(("points", "depth")), [[1, 4], [0]], batch_size=12)
    batch = source.sample(0, 0)
    images, labels = batch.images, batch.labels
    assert images.shape == (12, 2, 4, SIZE, SIZE) and labels.shape == (12, 2, SIZE, SIZE)
    background = images[:, :, :3].abs().sum(2) == 0
    assert bool((labels[background] == -1).all())
    y, z = images[:, :, 1], images[:, :, 2]
    surely = ~background & (y.abs() > 0.2)  # a facet's centre is on the side of its points there
    assert torch.equal(labels[surely & (z < 0)], (y[surely & (z < 0)] > 0).long())
    assert bool((labels[~background & (z > 0.55)] == -1).all())  # undetermined faces
    allowed = [stage.surface(stage[s], [v]).points[0].permute(0, 3, 1, 2) for s, v in ((0, 1), (0, 4), (1, 0))]
    sampled = [next(i for i, p in enumerate(allowed) if torch.equal(image[:, :3], p)) for image in images]
    assert set(sampled) == {0, 1, 2}
    named = [[("ball", 1), ("ball", 4), ("box", 0)].index(of) for of in zip(batch.shape_ids, batch.views, strict=True)]
    assert named == sampled


def test_a_shape_listed_twice_is_sampled_twice_as_often():
    stage = shape_views(ball(), box(), box("never"))
    source = LabelledSource(stage, Rendering(("points",)), [[0], [0], [0]], batch_size=400, shapes=[0, 1, 1])
    images = source.sample(0, 0).images
    allowed = [stage.surface(stage[s], [0]).points[0].permute(0, 3, 1, 2) for s in range(2)]
    counts = [sum(torch.equal(image, p) for image in images) for p in allowed]
    assert sum(counts) == 400 and 230 < counts[1] < 300


def test_pairs_can_be_sampled_and_matched_as_the_released_code_does():
    stage = shape_views(ball(), box())
    batch = PairSource(stage, Rendering(("points",)), 3, 4000, matching=Matching(unique=False), replace=True).sample(
        0, 0
    )
    assert torch.bincount(batch.matches.pair, minlength=3).tolist() == [4000] * 3  # more than there are
    assert torch.equal(embeddings_at_a(batch.images[0], batch.matches), batch.matches.points)


def test_labels_at_pixels_one_by_one():
    stage = shape_views(box())
    views = stage.views(stage[0], [3])
    got = labels_at_pixels(stage[0], views)
    for row in range(0, SIZE, 3):
        for column in range(0, SIZE, 3):
            face = int(views.face_ids[0, 0, row, column])
            assert int(got[0, 0, row, column]) == (-1 if face < 0 else int(stage[0].face_labels[face]))


def test_without_a_generator_rendering_has_no_random_part():
    stage = shape_views(box())
    views, surface = stage.views(stage[0], [0, 1]), stage.surface(stage[0], [0, 1])
    random = Rendering(("depth", "rgb"), random_light=True, colour_jitter=0.4)
    plain = Rendering(("depth", "rgb"))
    assert torch.equal(random(stage[0], views, surface), plain(stage[0], views, surface, rng()))
    changed = random(stage[0], views, surface, rng())
    assert torch.equal(changed[:, :, 0], plain(stage[0], views, surface)[:, :, 0])  # depth
    assert not torch.equal(changed[:, :, 1:], plain(stage[0], views, surface)[:, :, 1:])


def test_jitter_leaves_the_background_and_changes_each_view_by_itself():
    rgb = torch.rand(3, 2, 3, 5, 5, generator=rng(1))
    mask = torch.rand(3, 2, 5, 5, generator=rng(2)) > 0.4
    out = jitter_colours(rgb, mask, 0.4, rng(3))
    assert torch.equal(out.movedim(2, -1)[~mask], rgb.movedim(2, -1)[~mask])
    assert float(out.min()) >= 0 and float(out.max()) <= 1
    factor = 1 + 0.4 * (2 * torch.rand(3, 5, generator=rng(3)) - 1)
    for n in range(3):
        brightness, contrast, *tint = factor[n].tolist()
        for c in range(3):
            expected = (((rgb[n, :, c] - 0.5) * contrast + 0.5) * brightness * (1 + (tint[c] - 1) / 2)).clamp(0, 1)
            torch.testing.assert_close(out[n, :, c][mask[n]], expected[mask[n]])
    torch.testing.assert_close(jitter_colours(rgb, mask, 0.0, rng(3)), rgb)


def test_where_red_lies():
    assert channel_slice(("rgb",), "rgb") == slice(0, 3)
    assert channel_slice(("depth", "normal", "rgb", "layer"), "rgb") == slice(4, 7)
