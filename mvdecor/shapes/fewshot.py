"""Choosing the k labelled shapes of a few-shot run (paper section 4: k random shapes that cover all labels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from mvdecor.errors import InputError

SEARCH_STEPS = 20_000


def sample_few_shot(
    labels: Mapping[str, Set[int]], k: int, seed: int, tries: int = 1000, replace: bool = False
) -> tuple[list[str], set[int]]:
    """Sample k shapes without replacement that together show every label, if any such set is found.

    Uniform samples of k shapes, seeded, are tried in turn, and the first that covers all labels is taken. If none does,
    because of rare labels, a covering set is searched for (a shape for the rarest label not yet shown, those that show
    most others first, with back-tracking, up to `SEARCH_STEPS` shapes) and filled up at random. If that finds none
    either, the first of the samples that cover most is taken.

    Args:
        labels: for each shape id the labels it shows (without undetermined).
        k: number of shapes.
        seed: of the samples.
        tries: most samples.
        replace: sample with replacement as the released code does: a shape may come twice, so that fewer than k are
            labelled. There is no search then; if no sample covers all labels, the first that covers most is taken.

    Returns:
        the ids in sorted order (with `replace` perhaps some twice), and the labels that they do *not* show (empty if the
        set covers).

    Raises:
        InputError: if k is not in 1..len(labels), or no shape has any label.
    """
    ids = sorted(labels)
    if not 1 <= k <= len(ids):
        raise InputError(
            f"k={k} labelled shapes were asked for, but the split holds {len(ids)} that can be used: lower finetune.k"
        )
    required = set().union(*labels.values())
    if not required:
        raise InputError(
            f"none of the {len(ids)} shapes of the split has a label at this level: choose another data.level or category"
        )
    rng = np.random.default_rng(seed)
    best: list[str] = []
    best_missing = required | {-1}
    for _ in range(tries):
        sampled = sorted(ids[i] for i in rng.choice(len(ids), size=k, replace=replace))
        missing = required - set().union(*(labels[i] for i in sampled))
        if len(missing) < len(best_missing):
            best, best_missing = sampled, missing
        if not missing:
            return best, missing
    if replace:
        return best, best_missing
    cover = _Search(labels, ids, rng).cover(k, frozenset(required))
    if cover is None:
        return best, best_missing
    remaining = [i for i in ids if i not in cover]
    filled = [remaining[i] for i in rng.choice(len(remaining), size=k - len(cover), replace=False)]
    return sorted([*cover, *filled]), set()


class _Search:
    """Depth-first search of few shapes that show all labels, of bounded length; random where shapes are equally good."""

    def __init__(self, labels: Mapping[str, Set[int]], ids: list[str], rng: np.random.Generator) -> None:
        self.labels, self.rng = labels, rng
        self.showing: dict[int, list[str]] = {}
        for i in ids:
            for label in labels[i]:
                self.showing.setdefault(label, []).append(i)
        self.most = max(len(labels[i]) for i in ids)
        self.steps_left = SEARCH_STEPS

    def cover(self, k: int, missing: frozenset[int]) -> list[str] | None:
        """At most k shapes that show all of `missing`; None if there are none or the steps are used up."""
        if not missing:
            return []
        if len(missing) > k * self.most:
            return None
        candidates = self.showing[min(missing, key=lambda label: (len(self.showing[label]), label))]
        shuffled = [candidates[i] for i in self.rng.permutation(len(candidates))]
        for i in sorted(shuffled, key=lambda i: -len(missing & self.labels[i])):
            if self.steps_left == 0:
                return None
            self.steps_left -= 1
            subcover = self.cover(k - 1, missing - self.labels[i])
            if subcover is not None:
                return [i, *subcover]
        return None


def sample_views(num_views: int, v: int | None, seed: int | Sequence[int], replace: bool = False) -> list[int]:
    """The labelled views of a shape: all, or v of them sampled without replacement (`replace`: with, as released).

    Raises:
        InputError: if v is not in 1..num_views.
    """
    if v is None:
        return list(range(num_views))
    if not 1 <= v <= num_views:
        raise InputError(
            f"v={v} labelled views per shape were asked for, but there are {num_views}: lower finetune.v or raise views.count"
        )
    return sorted(np.random.default_rng(seed).choice(num_views, size=v, replace=replace).tolist())
