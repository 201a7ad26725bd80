"""RowAdam against dense Adam, and against doing nothing to rows that no batch touched."""

from functools import partial

import torch
from torch import nn
from torch.optim import Adam

from mvdecor.engine.optimizer import clip_gradients
from mvdecor.fields import RowAdam

OBJECTS = 6


def train(sparse: bool, batches: list[torch.Tensor]) -> tuple[nn.Embedding, nn.Linear]:
    """A code per object through one layer, its gradient cut as that of the pretraining."""
    generator = torch.Generator().manual_seed(0)
    codes, layer = nn.Embedding(OBJECTS, 3, sparse=sparse), nn.Linear(3, 2)
    with torch.no_grad():
        for weight in (codes.weight, *layer.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=generator))
    groups = [{"params": list(layer.parameters())}, {"params": [codes.weight], "lr": 0.05}]
    optimizer = (RowAdam if sparse else Adam)(groups, lr=0.01)
    optimizer.register_step_pre_hook(partial(clip_gradients, [*layer.parameters(), codes.weight], 0.3))
    for batch in batches:
        target = torch.randn(len(batch), 2, generator=generator)
        optimizer.zero_grad()
        (layer(codes(batch)) - target).square().mean().backward()
        optimizer.step()
    return codes, layer


def test_it_is_adam_where_every_object_is_touched():
    generator = torch.Generator().manual_seed(1)
    batches = [torch.cat([torch.randperm(OBJECTS, generator=generator), torch.tensor([2, 2])]) for _ in range(25)]
    (codes, layer), (dense_codes, dense_layer) = train(True, batches), train(False, batches)
    torch.testing.assert_close(codes.weight, dense_codes.weight, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.weight, dense_layer.weight, atol=1e-5, rtol=0)


def test_an_object_that_is_not_touched_does_not_move():
    first = [torch.tensor([0, 1, 4])] * 3
    before = train(True, first)[0].weight
    after = train(True, [*first, *[torch.tensor([0, 1])] * 3])[0].weight
    moved = (before != after).any(dim=1).tolist()
    assert moved == [True, True, False, False, False, False]


def test_the_gradient_of_a_batch_is_as_large_for_any_number_of_objects():
    for objects in (10, 100_000):
        codes = nn.Embedding(objects, 4, sparse=True)
        codes(torch.tensor([3, 5, 3])).sum().backward()
        assert codes.weight.grad.coalesce().values().shape == (2, 4)
