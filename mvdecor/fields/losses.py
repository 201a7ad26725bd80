"""Losses of rendered rays, each a mean or a value per ray."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy

from mvdecor.captures.ray_batches import RayBatch
from mvdecor.fields.field import Rendered


def losses_of(rendered: Rendered, batch: RayBatch) -> dict[str, Tensor]:
    """Means over the rays of a batch (Kohli et al. 2020, section 3.1; mask and depth are additions, where they are known).

    Returns:
        `rgb`, mean squared error; `code`, mean square of the codes; `negative_distance`, mean square of distances below 0;
        `mask`, binary cross-entropy of the opacity; `depth`, mean absolute error of the distance on the object.
    """
    losses = {
        "rgb": (rendered.rgb - batch.rgb).square().mean(),
        "code": rendered.codes.square().mean(),
        "negative_distance": rendered.hits.distance.clamp_max(0).square().mean(),
    }
    if batch.mask is not None:
        losses["mask"] = opacity_loss(rendered.opacity, batch.mask).mean()
    if batch.distance is not None:
        seen = batch.distance > 0
        error = (rendered.hits.distance - batch.distance).abs() * seen
        losses["depth"] = error.sum() / seen.sum().clamp_min(1)
    return losses


def opacity_loss(opacity: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of each ray, float32 [B, R]."""
    return binary_cross_entropy(opacity.float().clamp(1e-5, 1 - 1e-5), mask.float(), reduction="none")


def labels_loss(logits: Tensor, labels: Tensor, label_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of each ray, float32 [B, R]; 0 where undetermined (-1).

    Args:
        logits: [B, R, C].
        labels: int64 [B, R].
        label_weights: float32 [C].
    """
    weight = None if label_weights is None else label_weights.to(logits)
    return cross_entropy(logits.float().transpose(1, 2), labels, weight, ignore_index=-1, reduction="none")
