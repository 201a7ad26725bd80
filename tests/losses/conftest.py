"""Made-up matches, shared by the tests of all losses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def matches() -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Makes random embeddings of A and B (of any length), points in the unit cube, and the pair of each match."""

    def make(counts: list[int], dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        m = sum(counts)
        a, b = (torch.randn(m, dim, generator=rng) * (1 + 5 * torch.rand(m, 1, generator=rng)) for _ in range(2))
        return a, b, torch.rand(m, 3, generator=rng), torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    return make
