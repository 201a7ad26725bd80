"""The metrics of reconstructions together: each photograph counts once, in its own unit; label maps by a plain loop."""

import numpy as np
import pytest
import torch
from pytorch3d.utils import ico_sphere

from mvdecor.evaluation.reconstructions import ReconstructionMetrics, summary
from mvdecor.shapes.shape import Shape


def test_photographs_are_gathered():
    rng = np.random.default_rng(0)
    metrics = ReconstructionMetrics(0.05, 3000, 0)
    inter, union = [0, 0, 0], [0, 0, 0]
    truth = torch.tensor([[0.1, 0.1, 1.0], [0.5, 0.5, 1.0], [9.0, 9.0, 0.0]])
    for n, error in enumerate((0.05, 0.12, 0.3)):  # in units of the box
        size = 1.0 + n
        metrics.add_mask(str(n), torch.arange(4).view(2, 2) < 2, torch.arange(4).view(2, 2) < 2 + n % 2)
        guess = truth[:, :2] * size + torch.tensor([error * size, 0.0])
        metrics.add_keypoints(str(n), guess, None, truth * torch.tensor([size, size, 1.0]), size)
        maps = rng.integers(-1, 3, (2, 8, 8))
        metrics.add_labels(str(n), maps[0], maps[1], 3)
        for x, y in zip(maps[0].ravel(), maps[1].ravel(), strict=True):
            for label in range(3):
                inter[label] += x == label == y
                union[label] += label in (x, y)
    result = metrics.result()
    assert result["mask_iou"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert result["pck"] == {
        "projected": {"0.1": pytest.approx(1 / 3), "0.15": pytest.approx(2 / 3)},
        "regressed": None,
    }
    assert result["rotation"] is None and result["surface"] is None
    assert result["labels"]["iou"] == pytest.approx([i / u for i, u in zip(inter, union, strict=True)])
    assert "rotation" not in summary(result)


def test_surfaces_are_compared_in_their_own_unit():
    sphere = ico_sphere(3)
    ball = Shape("ball", sphere.verts_packed(), sphere.faces_packed())
    metrics = ReconstructionMetrics(0.05, 3000, 0)
    metrics.add_mask("a", torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    metrics.add_surface("a", ball, Shape("moved", 3 * ball.vertices + 1, ball.faces))
    metrics.add_keypoints("a", torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 3), 1.0)
    assert metrics.result()["pck"] == {"projected": None, "regressed": None}, "a template without keypoints"
    same = metrics.result()["surface"]
    metrics.add_mask("b", torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    metrics.add_surface("b", Shape("flat", ball.vertices * torch.tensor([1.0, 1.0, 0.5]), ball.faces), ball)
    both = metrics.result()["surface"]
    assert same["chamfer"] < 1e-6 and same["f_score"] == 1
    assert both["chamfer"] > 0.02 and both["f_score"] < 0.95
