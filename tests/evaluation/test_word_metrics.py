"""Figures of open-vocabulary segmentation against scikit-learn and slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.evaluation.word_metrics import boundary, word_figures

SIZES = st.tuples(st.integers(1, 3), st.integers(4, 12), st.integers(4, 12), st.integers(2, 4), st.integers(0, 2**31))


def blobs(seed: int, n: int, height: int, width: int, classes: int, least: int) -> Tensor:
    """Label maps of random rectangles."""
    rng = np.random.default_rng(seed)
    labels = np.full((n, height, width), rng.integers(least, classes))
    for view in labels:
        for _ in range(4):
            y, x = rng.integers(height), rng.integers(width)
            view[y : y + rng.integers(1, height), x : x + rng.integers(1, width)] = rng.integers(least, classes)
    return torch.from_numpy(labels)


@settings(max_examples=40)
@given(SIZES)
def test_mean_iou_and_accuracy_are_those_of_loops_over_pixels(size: tuple[int, int, int, int, int]) -> None:
    n, height, width, classes, seed = size
    predicted, truth = blobs(seed, n, height, width, classes, 0), blobs(seed + 1, n, height, width, classes, -1)
    if not (truth >= 0).any():
        return
    view_means, right, counted = [], 0, 0
    for answer, correct in zip(predicted.tolist(), truth.tolist()):
        shared, union = [0] * classes, [0] * classes
        for answer_row, correct_row in zip(answer, correct):
            for a, c in zip(answer_row, correct_row):
                if c < 0:
                    continue
                counted += 1
                right += a == c
                for label in {a, c}:
                    union[label] += 1
                    shared[label] += a == c
        ious = [s / u for s, u in zip(shared, union) if u]
        if ious:
            view_means.append(sum(ious) / len(ious))
    figures = word_figures(predicted, truth, classes)
    assert figures["miou"] == pytest.approx(100 * sum(view_means) / len(view_means))
    assert figures["accuracy"] == pytest.approx(100 * right / counted)


@settings(max_examples=15)
@given(SIZES)
def test_the_released_way_is_that_of_scikit_learn(size: tuple[int, int, int, int, int]) -> None:
    """One-hot rows of pixels; masks that overlap or leave pixels out; IoU 0 of absent classes."""
    from sklearn.metrics import accuracy_score, jaccard_score

    n, height, width, classes, seed = size
    predicted = blobs(seed, n, height, width, classes, 0)
    masks = torch.stack([blobs(seed + 1 + k, n, height, width, 2, 0).bool() for k in range(classes)], dim=1)
    ious, accuracies = [], []
    for answer, correct in zip(predicted, masks):
        rows = torch.nn.functional.one_hot(answer.reshape(-1), classes).numpy()
        expected = correct.reshape(classes, -1).T.int().numpy()
        ious.append(jaccard_score(expected, rows, average=None, zero_division=0).mean())
        accuracies.append(accuracy_score(expected, rows))
    figures = word_figures(predicted, masks, classes, released=True)
    assert figures["miou"] == pytest.approx(100 * np.mean(ious))
    assert figures["accuracy"] == pytest.approx(100 * np.mean(accuracies))


@settings(max_examples=15)
@given(SIZES, st.sampled_from([0.0, 0.1, 0.2]))
def test_boundary_f_is_that_of_loops_over_pixels(size: tuple[int, int, int, int, int], tolerance: float) -> None:
    n, height, width, classes, seed = size
    predicted, truth = blobs(seed, n, height, width, classes, 0), blobs(seed + 1, n, height, width, classes, 0)
    reach = max(1.0, tolerance * math.hypot(height, width))

    def edge(labels: list[list[int]], label: int) -> list[tuple[int, int]]:
        pixels = []
        for y in range(height):
            for x in range(width):
                around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                within = [labels[v][u] for v, u in around if 0 <= v < height and 0 <= u < width]
                if labels[y][x] == label and any(other != label for other in within):
                    pixels.append((y, x))
        return pixels

    def near(pixels: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        close = [any(math.dist(pixel, other) <= reach for other in others) for pixel in pixels]
        return sum(close) / len(close) if close else 0.0

    means = []
    for answer, correct in zip(predicted.tolist(), truth.tolist()):
        scores = []
        for label in range(classes):
            first, second = edge(answer, label), edge(correct, label)
            if first or second:
                precision, recall = near(first, second), near(second, first)
                scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        if scores:
            means.append(sum(scores) / len(scores))
    result = word_figures(predicted, truth, classes, tolerance=tolerance)["boundary_f"]
    assert result == pytest.approx(100 * sum(means) / len(means)) if means else math.isnan(result)


def test_the_truth_itself_scores_all_and_absent_classes_cost_in_the_released_way_alone() -> None:
    truth = blobs(5, 2, 20, 20, 3, 0)
    assert word_figures(truth, truth, 6) == {"miou": 100.0, "accuracy": 100.0, "boundary_f": 100.0}
    present = sum(len(view.unique()) for view in truth) / 2
    assert word_figures(truth, truth, 6, released=True)["miou"] == pytest.approx(100 * present / 6)


def test_a_shift_within_the_tolerance_costs_no_boundary() -> None:
    truth, moved = torch.zeros(1, 40, 40, dtype=torch.int64), torch.zeros(1, 40, 40, dtype=torch.int64)
    truth[:, 10:30, 10:30], moved[:, 11:31, 10:30] = 1, 1
    assert word_figures(moved, truth, 2)["boundary_f"] == 100.0
    moved[:, 11:31, 16:36] = 1
    assert word_figures(moved, truth, 2)["boundary_f"] < 80


def test_the_view_ends_without_a_boundary() -> None:
    mask = np.zeros((5, 6), dtype=bool)
    mask[:, :3] = True
    assert boundary(mask).nonzero()[1].tolist() == [2] * 5


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (torch.zeros(1, 3, 3), torch.zeros(1, 3, 4), "must have one size"),
        (torch.full((1, 3, 3), 2), torch.zeros(1, 3, 3), "predicted labels 2..2"),
        (torch.zeros(1, 3, 3), torch.full((1, 3, 3), -1), "nothing can be measured"),
        (torch.zeros(1, 3, 3), torch.zeros(1, 3, 3, 3, dtype=torch.bool), "one per class"),
    ],
)
def test_label_maps_that_cannot_be_measured_are_refused(predicted: Tensor, truth: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        word_figures(predicted, truth, 2)
