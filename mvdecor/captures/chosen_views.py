"""Which views of a capture an evaluation gives to a model, and which it measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mvdecor.captures.capture import Capture
from mvdecor.errors import InputError
from mvdecor.seeds import seed_of
from mvdecor.shapes.fewshot import sample_views


def given_views(
    capture: Capture,
    source: Literal["images", "labels", "training"],
    v: int | None,
    views: Sequence[int] | None,
    seed: int,
) -> list[int]:
    """The views that are given of a capture.

    Args:
        capture: the capture.
        source: images, or label maps: then only views with a label map can be given; training: none is given.
        v: number of them, sampled by the seed and the capture's id; None: all.
        views: the views themselves, in place of `v`.
        seed: of the sample.

    Raises:
        InputError: a view is not there, or has no label map where those are given.
    """
    if source == "training":
        return []
    available = list(capture.labelled) if source == "labels" else list(range(len(capture)))
    if views is not None:
        if missing := sorted(set(views) - set(available)):
            kind = "label map of view" if source == "labels" else "view"
            raise InputError(f"evaluation.views: capture {capture.id} has no {kind} {missing[0]}")
        return list(views)
    if v is None:
        return available
    if v > len(available):
        raise InputError(f"evaluation.v={v}: capture {capture.id} has {len(available)} {source}")
    return [available[i] for i in sample_views(len(available), v, seed_of(seed, "given views", capture.id))]


def measured_views(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` views, spread evenly."""
    return list(range(count)) if limit is None else (np.arange(min(limit, count)) * count // min(limit, count)).tolist()
