"""Words on a mesh of the scene: the views vote on the faces that their cameras see, and how right that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mvdecor.captures import Capture
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics
from mvdecor.lifting.vote import FaceVoter, FaceVotes
from mvdecor.shapes import Shape
from mvdecor.shapes.shape import UNDETERMINED
from mvdecor.views.rasterizers import make_rasterizer

VIEWS_AT_ONCE = 16
TINY = 1e-12
"""Least probability, so that its logarithm is a number."""


def mesh_votes(capture: Capture, views: Sequence[int], shape: Shape, probabilities: Tensor) -> FaceVotes:
    """Votes of some views on the faces that their cameras see, by the rule `entropy` of MvDeCor.

    Args:
        capture: of the scene.
        views: n of its views.
        shape: a mesh in the world frame of the cameras.
        probabilities: float32 [n, C, H, W], of the words at each pixel.

    Raises:
        InputError: no camera of the capture sees the mesh.
    """
    voter, rasterizer = FaceVoter(shape, probabilities.shape[1]), make_rasterizer("embree")
    for start in range(0, len(probabilities), VIEWS_AT_ONCE):
        cameras = capture.cameras[list(views[start : start + VIEWS_AT_ONCE])]
        ids = rasterizer([shape], [cameras])[0].face_ids
        voter.add(ids, probabilities[start : start + VIEWS_AT_ONCE, None].clamp_min(TINY).log())
    votes = voter.result()
    if not bool(votes.seen.any()):
        raise InputError(
            f"mesh {shape.id}: no camera of capture {capture.id} sees it: it must be in the frame of the cameras' poses"
        )
    return votes


def mesh_miou(shape: Shape, votes: FaceVotes) -> float:
    """Percent: IoU of the labels of the faces that were seen, by area, averaged over the labels that occur.

    Args:
        shape: with labels, numbered as the scores of the votes.
        votes: on its faces.
    """
    assert shape.face_labels is not None, "only a labelled mesh can be measured with"
    truth = torch.where(votes.seen, shape.face_labels, UNDETERMINED)
    metrics = PartMetrics(shape.label_names, "partnet", points=0)
    metrics.add(replace(shape, face_labels=truth), votes.scores.argmax(dim=1))
    return float(metrics.result()["part_miou"])
