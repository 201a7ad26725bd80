"""The label maps of a few-shot run: which captures and views, and how often each label occurs in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mvdecor.captures.capture import CaptureSet
from mvdecor.captures.rendered import RenderedCaptures
from mvdecor.errors import InputError
from mvdecor.shapes.splits import FewShotRun, read_split, sample_covering
from mvdecor.shapes.store import labels_of


def labelled_views(
    captures: CaptureSet, ids: Sequence[str], *, k: int, v: int | None, split: str | None, seed: int, run: int
) -> tuple[FewShotRun, dict[str, list[int]]]:
    """The labelled captures of a few-shot run, and of each its labelled views, by id.

    Args:
        captures: the set.
        ids: captures that may be chosen, if they are training captures with a label map.
        k: number of captures, see `sample_covering`.
        v: label maps of each; None: all.
        split: a split file that names captures and views; None: they are sampled.
        seed, run: of the sample; the file's run.

    Raises:
        InputError: the split file lacks the run, or names another capture; too few captures with label maps.
    """
    if split is not None:
        split_run = read_split(split).find(run)
        if split_run is None or set(split_run.shapes) - set(ids):
            raise InputError(f"{split}: run {run} is not there, or names a capture that was not pretrained on")
        return split_run, {id: split_run.views_of(id, len(captures.load(id).labelled)) for id in split_run.shapes}
    labels, counts = {}, set()
    for id in sorted(set(ids) & set(captures.ids("train"))):
        if isinstance(captures, RenderedCaptures):  # its shape is read sooner than its views are rendered
            shape = captures.shapes.load(id)
            labels[id] = set() if shape.face_labels is None else labels_of(shape)
            counts.add(len(captures.load(id)))
        elif (capture := captures.load(id)).labelled:
            labels[id] = set(capture.labels().unique().tolist()) - {-1, capture.background}
            counts.add(len(capture.labelled))
    if not labels:
        raise InputError("no capture of split 'train' that was pretrained on has a label map: see capture.labels")
    sampled = sample_covering(labels, captures.label_names, k=k, v=v, num_views=min(counts), seed=seed, run=run)
    if sampled.labels_not_covered:
        print(f"note: these captures do not show {', '.join(sampled.labels_not_covered)}")
    views = {}
    for id in sampled.shapes:
        labelled = captures.load(id).labelled
        views[id] = [labelled[i] for i in sampled.views_of(id, len(labelled))]
    return sampled, views


def frequency_weights(captures: CaptureSet, views: Mapping[str, Sequence[int]]) -> Tensor:
    """float32 [C], inverse roots of the labels' frequencies in some label maps, with mean 1 over the labels that occur."""
    counts = torch.zeros(len(captures.label_names))
    for id, labelled in views.items():
        labels = captures.load(id).labels(labelled)
        counts += torch.bincount(labels[labels >= 0].long(), minlength=len(counts))
    weights = torch.where(counts > 0, counts.clamp_min(1).rsqrt(), 0)
    return weights / weights[counts > 0].mean()


def about_labelled(run: FewShotRun, views: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """What the result of a fine-tuning says of its label maps."""
    return {
        "captures": run.shapes,
        "views": dict(views),
        "labels_not_covered": run.labels_not_covered,
        "label_maps": sum(map(len, views.values())),
    }
