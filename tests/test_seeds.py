"""Seeds of different settings, runs and purposes are different."""

from itertools import product

from mvdecor.seeds import seed_of
from mvdecor.shapes.splits import sample_covering

LABELS = {f"s{i}": {0, 1} for i in range(40)}


def test_no_two_runs_share_a_seed():
    seeds = [seed_of(seed, run, what) for seed, run, what in product(range(30), range(30), ("weights", "views"))]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of(1, 23, "a") != seed_of(12, 3, "a") and seed_of("a", "b") != seed_of("ab", "")
    assert seed_of("stühle", 0) == seed_of("stühle", 0)


def test_seed_0_of_run_1_is_not_seed_1_of_run_0():
    def sampled(seed: int, run: int):
        return sample_covering(LABELS, ("a", "b"), k=5, v=3, num_views=90, seed=seed, run=run)

    for other in range(1, 5):
        assert sampled(0, other).shapes != sampled(other, 0).shapes
        assert sampled(0, other).views != sampled(other, 0).views
    assert sampled(2, 3) == sampled(2, 3)
