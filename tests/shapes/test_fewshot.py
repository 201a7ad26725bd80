"""Few-shot samples: a covering set wherever one exists (checked by trying them all), seeds, bad requests."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.shapes.fewshot import sample_few_shot, sample_views

SHAPES = st.lists(st.sets(st.integers(0, 7), max_size=4), min_size=1, max_size=9).filter(any)


def as_split(sets: list[set[int]]) -> dict[str, set[int]]:
    return {f"shape_{i}": labels for i, labels in enumerate(sets)}


@settings(max_examples=150, deadline=None)
@given(sets=SHAPES, data=st.data(), seed=st.integers(0, 5), tries=st.sampled_from([1, 20]))
def test_a_covering_set_is_found_if_there_is_one(sets, data, seed, tries):
    split, k = as_split(sets), data.draw(st.integers(1, len(sets)))
    wanted = set().union(*sets)
    exists = any(set().union(*(split[i] for i in some)) == wanted for some in combinations(split, k))
    ids, missing = sample_few_shot(split, k, seed, tries)
    assert len(ids) == len(set(ids)) == k and ids == sorted(ids) and set(ids) <= set(split)
    assert missing == wanted - set().union(*(split[i] for i in ids))
    assert (not missing) == exists


def test_one_covering_set_in_millions_is_found():
    # 20 pairs of labels, each shown by one shape among 200 that show nothing but label 0
    split = {f"plain_{i:03}": {0} for i in range(200)} | {f"rare_{i:02}": {2 * i, 2 * i + 1} for i in range(20)}
    ids, missing = sample_few_shot(split, 20, seed=3)
    assert ids == [f"rare_{i:02}" for i in range(20)] and not missing


def test_samples_are_seeded_differ_and_do_not_depend_on_the_order_of_the_split():
    split = {f"shape_{i}": {i % 2} for i in range(30)}
    backwards = dict(reversed(split.items()))
    assert sample_few_shot(split, 5, 1) == sample_few_shot(backwards, 5, 1)
    samples = {tuple(sample_few_shot(split, 5, seed)[0]) for seed in range(10)}
    assert len(samples) == 10
    assert set().union(*samples) > set(samples.pop())  # not the same few shapes again and again


def test_samples_with_replacement_repeat_shapes_and_search_for_nothing():
    split = {f"shape_{i}": {i % 2} for i in range(6)}
    samples = [sample_few_shot(split, 5, seed, replace=True) for seed in range(40)]
    assert all(len(ids) == 5 and set(ids) <= set(split) and ids == sorted(ids) for ids, _ in samples)
    assert all(set().union(*(split[i] for i in ids)) == {0, 1} and not missing for ids, missing in samples)
    assert sum(len(set(ids)) < 5 for ids, _ in samples) > 25  # 5 of 6 without a double: 9 % of the samples
    ids, missing = sample_few_shot({"a": {0}}, 1, 0, replace=True)
    assert ids == ["a"] and not missing
    rare = {f"plain_{i:03}": {0} for i in range(500)} | {"rare": {1}}
    assert sample_few_shot(rare, 2, 0, tries=3, replace=True)[1] == {1}
    assert not sample_few_shot(rare, 2, 0, tries=3)[1]  # the search would have found it


def test_labels_that_no_k_shapes_cover_are_told():
    ids, missing = sample_few_shot({"a": {0, 1}, "b": {2}, "c": {3}}, 2, seed=0, tries=50)
    assert "a" in ids and missing in ({2}, {3})


def test_bad_requests_say_what_to_change():
    split = {"a": {0}, "b": {0}}
    for k in (0, -1, 3):
        with pytest.raises(InputError, match=rf"k={k} labelled shapes.*2 that can be used.*finetune\.k"):
            sample_few_shot(split, k, seed=0)
    with pytest.raises(InputError, match=r"none of the 2 shapes.*label.*data\.level"):
        sample_few_shot({"a": set(), "b": set()}, 1, seed=0)
    for v in (0, 6):
        with pytest.raises(InputError, match=rf"v={v} labelled views.*there are 5.*finetune\.v"):
            sample_views(5, v, seed=0)


def test_views_are_all_or_v_different_ones():
    assert sample_views(5, None, seed=0) == [0, 1, 2, 3, 4]
    views = [sample_views(20, 4, seed) for seed in range(30)]
    assert all(len(set(d)) == 4 and d == sorted(d) and set(d) <= set(range(20)) for d in views)
    assert views == [sample_views(20, 4, seed) for seed in range(30)]
    assert set().union(*views) == set(range(20))
    assert sample_views(5, 5, seed=1) == [0, 1, 2, 3, 4]
    doubles = [sample_views(5, 5, seed, replace=True) for seed in range(20)]
    assert all(len(d) == 5 and d == sorted(d) and set(d) <= set(range(5)) for d in doubles)
    assert sum(len(set(d)) < 5 for d in doubles) > 15
