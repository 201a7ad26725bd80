"""Views of an object as a field shows them, and its labelled points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.captures.ray_batches import RayBatch, RaySource, bounded_rays
from mvdecor.errors import InputError
from mvdecor.fields.field import ConditionalField
from mvdecor.fields.heads import DOWNS
from mvdecor.fields.infer import render_rays
from mvdecor.fields.srn import Hits


@dataclass(frozen=True)
class FieldViews:
    """What a field shows in n views.

    Attributes:
        images: float32 [n, H, W, 3] in [0, 1].
        depth: float32 [n, H, W], camera z.
        labels: int64 [n, H, W], in [0, C).
        points: float32 [P, 3], world frame, where the rays end that see a part.
        point_labels: int64 [P], their parts.
        confidence: float32 [P], the probability of the part.
    """

    images: Tensor
    depth: Tensor
    labels: Tensor
    points: Tensor
    point_labels: Tensor
    confidence: Tensor


def render_views(
    field: ConditionalField, code: Tensor, capture: Capture, views: Sequence[int], background: int | None
) -> FieldViews:
    """Views of an object through the cameras of a capture.

    Where no ray is given a part at all, each ray becomes a point of its most probable part.

    Args:
        field: in evaluation mode, with a head.
        code: float32 [Z], of the object.
        capture: gives cameras and bounds.
        views: its views to render.
        background: the label of what is no part; None: rays of opacity above 0.5 see a part.
    """
    height, width = capture.cameras.height, capture.cameras.width
    rays, cosine = bounded_rays(capture, views, torch.arange(len(views) * height * width))
    origins, directions, near, far = (values.to(code.device) for values in rays)
    rendered = render_rays(field, code, (origins, directions, near, far))
    probabilities = view_logits(field, rendered.hits, (height, width))[0].softmax(dim=-1).cpu()
    labels = probabilities.argmax(dim=-1)
    sees_part = rendered.opacity[0].cpu() > 0.5 if background is None else labels != background
    if background is not None:
        probabilities[:, background] = -1
    if not bool(sees_part.any()):
        sees_part = torch.ones_like(sees_part)
    confidence, parts = probabilities[sees_part].max(dim=-1)
    depth = rendered.hits.distance[0].cpu() * cosine
    images = rendered.rgb[0].clamp(0, 1).cpu().view(len(views), height, width, 3)
    depth, labels = (values.view(len(views), height, width) for values in (depth, labels))
    return FieldViews(images, depth, labels, rendered.hits.points[0].cpu()[sees_part], parts, confidence)


@torch.no_grad()
def view_logits(field: ConditionalField, hits: Hits, size: tuple[int, int]) -> Tensor:
    """float32 [1, R, C], the head's answer for the rays of whole views of H, W = `size` pixels, one view at a time."""
    count = size[0] * size[1]
    parts = (values.split(count, dim=1) for values in hits[:3])
    return torch.cat([field.label_logits(Hits(*view), size) for view in zip(*parts, strict=True)], dim=1)


@dataclass
class ViewHits:
    """What the rays of whole views of training objects hit; each view is rendered once and remembered.

    Attributes:
        field: in evaluation mode but for its head.
        size: H, W of every view.
    """

    field: ConditionalField
    size: tuple[int, int]
    _rendered: dict[tuple[str, tuple[int, ...]], Hits] = field(default_factory=dict, repr=False)

    @classmethod
    def of_source(cls, field: ConditionalField, source: RaySource) -> ViewHits:
        """For a U-Net head on the captures of a source. Raises InputError if their views differ in size, or are too small."""
        cameras = [source.capture(id).cameras for id in source.ids]
        sizes = {(c.height, c.width) for c in cameras}
        size = min(sizes)
        if len(sizes) > 1 or min(size) <= 2**DOWNS:
            raise InputError(
                f"training.finetune.head=unet: labelled views of {' and '.join(f'{w} x {h}' for h, w in sorted(sizes))} "
                f"pixels: it needs captures of one size, above {2**DOWNS} pixels per side"
            )
        return cls(field, size)

    def of(self, batch: RayBatch) -> Hits:
        """Of a batch of one whole view of each of B captures, R = H W, without gradient."""
        views = list(zip(batch.shape_ids, batch.views, strict=True))
        for i, view in enumerate(views):
            if view not in self._rendered:
                origins, directions, near, far = (values[i : i + 1] for values in batch.rays)
                code = self.field.codes.weight[batch.objects[i]].detach()
                self._rendered[view] = render_rays(self.field, code, (origins, directions, near, far)).hits
        columns = zip(*(self._rendered[view][:3] for view in views), strict=True)
        return Hits(*(torch.cat(values) for values in columns))
