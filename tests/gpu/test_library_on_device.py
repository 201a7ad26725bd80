"""The library rooms on the simulated device: views, matches, losses and lifting give what they give on the CPU."""

import pytest
import torch

import mvdecor.correspondences.matching_loop as matching_loop
from mvdecor.channels import CHANNELS
from mvdecor.correspondences import embeddings_at_a, embeddings_at_b, match_views, sample_matches
from mvdecor.evaluation import ceiling_labels
from mvdecor.lifting import FILL_RULES, LAYER_ORDERS, VOTE_RULES, fill_unseen, vote
from mvdecor.losses import Circle, HardestContrastive, InfoNCE, Triplet, VICReg
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.crops import CropPairSource
from mvdecor.views import Rendering
from tests.gpu.device_runs import assert_equal_on_both, on_both, shape_views_on
from tests.gpu.simulated_cuda import simulated_cuda


@pytest.mark.parametrize("rasterizer", ["embree", "pytorch3d"])
def test_views_and_all_channels(rasterizer):
    def run(device):
        stage = shape_views_on(device, layers=2, rasterizer=rasterizer)
        views, surface = stage.views(stage[0], [1, 4]), stage.surface(stage[0], [1, 4])
        images = Rendering(tuple(CHANNELS))(stage[0], views, surface)
        return views.face_ids, surface.mask, surface.depth, surface.points, surface.normals, images

    assert_equal_on_both(run)


def test_the_matching_of_a_gpu_uses_no_loop_of_the_cpu(monkeypatch):
    monkeypatch.setattr(matching_loop, "match_by_loop", lambda *_: pytest.fail("Numba was called with CUDA tensors"))
    with simulated_cuda():
        stage = shape_views_on("cuda")
        surface = stage.surface(stage[0], [0, 1])
        assert len(match_views(surface[[0]], surface[[1]])) > 0


@pytest.mark.parametrize("replace", [False, True])
def test_matches_and_embeddings_at_both_ends(replace):
    def run(device):
        stage = shape_views_on(device, layers=2)
        surface = stage.surface(stage[0], [0, 1, 2, 3])
        matches = match_views(surface[[0, 1]], surface[[2, 3]])
        chosen = sample_matches(matches, 40, torch.Generator().manual_seed(0), replace)
        embeddings = torch.randn(2, 2, 6, 32, 32, generator=torch.Generator().manual_seed(1)).to(device)
        embeddings.requires_grad_()
        a, b = embeddings_at_a(embeddings, chosen), embeddings_at_b(embeddings, chosen)
        (a * b).sum().backward()
        return *chosen._tensors(), a.detach(), b.detach(), embeddings.grad

    assert_equal_on_both(run, atol=1e-3)


SOURCES = {
    "pairs": lambda stage: PairSource(stage, Rendering(("rgb", "normal"), colour_jitter=0.4), 4, 60),
    "labelled": lambda stage: LabelledSource(stage, Rendering(("rgb",), random_light=True), [range(8)] * 2, 4),
    "crops": lambda stage: CropPairSource(stage, Rendering(("rgb",), colour_jitter=0.4), 3, 60),
}


@pytest.mark.parametrize("name", SOURCES)
def test_batches(name):
    def run(device):
        batch = SOURCES[name](shape_views_on(device, 2, layers=2)).sample(0, 0)
        tensors = (batch.labels,) if name == "labelled" else batch.matches._tensors()
        return batch.images, *tensors

    assert_equal_on_both(run, atol=1e-3)


@pytest.mark.parametrize(
    "loss",
    [
        *(InfoNCE(), InfoNCE(radius=0.3), InfoNCE(negatives="batch"), InfoNCE(radius=0.3, negatives="both")),
        *(Triplet(), HardestContrastive(radius=0.3), Circle(), VICReg()),
    ],
    ids=lambda loss: f"{type(loss).__name__} {getattr(loss, 'negatives', '')} {getattr(loss, 'radius', '')}",
)
def test_losses_and_their_gradients(loss):
    def run(device):
        random = torch.Generator().manual_seed(0)
        a, b, points = (torch.randn(60, d, generator=random).to(device) for d in (8, 8, 3))
        a.requires_grad_(), b.requires_grad_()
        value, accuracy = loss(a, b, points, torch.arange(3).repeat_interleave(20).to(device))
        value.backward()
        return value.detach(), accuracy, a.grad, b.grad

    assert_equal_on_both(run)


@pytest.mark.parametrize("rule", VOTE_RULES)
@pytest.mark.parametrize("order", LAYER_ORDERS)
def test_votes_and_fill(rule, order):
    def run(device):
        stage = shape_views_on(device, layers=2)
        logits = 4 * torch.randn(8, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        votes = vote(stage[0], stage.views(stage[0]), logits.half().to(device), rule, order)
        filled = [fill_unseen(stage[0], votes, fill) for fill in FILL_RULES]
        return votes.scores, *((f.labels, f.confidence, f.filled) for f in filled)

    assert_equal_on_both(run)


def test_the_ceiling():
    def run(device):
        stage = shape_views_on(device)
        labels = ceiling_labels(stage[0], stage.views(stage[0]))
        return labels.labels, torch.tensor(labels.coverage)

    on_device, on_cpu = on_both(run)
    assert torch.equal(on_device[0], on_cpu[0]) and float(on_device[1]) == float(on_cpu[1])
