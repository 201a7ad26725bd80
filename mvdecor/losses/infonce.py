"""Dense InfoNCE: each matched pixel must find its partner among all partners of its pair (paper equation 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.errors import InputError
from mvdecor.losses.alike import alike_matches
from mvdecor.losses.infonce_blocks import Settings, infonce_blocks
from mvdecor.losses.pairs import AXES, similarities, split_pairs
from mvdecor.losses.retrieval import retrieval_accuracy
from mvdecor.losses.settings import check_not_negative, check_positive

NEGATIVES = ("pair", "batch", "both")
LEAST_TEMPERATURE = 0.003  # float64 holds no more: exp(-2 / temperature) must stay above 0


def infonce(
    a: Tensor,
    b: Tensor,
    points: Tensor,
    pair: Tensor,
    temperature: float = 0.07,
    radius: float = 0.0,
    mirror: str | None = None,
    alike: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The paper's loss as it is written there: arguments and returns as of `InfoNCE` and its `forward`.

    Use it to read and to check. `InfoNCE` computes the same in blocks, whatever the size: they are 4 times faster with 4000
    matches per pair, and below 256 matches slower by a quarter of a millisecond at most.
    """
    a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
    losses, accuracies = [], []
    for za, zb, xyz in split_pairs(pair, a, b, points):
        similarity = similarities(za, zb, xyz, radius, mirror)  # cosines [K, K]; the right partners are on the diagonal
        if alike > 0:
            similarity = similarity.masked_fill(alike_matches(za, zb, alike), -math.inf)
        partner = torch.arange(len(za), device=za.device)
        a_to_b = F.cross_entropy(similarity / temperature, partner)
        b_to_a = F.cross_entropy(similarity.T / temperature, partner)
        losses.append((a_to_b + b_to_a) / 2)
        accuracies.append(retrieval_accuracy(similarity))
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


class InfoNCE(nn.Module):
    """Symmetric InfoNCE over the matches of each pair of views.

    The logits of match i against match j are `cos(a_i, b_j) / temperature`; the loss is the cross-entropy of finding j = i
    for each i, and i = j for each j, averaged over both directions and all pairs. Surface points closer than `radius` are
    nearly the same point and are never each other's negatives. That acts within a pair only: points of two pairs may be of
    two shapes, each in a frame of its own, so they are never compared. (Two pairs of a batch may also show the same shape;
    as negatives of each other they then hold some false ones.)

    Two more ways to leave out what is hardly a negative act within a pair too: on a symmetric shape a point's twin lies near
    its mirror image (`mirror`); and matches whose embeddings are most alike are likely to be of one part, or of parts that look
    the same (`alike`).

    Args:
        temperature: softmax temperature (0.07 in the paper's recipe), at least 0.003.
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.
        mirror: "x", "y" or "z": points closer than `radius` to the mirror image of a point, which has the other sign of that
            coordinate, are not its negatives either; None: there is no mirror.
        alike: share of the pairs of matches, those with the most similar embeddings (`alike_matches`), that are not each
            other's negatives; at least 0, less than 1. Those within the radius are counted too.
        negatives: what a match is told apart from: "pair", all other matches of its pair (the paper); "batch", the matches
            of all other pairs of the batch, none of its own; "both". The last two take time by the square of the matches
            of a batch, not of a pair. A batch of one pair has no negatives under "batch": the loss is 0.

    Raises:
        InputError: a temperature below 0.003, a negative radius, unknown negatives, an unknown axis or one without a radius, or
            a share that is none.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        radius: float = 0.0,
        negatives: str = "pair",
        mirror: str | None = None,
        alike: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        if temperature < LEAST_TEMPERATURE:
            raise InputError(f"loss.temperature={temperature}: give at least {LEAST_TEMPERATURE}")
        check_not_negative(radius=radius)
        if negatives not in NEGATIVES:
            raise InputError(f"loss.negatives={negatives} is unknown: choose pair, batch or both")
        if mirror is not None and mirror not in AXES:
            raise InputError(f"loss.mirror={mirror} is unknown: choose x, y, z or null")
        if mirror is not None and radius == 0:
            raise InputError(f"loss.mirror={mirror}, but loss.radius=0: give the radius around the mirrored point")
        check_not_negative(alike=alike)
        if alike >= 1:
            raise InputError(f"loss.alike={alike}: give a share of less than 1")
        self.temperature = temperature
        self.radius = radius
        self.negatives = negatives
        self.mirror = mirror
        self.alike = alike

    def forward(
        self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor, counts: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss and retrieval accuracy of M matches.

        Args:
            a: [M, D], embeddings in view A (any length; they are normalised here).
            b: [M, D], embeddings in view B.
            points: float32 [M, 3], the matched surface points.
            pair: int64 [M], ascending: the pair that each match belongs to.
            counts: matches of each pair, where the caller knows them; otherwise they are counted, for which a GPU is waited.

        Returns:
            the loss (scalar; about log K for K matches per pair at the start) and the share of pixels of A whose most
            similar partner within the pair is the right one (scalar, without gradient; chance is 1 / K).
        """
        a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
        assert len(pair) > 0, "a loss needs at least one match"
        counts = [count for count in counts or torch.bincount(pair).tolist() if count > 0]
        settings = Settings(self.temperature, self.radius, self.negatives, self.mirror, self.alike)
        return infonce_blocks(a, b, points, counts, settings)
