"""The symmetric KL of matched pixels, against a sum written out and against PyTorch's KL."""

import math

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mvdecor.losses.consistency import symmetric_kl


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))
def test_it_is_the_mean_of_both_divergences_over_matches_then_pairs(matches, pairs, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    a, b = (4 * torch.randn(matches, classes, generator=generator) for _ in range(2))
    pair = torch.randint(pairs, (matches,), generator=generator).sort().values
    of_pairs = []
    for number in range(pairs):
        p, q = (x[pair == number].log_softmax(dim=1) for x in (a, b))
        both = [F.kl_div(x, y, reduction="sum", log_target=True) for x, y in ((p, q), (q, p))]
        of_pairs.append(float(sum(both)) / 2 / max(1, len(p)))
    torch.testing.assert_close(float(symmetric_kl(a, b, pair, pairs)), sum(of_pairs) / pairs, atol=1e-4, rtol=1e-4)
    assert abs(float(symmetric_kl(a, a + 7, pair, pairs))) < 1e-5, "a shift of all logits is the same distribution"


def test_two_labels_by_hand():
    """p = (3/4, 1/4), q = (1/2, 1/2): half of sum (p - q) log(p / q) = log(3) / 8."""
    a, b = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    torch.testing.assert_close(symmetric_kl(a, b, torch.zeros(1, dtype=torch.int64), 1), torch.tensor(math.log(3) / 8))
    torch.testing.assert_close(symmetric_kl(b, a, torch.tensor([1]), 2), torch.tensor(math.log(3) / 16))
