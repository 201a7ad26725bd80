"""The pairs of a batch sampled together are those sampled one by one, and a GPU is given little to do and waited for rarely."""

from dataclasses import replace

import pytest
import torch

from mvdecor.correspondences import Matching
from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.losses import InfoNCE
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.systems.mvdecor import pretrain
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource, generators
from mvdecor.views import CachedViews, Rendering, ShapeViews, make_rasterizer
from tests.gpu.device_runs import shape_views_on
from tests.gpu.simulated_cuda import simulated_cuda, to_cpu
from tests.systems.test_loops import cameras, model, shape, shape_views

LAUNCHES, WAITS = 400, 12
"""Of a batch of 8 pairs of untextured shapes: launches on average, waits at most."""
TEXTURED_LAUNCHES = 550
LOSS_LAUNCHES = 150
"""Of embeddings at 8 pairs' matches, InfoNCE and their gradients."""
LABELLED_LAUNCHES = {False: 200, True: 350}
"""Of a batch of 8 labelled views of untextured or textured shapes, with one wait."""
RENDERING = Rendering(("rgb", "depth", "normal"), random_light=True, colour_jitter=0.4)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("min_overlap", [0.0, 0.2, 0.3])
def test_the_batch_is_that_of_one_pair_after_another(min_overlap, replace):
    def batches(method: str):
        source = PairSource(
            shape_views(3, layers=2), RENDERING, 5, 60, Matching(min_overlap=min_overlap, tries=9), replace
        )
        return [getattr(source, method)(list(generators("views", 0, step, range(5)))) for step in range(4)]

    for one, together in zip(batches("_one_by_one"), batches("_together"), strict=True):
        assert (one.shape_ids, one.views, one.unmatched) == (together.shape_ids, together.views, together.unmatched)
        torch.testing.assert_close(together.images, one.images, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(together.matches._tensors(), one.matches._tensors(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_shapes_without_pairs_are_passed_over_and_told():
    """Only the second shape has views that overlap so much, at these tries."""
    shapes = [shape(0), shape(1)]
    views = ShapeViews(shapes, cameras, make_rasterizer("embree"))
    strict = Matching(min_overlap=0.8, tries=3)

    def sampled(method: str):
        source = PairSource(views, Rendering(("normal",)), 4, 30, strict)
        try:
            batch = getattr(source, method)(list(generators("views", 1, 0, range(4))))
        except InputError as error:
            return str(error)
        return batch.shape_ids, batch.views, batch.unmatched

    assert sampled("_one_by_one") == sampled("_together")


@pytest.mark.parametrize("source_of_views", ["kept", "cached"])
def test_a_batch_of_a_gpu_is_few_launches_and_hardly_any_waits(source_of_views, tmp_path):
    with simulated_cuda() as counts:
        more = {}
        if source_of_views == "cached":
            more = {"keep": False, "cache": lambda *of: CachedViews(tmp_path, "auto", *of)}
        stage = shape_views_on("cuda", 3, **more)
        source = PairSource(stage, RENDERING, 8, 60)
        for number in range(3):
            stage.views(stage[number])
        source.sample(0, 0)
        launches = []
        for step in range(1, 11):
            counts.reset()
            batch = source.sample(0, step)
            batch.images  # noqa: B018
            launches.append(counts.launches)
            assert sum(counts.waits.values()) <= WAITS, counts.waits
            assert not counts.rasterized and batch.images.is_cuda
        assert sum(launches) / len(launches) <= LAUNCHES, launches


def textured_shape(seed: int) -> Shape:
    plain, rng = shape(seed), torch.Generator().manual_seed(seed)
    pictures = tuple(torch.randint(256, (5, 4 + i, 3), generator=rng, dtype=torch.uint8) for i in range(1 + seed))
    ids = torch.randint(len(pictures), (plain.num_faces,), generator=rng)
    return replace(plain, texture=Texture(torch.rand(plain.num_faces, 3, 2, generator=rng), pictures, ids))


@pytest.mark.parametrize("textured", [False, True])
def test_labelled_views_and_textures_are_rendered_together(textured):
    def sources(device: str):
        shapes = [textured_shape(i) if textured else shape(i) for i in range(3)]
        views = ShapeViews(shapes, cameras, make_rasterizer("embree"), device=device)
        return PairSource(views, RENDERING, 8, 60), LabelledSource(views, RENDERING, [range(8)] * 3, 8)

    expected = [[source.sample(0, step) for step in range(4)] for source in sources("cpu")]
    limits = (TEXTURED_LAUNCHES if textured else LAUNCHES, LABELLED_LAUNCHES[textured])
    with simulated_cuda() as counts:
        for source, batches, limit, waits in zip(sources("cuda"), expected, limits, (WAITS, 1), strict=True):
            source.sample(0, 0)  # fills the caches
            launches = []
            for step in range(1, 4):
                counts.reset()
                batch = source.sample(0, step)
                images, labels = batch.images, getattr(batch, "labels", None)
                launches.append(counts.launches)
                assert sum(counts.waits.values()) <= waits, counts.waits
                torch.testing.assert_close(to_cpu(images), batches[step].images, rtol=0, atol=1e-4)
                if labels is not None:
                    assert torch.equal(to_cpu(labels), batches[step].labels)
            assert sum(launches) / len(launches) <= limit, launches


def test_textures_stay_on_the_host_until_they_are_looked_at():
    views = ShapeViews([textured_shape(1)], cameras, make_rasterizer("embree"), device="cpu")
    with simulated_cuda():
        on_device = views[0].to("cuda").texture
        assert on_device is not None and on_device.uv.is_cuda and "packed" not in vars(on_device)
        assert all(image.device.type == "cpu" for image in on_device.images)
        assert on_device.packed[0].is_cuda


def test_the_loss_of_a_batch_is_few_launches():
    with simulated_cuda() as counts:
        batch, fabric = (
            PairSource(shape_views_on("cuda", 2), RENDERING, 8, 60).sample(0, 0),
            open_device("cuda", "32-true"),
        )
        embeddings = torch.rand(2, 8, 1, 8, *batch.images.shape[-2:], device="cuda", requires_grad=True)
        counts.reset()
        loss, _ = pretrain.contrast_embeddings(fabric, embeddings, batch, InfoNCE())
        loss.backward()
        assert counts.launches <= LOSS_LAUNCHES and not counts.waits


def test_the_loss_does_not_wait_for_the_device_to_count():
    with simulated_cuda() as counts:
        batch = PairSource(shape_views_on("cuda", 2), Rendering(("points",)), 4, 60).sample(0, 0)
        on_cpu = PairSource(shape_views(2), Rendering(("points",)), 4, 60).sample(0, 0)
        counted = torch.bincount(on_cpu.matches.pair, minlength=4).tolist()
        assert list(batch.matches.counts) == counted == list(on_cpu.to(torch.device("cuda")).matches.counts)
        fabric, net = open_device("cuda", "32-true"), model().to("cuda")
        batch.images  # noqa: B018
        counts.reset()
        ((loss, _),) = pretrain.step(net, {"pairs": batch}, fabric, InfoNCE())
        assert not counts.waits
        without_counts = replace(batch, matches=replace(batch.matches, counts=None))
        ((same, _),) = pretrain.step(net, {"pairs": without_counts}, fabric, InfoNCE())
        assert counts.waits and float(loss) == float(same)
