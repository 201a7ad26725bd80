"""Unseen faces take the label of a seen one and say so."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.lifting import FaceVotes, fill_unseen
from mvdecor.shapes.shape import Shape


def triangles(corners: torch.Tensor) -> Shape:
    """One separate triangle a row of `corners` [F, 3, 3]."""
    return Shape("soup", corners.reshape(-1, 3).float(), torch.arange(3 * len(corners)).reshape(-1, 3))


def votes_of(labels: list[int | None], num_labels: int = 4) -> FaceVotes:
    """Votes of confidence 0.7 for each face's label; None = unseen."""
    scores = torch.zeros(len(labels), num_labels)
    for face, label in enumerate(labels):
        if label is not None:
            scores[face] = 0.3 / (num_labels - 1)
            scores[face, label] = 0.7
    seen = torch.tensor([label is not None for label in labels])
    return FaceVotes(scores, seen, seen.float() * 5)


def row_of_unit_triangles(positions: list[float], size: float = 1.0) -> torch.Tensor:
    base = torch.tensor([[0.0, 0, 0], [0, size, 0], [0, 0, size]])
    return torch.stack([base + torch.tensor([x, 0.0, 0.0]) for x in positions])


def test_unseen_faces_copy_the_nearest_and_are_marked():
    shape = triangles(row_of_unit_triangles([0, 1, 5, 7, 20]))
    filled = fill_unseen(shape, votes_of([3, None, None, 1, None]))
    assert filled.labels.tolist() == [3, 3, 1, 1, 1]
    assert filled.filled.tolist() == [False, True, True, False, True]
    torch.testing.assert_close(filled.confidence, torch.full((5,), 0.7))
    assert filled.coverage == pytest.approx(2 / 5)


def test_coverage_is_a_share_of_area():
    shape = triangles(torch.cat([row_of_unit_triangles([0], size=3.0), row_of_unit_triangles([9])]))
    assert fill_unseen(shape, votes_of([0, None])).coverage == pytest.approx(0.9)
    assert fill_unseen(shape, votes_of([None, 0])).coverage == pytest.approx(0.1)
    assert fill_unseen(shape, votes_of([2, 1])).coverage == pytest.approx(1.0)


def test_nothing_is_filled_where_all_is_seen():
    shape = triangles(row_of_unit_triangles([0, 1, 2]))
    filled = fill_unseen(shape, votes_of([2, 0, 1]), "component")
    assert filled.labels.tolist() == [2, 0, 1]
    assert not bool(filled.filled.any())


def test_component_rule_stays_on_its_component_if_that_was_seen():
    # a band of four triangles that touch by position only, and a loose triangle near its far end
    band = torch.tensor(
        [
            [[0.0, 0, 0], [1, 0, 0], [0, 1, 0]],
            [[1, 0, 0], [2, 0, 0], [1, 1, 0]],
            [[2, 0, 0], [3, 0, 0], [2, 1, 0]],
            [[3, 0, 0], [4, 0, 0], [3, 1, 0]],
        ]
    )
    loose = band[3:] + torch.tensor([0.0, 0, 0.1])
    alone = band[:1] + torch.tensor([0.0, 0, -50])
    shape = triangles(torch.cat([band, loose, alone]))
    votes = votes_of([2, None, None, None, 1, None])
    assert fill_unseen(shape, votes).labels.tolist() == [2, 2, 1, 1, 1, 2]
    # the last triangle's component has no seen face: nearest of all
    assert fill_unseen(shape, votes, "component").labels.tolist() == [2, 2, 2, 2, 1, 2]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), faces=st.integers(2, 25))
def test_sources_equal_a_search_over_all_pairs(seed, faces):
    generator = torch.Generator().manual_seed(seed)
    # corners from a small grid, so that some triangles touch
    shape = triangles(torch.randint(0, 4, (faces, 3, 3), generator=generator))
    labels: list[int | None] = [
        None if hidden else face for face, hidden in enumerate((torch.rand(faces, generator=generator) < 0.6).tolist())
    ]
    labels[int(torch.randint(0, faces, (1,), generator=generator))] = 0
    votes = votes_of(labels, num_labels=faces)
    component = slow_components(shape)
    centers = shape.face_centers.double()
    for rule in ("nearest", "component"):
        result = fill_unseen(shape, votes, rule).labels.tolist()
        for face, label in enumerate(labels):
            if label is not None:
                assert result[face] == label
                continue
            sources = [s for s in range(faces) if labels[s] is not None]
            own = [s for s in sources if component[s] == component[face]]
            if rule == "component" and own:
                sources = own
            distance = {s: float((centers[s] - centers[face]).norm()) for s in sources}
            nearest = {labels[s] for s in sources if distance[s] <= min(distance.values()) + 1e-9}
            assert result[face] in nearest


def slow_components(shape: Shape) -> list[int]:
    """Join the numbers of faces with a common corner until nothing changes."""
    corners = [{tuple(shape.vertices[v].tolist()) for v in face} for face in shape.faces.tolist()]
    number = list(range(len(corners)))
    changed = True
    while changed:
        changed = False
        for i in range(len(corners)):
            for j in range(len(corners)):
                if number[i] < number[j] and corners[i] & corners[j]:
                    number[j], changed = number[i], True
    return number


def test_a_shape_that_no_view_saw_is_an_error():
    shape = triangles(row_of_unit_triangles([0, 1]))
    with pytest.raises(InputError, match=r"soup.*no view saw"):
        fill_unseen(shape, votes_of([None, None]))


def test_unknown_rule_and_foreign_votes_are_refused():
    shape = triangles(row_of_unit_triangles([0, 1]))
    with pytest.raises(InputError, match=r"lifting.fill=guess is unknown: choose nearest or component"):
        fill_unseen(shape, votes_of([0, 1]), "guess")
    with pytest.raises(InputError, match=r"soup.*3 faces.*2"):
        fill_unseen(shape, votes_of([0, 1, 1]))
