"""A conditional field: one code per object, what its rays see, their colours, and a head for labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mvdecor.fields.heads import HeadKind, make_head
from mvdecor.fields.settings import FieldSettings
from mvdecor.fields.srn import Hits, LSTMMarcher, PointFunction
from mvdecor.fields.volume import VolumeRenderer

CODE_DEVIATION = 0.01
"""Standard deviation of the codes before training (released code of Semantic SRN)."""


class Rendered(NamedTuple):
    """What R rays of each of B objects show.

    Attributes:
        hits: where they end.
        rgb: float32 [B, R, 3], about [0, 1]; the background is white.
        opacity: float32 [B, R] in [0, 1].
        codes: float32 [B, Z + K], of the objects.
    """

    hits: Hits
    rgb: Tensor
    opacity: Tensor
    codes: Tensor

    @staticmethod
    def cat(parts: Sequence[Rendered]) -> Rendered:
        """Rays of the same objects that were rendered in turn."""
        hits = Hits(
            *(torch.cat([getattr(p.hits, name) for p in parts], dim=1) for name in ("points", "distance", "features"))
        )
        rgb, opacity = (torch.cat([getattr(p, name) for p in parts], dim=1) for name in ("rgb", "opacity"))
        return Rendered(hits, rgb, opacity, parts[0].codes)


class ConditionalField(nn.Module):
    """The auto-decoder of Semantic SRN (Kohli et al. 2020, section 3), or the same function volume-rendered.

    Args:
        settings: sizes, and how rays are rendered.
        objects: number of training objects, each with a code of its own.
        labels: C, with a head from features to labels; 0: without head.
        points_to_head: the head takes the end point beside the feature.
        head_kind: linear or mlp take each ray by itself; unet takes the rays of whole views.

    Attributes:
        codes: one per training object, Z + K values: Z for shape and features, K for colours alone.
    """

    head: nn.Module | None
    forward_methods = ("label_rays", "label_logits")

    def __init__(
        self,
        settings: FieldSettings,
        objects: int,
        labels: int = 0,
        points_to_head: bool = False,
        head_kind: HeadKind = "linear",
    ) -> None:
        super().__init__()
        self.settings, self.points_to_head, self.head_kind = settings, points_to_head, head_kind
        width = settings.width
        self.codes = nn.Embedding(objects, settings.code_size + settings.colour_code_size)
        nn.init.normal_(self.codes.weight, std=CODE_DEVIATION)
        self.function = PointFunction(
            settings.code_size, width, settings.layers, settings.hypernetwork_width, settings.harmonics
        )
        self.renderer: LSTMMarcher | VolumeRenderer
        if settings.renderer == "lstm":
            self.renderer = LSTMMarcher(width, settings.steps, settings.reach)
        else:
            self.renderer = VolumeRenderer(width, settings.samples)
        self.generator = _generator(width + settings.colour_code_size, width, settings.generator_layers)
        self.head = make_head(head_kind, width, labels, points_to_head) if labels else None

    def forward(self, objects: Tensor, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Rendered:
        """What rays of training objects show: int64 [B], their numbers, and as in `render`."""
        return self.render(self.codes(objects), origins, directions, near, far)

    def render(self, codes: Tensor, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Rendered:
        """What rays show.

        Args:
            codes: float32 [B, Z + K].
            origins, directions: float32 [B, R, 3], world frame, directions of unit length.
            near, far: float32 [B, R], distances between which the objects lie.
        """
        if self.settings.start is not None:
            near = torch.full_like(near, self.settings.start)
        sizes = [self.settings.code_size, self.settings.colour_code_size]
        shape_codes, colour_codes = codes.split(sizes, dim=-1)
        hits = self.renderer(self.function(shape_codes), origins, directions, near, far)
        seen = hits.features
        if self.settings.colour_code_size:
            seen = torch.cat([seen, colour_codes[:, None].expand(-1, seen.shape[1], -1)], dim=-1)
        colours = self.generator(seen)
        if hits.opacity is None:
            return Rendered(hits, colours[..., :3], colours[..., 3].sigmoid(), codes)
        opacity = hits.opacity[..., None]
        return Rendered(hits, opacity * colours[..., :3] + (1 - opacity), hits.opacity, codes)

    def label_rays(self, objects: Tensor, *rays: Tensor) -> Tensor:
        """float32 [B, R, C], the head's answer for rays of training objects; everything before the head is constant."""
        with torch.no_grad():
            hits = self(objects, *rays).hits
        return self.label_logits(hits)

    def label_logits(self, hits: Hits, size: tuple[int, int] | None = None) -> Tensor:
        """float32 [B, R, C] of the head. A U-Net also needs `size`, (H, W): the R = n H W rays show n whole views in order."""
        assert self.head is not None, "this field has no head"
        if self.head_kind == "unet":
            assert size is not None, "a U-Net labels whole views"
            images = hits.features.view(-1, *size, self.settings.width).permute(0, 3, 1, 2).contiguous()
            return self.head(images).permute(0, 2, 3, 1).reshape(*hits.distance.shape, -1)
        seen = torch.cat([hits.features, hits.points], dim=-1) if self.points_to_head else hits.features
        return self.head(seen)

    def mean_code(self) -> Tensor:
        """float32 [Z + K], the mean of the training objects' codes."""
        return self.codes.weight.mean(dim=0)


def _generator(inputs: int, width: int, layers: int) -> nn.Sequential:
    """Features, and codes of colours, [..., inputs] to red, green, blue, and the logit of being an object."""
    modules: list[nn.Module] = []
    for size in [inputs, *[width] * (layers - 1)][: layers - 1]:
        modules += [nn.Linear(size, width), nn.LayerNorm(width), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(width if layers > 1 else inputs, 4))
