"""Triangles of one polygon agree."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.lifting import agree_in_polygons, mean_in_polygons


def slow(labels, confidence, areas, polygons):
    """Polygon by polygon, with loops."""
    out_labels, out_confidence = list(labels), list(confidence)
    for polygon in set(polygons):
        own = [i for i, p in enumerate(polygons) if p == polygon]
        if len(own) == 1:
            continue
        total = sum(areas[i] for i in own)
        share = {i: areas[i] / total if total > 0 else 1 / len(own) for i in own}
        votes = {
            k: sum(share[i] * confidence[i] for i in own if labels[i] == k) for k in sorted({labels[i] for i in own})
        }
        best = max(votes, key=lambda k: votes[k])
        for i in own:
            out_labels[i], out_confidence[i] = best, votes[best]
    return out_labels, out_confidence


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20
    )
)
def test_same_as_with_loops(rows):
    labels, confidence, areas = [r[0] for r in rows], [r[1] / 8 for r in rows], [float(r[2]) for r in rows]
    polygons = torch.tensor([r[3] for r in rows]).cumsum(0).tolist()  # ascending, some numbers left out
    expected_labels, expected = slow(labels, confidence, areas, polygons)
    given_ = (torch.tensor(labels), torch.tensor(confidence), torch.tensor(areas), torch.tensor(polygons))
    found_labels, found = agree_in_polygons(*given_)
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)
    for polygon in set(polygons):  # ties may go either way, but all of a polygon go the same
        own = torch.tensor(polygons) == polygon
        assert len(found_labels[own].unique()) == 1
    close = [a == b for a, b in zip(found_labels.tolist(), expected_labels)]
    assert all(close) or torch.allclose(found, torch.tensor(expected), atol=1e-6)
    assert found.dtype == torch.float32 and found_labels.dtype == torch.int64


def test_most_area_times_confidence_wins():
    labels, confidence = torch.tensor([0, 1, 2]), torch.tensor([0.9, 0.6, 0.3])
    found, sure = agree_in_polygons(labels, confidence, torch.tensor([1.0, 2.0, 5.0]), torch.tensor([4, 4, 7]))
    assert found.tolist() == [1, 1, 2]
    assert torch.allclose(sure, torch.tensor([0.4, 0.4, 0.3]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=20))
def test_means_are_those_of_a_loop(rows):
    values, areas = [r[0] for r in rows], [float(r[1]) for r in rows]
    polygons = torch.tensor([r[2] for r in rows]).cumsum(0)
    found = mean_in_polygons(torch.tensor(values), torch.tensor(areas), polygons)
    for i, polygon in enumerate(polygons.tolist()):
        own = [k for k, p in enumerate(polygons.tolist()) if p == polygon]
        weights = [areas[k] for k in own] if sum(areas[k] for k in own) > 0 else [1.0] * len(own)
        mean = sum(w * values[k] for w, k in zip(weights, own, strict=True)) / sum(weights)
        assert abs(float(found[i]) - mean) < 1e-6
