"""The pairs of a batch sampled together are those sampled one by one, and a GPU is given little to do and waited for rarely."""

import pytest
import torch

from mvdecor.correspondences import Matching
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.batches import PairSource, generators
from mvdecor.views import CachedViews, Rendering, ShapeViews, make_rasterizer
from tests.gpu.device_runs import shape_views_on
from tests.gpu.simulated_cuda import simulated_cuda
from tests.systems.test_loops import cameras, shape, shape_views

LAUNCHES, WAITS = 400, 12
"""Of a batch of 8 pairs: launches on average, waits at most."""
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
            launches.append(counts.launches)
            assert sum(counts.waits.values()) <= WAITS, counts.waits
            assert not counts.rasterized and batch.images.is_cuda
        assert sum(launches) / len(launches) <= LAUNCHES, launches
