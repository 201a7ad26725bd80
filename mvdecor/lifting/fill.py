"""Labels of all faces from the votes on those that were seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.lifting.settings import CREASE, FillRule, LiftingSettings
from mvdecor.lifting.smooth import smooth_votes
from mvdecor.lifting.vote import FaceVotes
from mvdecor.shapes.shape import Shape


@dataclass(frozen=True)
class FaceLabels:
    """A label for every face of a shape.

    Attributes:
        labels: int64 [F], in [0, C).
        confidence: float32 [F], in [0, 1], the label's probability by the mean of the views that see its face
            (`FaceVotes.probabilities`), or where the votes have none its share of them; a filled face has its source's.
            After smoothing all of these are the smoothed values.
        filled: bool [F], True where no pixel voted and the label comes from other faces.
        coverage: area of the seen faces as a share of the shape's, in [0, 1].
        share: float32 [F], in [0, 1], the label's share of its face's votes; None = `confidence`.
        disagreement: float32 [F], in [0, 1], share of the views of a face that by themselves would give it another label
            (`FaceVotes.images`), or None; a filled face has its source's.
        evidence: see `FaceVotes`.
    """

    labels: Tensor
    confidence: Tensor
    filled: Tensor
    coverage: float
    share: Tensor | None = None
    disagreement: Tensor | None = None
    evidence: float | None = None

    def __post_init__(self) -> None:
        f = self.labels.shape[0]
        assert self.labels.shape == (f,) and self.labels.dtype == torch.int64, "labels must be int64 [F]"
        assert self.confidence.shape == (f,), f"confidence must be [F], got {list(self.confidence.shape)}"
        assert self.filled.shape == (f,) and self.filled.dtype == torch.bool, "filled must be bool [F]"


def fill_unseen(
    shape: Shape, votes: FaceVotes, rule: FillRule = "nearest", smooth: float = 0.0, crease: float = CREASE
) -> FaceLabels:
    """The most voted label of each seen face; unseen faces copy a seen one and are marked as filled.

    With `smooth` the votes are first spread over the surface, which also fills the unseen faces of each component that
    has a seen one; only the others copy.

    Args:
        shape: the shape that was voted on.
        votes: its votes.
        rule: which seen face an unseen one copies. `nearest`: the one whose centre is nearest to its own (the paper's
            way). `component`: the nearest within its own connected component (faces that share a corner's position)
            if any face of that was seen, else the nearest of all.
        smooth: radius of the smoothing, see `smooth_votes`; 0: none.
        crease: see `smooth_votes`.

    Returns:
        `FaceLabels` on the votes' device.

    Raises:
        InputError: for an unknown rule, votes for another face count, or if no face was seen at all.
    """
    LiftingSettings.of({"fill": rule, "smooth": smooth, "crease": crease}, "lifting")
    if len(votes.seen) != shape.num_faces:
        raise InputError(f"shape {shape.id}: votes on {len(votes.seen)} faces for a shape of {shape.num_faces}")
    if not bool(votes.seen.any()):
        raise InputError(
            f"shape {shape.id}: no view saw any of its {shape.num_faces} faces with a vote; check that the shape is "
            "normalised to the unit sphere and that the cameras look at it"
        )
    labelled = votes.seen
    if smooth > 0:
        votes, labelled = smooth_votes(shape, votes, smooth, crease)
    share, labels = votes.scores.max(dim=-1)
    source = seen_faces(shape, labelled, rule)
    confidence, disagreement = share, None
    if votes.probabilities is not None and votes.images is not None:
        confidence, agreement = (x.gather(1, labels[:, None])[:, 0] for x in (votes.probabilities, votes.images))
        disagreement = (1 - agreement)[source]
    return FaceLabels(
        labels[source],
        confidence[source],
        ~votes.seen,
        covered_area(shape, votes.seen),
        share[source],
        disagreement,
        votes.evidence,
    )


def covered_area(shape: Shape, seen: Tensor) -> float:
    """Area of the faces where `seen` (bool [F]) as a share of the shape's; the share of their number if it has none."""
    areas = shape.face_areas.double().cpu()
    if not float(areas.sum()) > 0:
        areas = torch.ones_like(areas)
    return float(areas[seen.cpu()].sum() / areas.sum())


def seen_faces(shape: Shape, mask: Tensor, rule: FillRule = "nearest") -> Tensor:
    """int64 [F]: a seen face for each face, itself where it is one; `mask` (bool [F], not all False) says which are.

    `rule` as in `fill_unseen`.
    """
    seen, centers = mask.cpu().numpy(), shape.face_centers.double().cpu().numpy()
    source = np.arange(shape.num_faces)
    source[~seen] = _nearest(centers, np.flatnonzero(~seen), np.flatnonzero(seen))
    if rule == "component" and not seen.all():
        component = components_of(shape)
        order = np.argsort(component, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
            inside = seen[members]
            if inside.any():
                source[members[~inside]] = _nearest(centers, members[~inside], members[inside])
    return torch.from_numpy(source).to(mask.device)


def _nearest(centers: np.ndarray, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """For each face of `queries` the face of `candidates` whose centre is nearest."""
    if len(queries) == 0:
        return queries
    return candidates[cKDTree(centers[candidates]).query(centers[queries])[1]]


def components_of(shape: Shape) -> np.ndarray:
    """int [F], number of each face's connected component: faces that share a corner's position are in one."""
    corners = shape.corners.cpu().numpy()
    size = int(corners.max()) + 1
    rows, columns = np.concatenate([corners[:, :2], corners[:, 1:]]).T
    graph = coo_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(size, size))
    return connected_components(graph, directed=False)[1][corners[:, 0]]
