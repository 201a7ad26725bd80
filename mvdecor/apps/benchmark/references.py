"""Simple, slow reference implementations, for timing and for checking the fast ones."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mvdecor.fields import LSTMMarcher, VolumeRenderer
from mvdecor.fields.srn import Function
from mvdecor.views import Surface

RELEASED_BYTES_A_PIXEL = 26
"""Of the loose arrays that the paper's released code writes: 1.7 MB per view of 256 x 256 pixels."""


def match_by_tree(a: Surface, b: Surface, tolerance: float, library: str) -> list[Tensor]:
    """For each pair, the foreground pixels of A (int64, flat) with a surface point of B closer than `tolerance`.

    A KD-tree of B's points in space, and one query with all of A's: scikit-learn's as the released code does, or SciPy's,
    which is told to look no farther than the tolerance.
    """
    matched = []
    for pair in range(len(a)):
        points_a, points_b = (side.points[pair][side.mask[pair]].cpu().numpy() for side in (a, b))
        if library == "sklearn":
            from sklearn.neighbors import KDTree

            distance = KDTree(points_b).query(points_a, k=1)[0][:, 0]
        else:
            from scipy.spatial import cKDTree

            distance = cKDTree(points_b).query(points_a, k=1, distance_upper_bound=tolerance)[0]
        matched.append(a.mask[pair].reshape(-1).nonzero()[:, 0].cpu()[torch.from_numpy(distance < tolerance)])
    return matched


def vote_by_loop(face_ids: np.ndarray, weighted: np.ndarray, faces: list[int]) -> list[int]:
    """Label of each of some faces, -1 if no pixel sees it: a mask over all pixels of all views for every face.

    Args:
        face_ids: int32 [N, H, W].
        weighted: float32 [N, H, W, C], each pixel's vote (`pixel_votes`).
        faces: the faces asked for.
    """
    labels = []
    for face in faces:
        mask = face_ids == face
        labels.append(int(weighted[mask].sum(axis=0).argmax()) if mask.any() else -1)
    return labels


def pixel_votes(logits: Tensor, power: float) -> np.ndarray:
    """float32 [N, H, W, C]: class probabilities times (1 - entropy / log C) ** power, from logits [N, 1, C, H, W]."""
    probabilities = logits[:, 0].float().softmax(dim=1).permute(0, 2, 3, 1)
    entropy = -(probabilities * probabilities.clamp_min(1e-30).log()).sum(dim=-1, keepdim=True)
    weight = (1 - entropy / math.log(logits.shape[2])).clamp(0, 1) ** power
    return (probabilities * weight.clamp_min(1e-12)).numpy()


Loop = tuple[Tensor, Tensor]
"""Points float32 [R, 3] and features float32 [R, D] of R rays."""


def march_by_loop(
    marcher: LSTMMarcher, function: Function, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor
) -> Loop:
    """`LSTMMarcher` for the rays [R, 3] of one object, one ray after the other, its LSTM written out."""
    lstm, step = marcher.lstm, marcher.step
    points, features = [], []
    for origin, direction, distance in zip(origins, directions, near, strict=True):
        hidden = cell = torch.zeros(lstm.hidden_size, device=origin.device)
        for _ in range(marcher.steps):
            feature = function((origin + distance * direction)[None, None])[0, 0]
            gates = lstm.weight_ih @ feature + lstm.bias_ih + lstm.weight_hh @ hidden + lstm.bias_hh
            enter, forget, candidate, leave = gates.chunk(4)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            distance = distance + step.weight[0] @ hidden + step.bias[0]
        points.append(origin + distance * direction)
        features.append(function(points[-1][None, None])[0, 0])
    return torch.stack(points), torch.stack(features)


def volume_by_loop(
    renderer: VolumeRenderer, function: Function, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor
) -> Loop:
    """`VolumeRenderer` in evaluation for the rays [R, 3] of one object: one ray, and one point of it, after the other."""
    points, features = [], []
    for origin, direction, start, end in zip(origins, directions, near, far, strict=True):
        length = (end - start) / renderer.samples
        transparency = torch.ones((), device=origin.device)
        distance, opacity = torch.zeros_like(start), torch.zeros_like(start)
        mean = torch.zeros(renderer.density.in_features, device=origin.device)
        for sample in range(renderer.samples):
            middle = start + (sample + 0.5) * length
            feature = function((origin + middle * direction)[None, None])[0, 0]
            density = torch.log1p(renderer.density(feature)[0].exp())
            stopped = transparency * (1 - torch.exp(-density * length))
            transparency = transparency - stopped
            opacity, distance, mean = opacity + stopped, distance + stopped * middle, mean + stopped * feature
        points.append(origin + distance / opacity * direction)
        features.append(mean / opacity)
    return torch.stack(points), torch.stack(features)
