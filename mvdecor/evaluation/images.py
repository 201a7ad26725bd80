"""Metrics of rendered views: PSNR, SSIM, error of depth, and the mIoU of label maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from mvdecor.captures.ray_batches import OPAQUE, outline_of
from mvdecor.errors import InputError

WINDOW = 11  # pixels of SSIM's Gaussian window, standard deviation 1.5 (Wang et al. 2004)


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each view, 10 log10(1 / MSE) over its pixels and colours; infinite where equal.

    Args:
        images, truth: float [N, H, W, 3] in [0, 1], or uint8.

    Returns:
        float32 [N], decibels.
    """
    error = (_unit(images, truth) - _unit(truth, images)).square().mean(dim=(1, 2, 3))
    return -10 * error.log10()


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each view (Wang et al. 2004, Gaussian window of 11 x 11 pixels), mean over pixels and colours.

    Windows at the border see the picture mirrored, as torchmetrics has it; implementations that count whole windows only
    give slightly other values.

    Args:
        images, truth: float [N, H, W, 3] in [0, 1], or uint8.

    Returns:
        float32 [N], at most 1.

    Raises:
        InputError: a view is smaller than the window.
    """
    if min(images.shape[1:3]) < WINDOW:
        raise InputError(
            f"SSIM needs views of at least {WINDOW}x{WINDOW} pixels, these have {images.shape[2]}x{images.shape[1]}"
        )
    first, second = (x.permute(0, 3, 1, 2) for x in (_unit(images, truth), _unit(truth, images)))
    values = structural_similarity_index_measure(first, second, kernel_size=WINDOW, data_range=1.0, reduction="none")
    assert isinstance(values, Tensor)
    return values.reshape(len(images))


PLACES = ("inside", "inner_outline", "outer_outline", "outside")
"""Where a pixel lies: the outlines are the object's pixels beside the background, and the background's beside the object."""


def error_by_place(images: Tensor, truth: Tensor, alpha: Tensor) -> Tensor:
    """Squared error of each view, summed over the pixels of each of `PLACES` and averaged over the colours.

    Args:
        images, truth: as of `psnr`.
        alpha: uint8 [N, H, W], 255 = the object.

    Returns:
        float32 [N, 4].
    """
    error = (_unit(images, truth) - _unit(truth, images)).square().mean(dim=-1)
    mask = alpha >= OPAQUE
    outline = outline_of(mask)
    places = (mask & ~outline, mask & outline, ~mask & outline, ~mask & ~outline)
    return torch.stack([(error * place).sum(dim=(1, 2)) for place in places], dim=-1)


class ViewMetrics:
    """Collects pictures, depth and label maps of rendered views, and averages over those that were not shown to the model.

    Label mIoU without background is the mean over the other labels; pixels of the true background that were given a part still
    count in that part's union. Pixels whose truth is undetermined (-1) are not counted.

    - pooled: intersections and unions of each label are summed over all views, labels that occur neither as truth nor as
      prediction are left out, and the IoUs of the rest are averaged.
    - per view: the same within each view, averaged over the views; a view without any label that counts is left out.

    Args:
        label_names: names of the C labels; () if only pictures are measured.
        background: the label of pixels that see no part; None if there is none.
        shown: views that the model was given, by capture id. They do not count (the released code of Semantic SRN counts them,
            and background: pass {} here and read the figures `with_background` to compare with it).
    """

    def __init__(
        self,
        label_names: Sequence[str] = (),
        background: int | None = None,
        shown: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        if background is not None and not 0 <= background < len(label_names):
            raise InputError(f"background={background} is none of the {len(label_names)} labels")
        self.label_names, self.background = tuple(label_names), background
        self._shown = {id: frozenset(views) for id, views in (shown or {}).items()}
        self._psnr: dict[tuple[str, int], float] = {}
        self._ssim: dict[tuple[str, int], float] = {}
        self._depth: dict[tuple[str, int], float] = {}
        self._errors: dict[tuple[str, int], list[float]] = {}
        self._confusion: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._left_out: set[tuple[str, int]] = set()

    def add_images(
        self, id: str, views: Sequence[int], images: Tensor, truth: Tensor, alpha: Tensor | None = None
    ) -> None:
        """Count pictures [n, H, W, 3] (see `psnr`) of views of a capture, and with alpha [n, H, W] where their errors are.

        Raises:
            InputError: sizes that differ, or a view that was added before.
        """
        if images.shape != truth.shape or len(images) != len(views):
            raise InputError(
                f"capture {id}: images {list(images.shape)} and truth {list(truth.shape)} of {len(views)} views; they must "
                "have one size"
            )
        for view, noise, similarity in zip(views, psnr(images, truth).tolist(), ssim(images, truth).tolist()):
            if self._counts(id, view, self._psnr):
                self._psnr[id, view], self._ssim[id, view] = noise, similarity
        if alpha is not None:
            errors = error_by_place(images, truth, alpha).tolist()
            self._errors |= {(id, view): error for view, error in zip(views, errors) if (id, view) in self._psnr}

    def add_depth(self, id: str, views: Sequence[int], depth: Tensor, truth: Tensor) -> None:
        """Count camera z [n, H, W] of views of a capture where the truth is above 0; views without such a pixel do not count.

        Raises:
            InputError: sizes that differ, or a view that was added before.
        """
        if depth.shape != truth.shape or len(depth) != len(views):
            raise InputError(
                f"capture {id}: depth {list(depth.shape)} and truth {list(truth.shape)} of {len(views)} views; they must have "
                "one size"
            )
        for view, answer, correct in zip(views, depth, truth):
            seen = correct > 0
            if self._counts(id, view, self._depth):
                self._depth[id, view] = (
                    float((answer - correct)[seen].abs().mean()) if bool(seen.any()) else float("nan")
                )

    def add_labels(self, id: str, views: Sequence[int], predicted: Tensor, truth: Tensor) -> None:
        """Count label maps [n, H, W] of views of a capture: predictions in [0, C), truth in [-1, C).

        Raises:
            InputError: sizes that differ, labels out of range, or a view that was added before.
        """
        if predicted.shape != truth.shape or len(predicted) != len(views):
            raise InputError(
                f"capture {id}: label maps {list(predicted.shape)} and truth {list(truth.shape)} of {len(views)} views; they "
                "must have one size"
            )
        c = len(self.label_names)
        for kind, maps, least in (("predicted", predicted, 0), ("true", truth, -1)):
            if maps.numel() and not least <= int(maps.min()) <= int(maps.max()) < c:
                raise InputError(
                    f"capture {id}: {kind} labels {int(maps.min())}..{int(maps.max())}; allowed are {least}..{c - 1}"
                )
        for view, answer, correct in zip(views, predicted.cpu().numpy(), truth.cpu().numpy()):
            if self._counts(id, view, self._confusion):
                labelled = correct >= 0
                cell = correct[labelled].astype(np.int64) * c + answer[labelled]
                self._confusion[id, view] = np.bincount(cell, minlength=c * c).reshape(c, c)

    def result(self) -> dict[str, Any]:
        """All metrics so far, ready for JSON.

        Returns:
            a dict of
            - `psnr`, `ssim`, `depth_error` (of absolute errors): means over views; None without any;
            - `error_shares` {place: its share of the squared error of all pictures}, see `PLACES`; None without alpha;
            - `labels` {`miou`, `miou_per_view`, `miou_with_background`, `miou_per_view_with_background` (percent), `iou`
              {name: pooled IoU or None}}; None without label maps;
            - `views` {`pictures`, `label_maps`: how many were counted, `shown`: how many were left out}.
        """
        return {
            "psnr": _mean(self._psnr.values()),
            "ssim": _mean(self._ssim.values()),
            "depth_error": _mean(self._depth.values()),
            "error_shares": self._error_shares(),
            "labels": self._label_result() if self._confusion else None,
            "views": {
                "pictures": len(self._psnr),
                "label_maps": len(self._confusion),
                "shown": len(self._left_out),
            },
        }

    def record(self, id: str, views: Sequence[int]) -> dict[str, list]:
        """What was counted of some views of a capture, as plain values, which `restore` takes."""
        record: dict[str, list] = {
            name: [[view, table[id, view]] for view in views if (id, view) in table]
            for name, table in (("psnr", self._psnr), ("ssim", self._ssim), ("depth", self._depth))
        }
        confusions = [(view, self._confusion.get((id, view))) for view in views]
        record["confusion"] = [[view, matrix.tolist()] for view, matrix in confusions if matrix is not None]
        record["errors"] = [[view, self._errors[id, view]] for view in views if (id, view) in self._errors]
        return record | {"left_out": [view for view in views if (id, view) in self._left_out]}

    def restore(self, id: str, record: Mapping[str, list]) -> None:
        """Count views of a capture by their `record`, perhaps of another process."""
        for name, table in (("psnr", self._psnr), ("ssim", self._ssim), ("depth", self._depth)):
            table.update({(id, view): float(value) for view, value in record[name]})  # JSON files hold "nan" and "inf"
        self._errors |= {(id, view): errors for view, errors in record["errors"]}
        self._confusion |= {(id, view): np.array(matrix) for view, matrix in record["confusion"]}
        self._left_out |= {(id, view) for view in record["left_out"]}

    def _error_shares(self) -> dict[str, float] | None:
        sums = np.sum(list(self._errors.values()), axis=0)
        return dict(zip(PLACES, (sums / sums.sum()).tolist())) if self._errors and sums.sum() > 0 else None

    def _label_result(self) -> dict[str, Any]:
        views = [_iou(confusion) for _, confusion in sorted(self._confusion.items())]
        pooled = _iou(np.sum(list(self._confusion.values()), axis=0))
        parts = np.arange(len(self.label_names)) != (-1 if self.background is None else self.background)
        return {
            "miou": _mean(pooled[parts]),
            "miou_per_view": _mean(_mean(iou[parts]) for iou in views),
            "miou_with_background": _mean(pooled),
            "miou_per_view_with_background": _mean(_mean(iou) for iou in views),
            "iou": {name: None if np.isnan(x) else float(x) for name, x in zip(self.label_names, pooled)},
        }

    def _counts(self, id: str, view: int, counted: Mapping[tuple[str, int], Any]) -> bool:
        if (id, view) in counted:
            raise InputError(f"capture {id}: view {view} was added twice; every view counts once")
        if view in self._shown.get(id, ()):
            self._left_out.add((id, view))
            return False
        return True


def _unit(images: Tensor, truth: Tensor) -> Tensor:
    """float32 in [0, 1]."""
    assert images.ndim == 4 and images.shape[-1] == 3, "pictures must be [N, H, W, 3]"
    assert images.shape == truth.shape, "pictures and truth must have one size"
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def _iou(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [C], percent; NaN for labels that occur neither as truth nor as prediction."""
    intersection = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    return 100 * np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def _mean(values: Any) -> float | None:
    """Of those that are numbers; None if none is."""
    numbers = [float(value) for value in values if value is not None and not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else None
