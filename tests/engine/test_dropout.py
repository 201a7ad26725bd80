"""Masks of dropout belong to the rows of a batch: whoever computes a row samples the same."""

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from mvdecor.engine.dropout import drop_by_rows, rows_of_batch

ROWS = [(seed, view) for seed in (5, 6) for view in (0, 1)]


def network(*modules: nn.Module) -> nn.Module:
    net = nn.Sequential(*modules).train()
    drop_by_rows(net)
    return net


def computed(net: nn.Module, x: torch.Tensor, rows) -> torch.Tensor:
    torch.rand(len(rows))  # what was sampled before does not count
    with rows_of_batch(rows):
        return net(x)


@pytest.mark.parametrize("module", [nn.Dropout(0.5), nn.Dropout2d(0.3), nn.AlphaDropout(0.2), DropPath(0.4)])
def test_any_share_of_a_batch_samples_what_the_whole_does(module):
    net, x = network(module), torch.ones(4, 64, 3, 3).to(memory_format=torch.channels_last)
    whole = computed(net, x, ROWS)
    for cut in (1, 3):
        parts = [computed(net, x[part], ROWS[part]) for part in (slice(cut), slice(cut, 4))]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(computed(net, x.flip(0), ROWS[::-1]), whole.flip(0))
    assert not torch.equal(computed(net, x, [(seed + 2, view) for seed, view in ROWS]), whole)


def test_rows_and_modules_are_independent_and_drop_as_often_as_they_should():
    net, x = network(nn.Dropout(0.25), nn.Dropout(0.25)), torch.ones(4, 10_000)
    first = computed(net[0], x, ROWS) > 0
    second = computed(net[1], x, ROWS) > 0
    masks = [*first, *second]
    for i, mask in enumerate(masks):
        assert float(mask.float().mean()) == pytest.approx(0.75, abs=0.02)
        for other in masks[:i]:
            assert float((mask & other).float().mean()) == pytest.approx(0.75**2, abs=0.02)


def test_tokens_of_an_image_are_of_its_row():
    net, x = network(nn.Dropout(0.5)), torch.ones(12, 8)
    whole = computed(net, x, ROWS)
    assert torch.equal(torch.cat([computed(net, x[:3], ROWS[:1]), computed(net, x[3:], ROWS[1:])]), whole)


def test_without_rows_and_in_evaluation_modules_do_what_they_did():
    net, plain, x = network(nn.Dropout(0.5)), nn.Dropout(0.5), torch.ones(3, 50)
    for rows in ([], ROWS):  # three rows are not those of four images
        torch.manual_seed(7)
        with rows_of_batch(rows):
            sampled = net(x)
        torch.manual_seed(7)
        assert torch.equal(sampled, plain(x))
    assert torch.equal(computed(net.eval(), x, ROWS[:3]), x)
