"""Batches are prepared beside the step before, on a simulated device that raises `Race` where nothing orders two streams."""

import contextlib
import gc

import pytest
import torch

from mvdecor.engine.device import open_device
from mvdecor.engine.loader import batches
from mvdecor.engine.loop import Loop
from mvdecor.engine.side_stream import SideStream
from mvdecor.losses import InfoNCE
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from tests.gpu.device_runs import CutOff, shape_views_on
from tests.gpu.simulated_cuda import all_to_cpu, simulated_cuda, streams
from tests.gpu.simulated_streams import Race, Stream
from tests.systems.test_loops import RENDERING, finetune, model, pretrain

WAYS_ROUND_A_WAIT = {
    "reads": lambda x: x + 1,
    "writes": lambda x: x.add_(1),
    "writes a view": lambda x: x[1:].zero_(),
    "fills by an index": lambda x: x.index_fill_(0, torch.zeros(1, dtype=torch.long, device="cuda"), 2),
}


@pytest.mark.parametrize("way", WAYS_ROUND_A_WAIT)
def test_a_stream_that_does_not_wait_is_a_race(way):
    with simulated_cuda():
        side, x = torch.cuda.Stream(torch.device("cuda")), torch.ones(3, device="cuda")
        with torch.cuda.stream(side), pytest.raises(Race, match=r"a side stream .* by the main stream"):
            WAYS_ROUND_A_WAIT[way](x)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            WAYS_ROUND_A_WAIT[way](x)
        with pytest.raises(Race, match=r"the main stream .* by a side stream"):
            x.add_(1)


def test_what_the_host_has_waited_for_is_over():
    with simulated_cuda():
        side, x = torch.cuda.Stream(torch.device("cuda")), torch.ones(3, device="cuda")
        x.tolist()
        with torch.cuda.stream(side):
            x.tolist()
        x.add_(1)


def test_memory_that_another_stream_still_reads_is_not_taken_again():
    with simulated_cuda():
        side, main = torch.cuda.Stream(torch.device("cuda")), torch.cuda.current_stream()
        with torch.cuda.stream(side):
            x = torch.ones(3, device="cuda")
        main.wait_stream(side)
        x.sum()
        del x
        with torch.cuda.stream(side):
            with pytest.raises(Race, match="freed"):
                torch.ones(3, device="cuda")
            side.wait_stream(main)
            torch.ones(3, device="cuda")


class Watched:
    """A source that notes at each batch its stream, what was launched on the main one, and what the host then waited for."""

    def __init__(self, source):
        self.source, self.streams, self.launched, self.waited = source, [], [], []

    def __len__(self):
        return len(self.source)

    def sample(self, *of):
        self.streams.append(streams.current)
        self.launched.append(streams.main.clock[streams.main])
        batch = self.source.sample(*of)
        self.waited.append(streams.host[streams.main])
        return batch


def sources(device="cuda", **more):
    views = shape_views_on(device, 2, **more)
    return PairSource(views, RENDERING, 2, 60), LabelledSource(views, RENDERING, [range(8)] * 2, batch_size=4)


def test_batches_are_prepared_while_the_step_before_is_computed():
    """The host waits for batches, never for a step; both sources use the same shapes and views."""
    with simulated_cuda():
        pairs, labelled = map(Watched, sources())
        net = model(3).to("cuda")
        loop = Loop(open_device("cuda", "32-true"), CutOff())
        finetune(loop, net, labelled, pairs, InfoNCE(), steps=5, lambda_ssl=0.1, joint=True)
        assert len({*pairs.streams, *labelled.streams}) == 1 and streams.main not in pairs.streams
        for source in (pairs, labelled):
            for step in range(2, 5):  # the first one is logged
                assert source.waited[step] <= source.launched[step - 1] < source.launched[step]


@pytest.mark.parametrize("keep", [True, False])
def test_the_batches_are_those_of_the_source(keep):
    with simulated_cuda():
        fabric = open_device("cuda", "32-true")
        for source in sources(keep=keep, rasterizer="embree"):
            expected = [source.sample(3, step).images for step in range(4)]
            for step, batch in enumerate(batches(fabric, source, 3, range(4), range(len(source)))):
                (batch.images * 2).sum()  # a step
                assert torch.equal(*all_to_cpu((batch.images, expected[step])))


@pytest.mark.parametrize("waits", [True, False])
def test_a_validation_may_use_the_source_of_the_batches(waits, monkeypatch):
    """Here it reads shapes that are then dropped for those of the next batch, and the host waits for nothing."""
    monkeypatch.setattr("mvdecor.views.shape_views.IN_MEMORY", 1)
    monkeypatch.setattr(streams, "host_waits", lambda: None)
    if not waits:
        monkeypatch.setattr(SideStream, "wait_for_device", lambda self: None)
    with simulated_cuda(), contextlib.nullcontext() if waits else pytest.raises(Race):
        pairs, _ = sources(keep=False)
        loop = Loop(open_device("cuda", "32-true"), CutOff())
        pretrain(loop, model().to("cuda"), pairs, pairs, InfoNCE(), steps=4, validate_every=1, validation_batches=1)


@pytest.mark.parametrize("missing", ["wait_stream", "wait_event"])
def test_each_wait_is_needed(missing, monkeypatch):
    monkeypatch.setattr(Stream, missing, lambda *_: None)
    with simulated_cuda(), pytest.raises(Race):
        fabric, (pairs, _) = open_device("cuda", "32-true"), sources()
        for batch in batches(fabric, pairs, 3, range(4), range(2)):
            batch.images.sum()
            del batch
            gc.collect()
