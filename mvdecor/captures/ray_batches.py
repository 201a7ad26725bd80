"""Random rays of captures with what their pixels show, one batch per step of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mvdecor.captures.capture import Capture, CaptureSet
from mvdecor.captures.reduced import reduced
from mvdecor.errors import InputError
from mvdecor.seeds import seed_of
from mvdecor.views.rays import depth_of

OPAQUE = 128
"""Alpha from which a pixel is the object's."""


@dataclass(frozen=True)
class RayBatch:
    """R rays of each of B captures, and what their pixels show.

    Attributes:
        origins, directions: float32 [B, R, 3], world frame; directions of unit length.
        near, far: float32 [B, R], distances along the rays between which the content lies.
        rgb: float32 [B, R, 3] in [0, 1].
        mask: bool [B, R], whether the pixel is the object's; None if not known.
        distance: float32 [B, R], of what the ray hits, 0 on the background; None if not known.
        labels: int64 [B, R], -1 = undetermined; None if they were not asked for.
        objects: int64 [B], number of each capture in its source.
        shape_ids: ids of the captures.
        views: views that were sampled of each.
        share: of the captures of the step's batch, of which another process may have others.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    rgb: Tensor
    mask: Tensor | None
    distance: Tensor | None
    labels: Tensor | None
    objects: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, ...], ...]
    share: float = 1.0

    @property
    def rays(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins, directions, near and far: what a renderer takes."""
        return self.origins, self.directions, self.near, self.far

    def to(self, device: torch.device | str) -> RayBatch:
        """The same batch with its tensors on `device`."""
        tensors: dict[str, Any] = {
            f.name: getattr(self, f.name).to(device) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    def mirrored(self) -> RayBatch:
        """The same rays of the objects' mirror images in the plane x = 0."""
        flip = self.origins.new_tensor([-1.0, 1.0, 1.0])
        return replace(self, origins=self.origins * flip, directions=self.directions * flip)

    @staticmethod
    def cat(batches: Sequence[RayBatch]) -> RayBatch:
        """Batches of the same number of rays as one; what one of them does not know, the result does not."""
        names = [f.name for f in fields(RayBatch) if f.name != "share"]
        columns = {name: [getattr(batch, name) for batch in batches] for name in names}
        joined: dict[str, Any] = {}
        for name, values in columns.items():
            if isinstance(values[0], tuple):
                joined[name] = sum(values, ())
            else:
                joined[name] = None if any(x is None for x in values) else torch.cat(values)
        return RayBatch(**joined)


def bounded_rays(
    capture: Capture, views: Sequence[int], pixels: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The rays of some pixels of one capture, between its bounds; no pixel is read.

    Args:
        capture: with near and far bounds.
        views: the views that `pixels` counts.
        pixels: int64 [R], indices into [len(views), H, W] flattened.

    Returns:
        origins and directions float32 [1, R, 3], near and far float32 [1, R], distances along the rays; and float32 [R],
        camera z of the points at distance 1.

    Raises:
        InputError: the capture has no bounds.
    """
    if capture.near is None or capture.far is None:
        raise InputError(f"capture {capture.id}: it has no near and far bounds: give capture.bounds=[near,far]")
    size = capture.cameras.height * capture.cameras.width
    view = torch.tensor(views)[pixels // size]
    rays = capture.rays(view * size + pixels % size)
    cosine = depth_of(capture.cameras, rays, torch.ones(len(rays)))
    near, far = capture.near[view] / cosine, capture.far[view] / cosine
    return (rays.origins[None], rays.directions[None], near[None], far[None]), cosine


def pixel_rays(
    capture: Capture, views: Sequence[int], pixels: Tensor, labels: bool = False, number: int = 0
) -> RayBatch:
    """The rays of some pixels of one capture and what the pixels show, as a batch of B = 1.

    Args:
        capture, views, pixels: see `bounded_rays`.
        labels: read label maps, too.
        number: becomes `objects`.

    Raises:
        InputError: the capture has no bounds; a view has no label map.
    """
    rays, cosine = bounded_rays(capture, views, pixels)
    alpha, depth = capture.alpha(views), capture.depth(views)
    return RayBatch(
        *rays,
        capture.images(views).view(-1, 3)[pixels][None].float() / 255,
        None if alpha is None else alpha.view(-1)[pixels][None] >= OPAQUE,
        None if depth is None else (depth.view(-1)[pixels] / cosine)[None],
        capture.labels(views).view(-1)[pixels][None].long() if labels else None,
        torch.tensor([number]),
        (capture.id,),
        (tuple(views),),
    )


def sample_pixels(
    capture: Capture,
    views: Sequence[int],
    count: int,
    foreground: float,
    generator: torch.Generator,
    outline: float = 0.0,
) -> Tensor:
    """int64 [count], random pixels of some views, with replacement, as indices into [len(views), H, W] flattened.

    A share `foreground` of them sees the object, a share `outline` is a pixel of its outline or next to it, the others are
    any; all are any where the object is not known or not seen.
    """
    total = len(views) * capture.cameras.height * capture.cameras.width
    pixels = torch.randint(total, (count,), generator=generator)
    alpha = capture.alpha(views) if foreground + outline > 0 else None
    if alpha is not None:
        mask = alpha >= OPAQUE
        inside, along_outline = round(count * foreground), round(count * outline)
        if inside > 0:
            pixels[:inside] = _chosen(mask, pixels[:inside], generator)
        if along_outline > 0:
            pixels[inside : inside + along_outline] = _chosen(
                outline_of(mask), pixels[inside : inside + along_outline], generator
            )
    return pixels


def outline_of(mask: Tensor) -> Tensor:
    """bool [n, H, W], the pixels of masks [n, H, W] one of whose eight neighbours is on the other side."""
    count = pad(mask[:, None].float(), (1, 1, 1, 1), mode="replicate")[:, 0].to(torch.uint8)
    count = count[:, :-2] + count[:, 1:-1] + count[:, 2:]
    count = count[:, :, :-2] + count[:, :, 1:-1] + count[:, :, 2:]  # of the nine pixels there
    return (count > 0) & (count < 9)


def _chosen(mask: Tensor, otherwise: Tensor, generator: torch.Generator) -> Tensor:
    """As many random pixels of a mask as there are in `otherwise`, which is the answer where the mask is empty."""
    choice = mask.view(-1).nonzero()[:, 0]
    return otherwise if len(choice) == 0 else choice[torch.randint(len(choice), otherwise.shape, generator=generator)]


@dataclass
class RaySource:
    """Batches of random rays of random captures; each capture of a batch has a seed of its own.

    Args:
        captures: the set.
        ids: captures to sample from.
        size: captures per batch, different ones where there are as many.
        rays: per capture.
        foreground: share of the rays that see the object.
        views_at_once: views per capture and batch, places at random; None: all. Fewer views are fewer files to read.
        views: views to choose from, by id; None: all.
        labels: give label maps.
        numbers: the `objects` of a batch, by id; None: places in `ids`.
        mirrored: also sample from the captures' mirror images in the plane x = 0, each as an object whose number is greater by
            the number of captures.
        outline: share of the rays that pass the object's outline.
        coarse_steps: in so many steps, the first ones, the images are `coarse_factor` times smaller.
        coarse_factor: see there; each side of the images must be a multiple. There are as many times fewer rays as pixels.
        whole_views: every pixel of the views of a batch, in order, in the place of `rays` random ones.
    """

    captures: CaptureSet
    ids: Sequence[str]
    size: int
    rays: int
    foreground: float = 0.0
    views_at_once: int | None = None
    views: Mapping[str, Sequence[int]] | None = None
    labels: bool = False
    numbers: Mapping[str, int] | None = None
    mirrored: bool = False
    outline: float = 0.0
    coarse_steps: int = 0
    coarse_factor: int = 1
    whole_views: bool = False
    _loaded: dict[str, Capture] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.size

    def capture(self, id: str) -> Capture:
        """A capture; its cameras stay in memory, its pixels as the set decides."""
        if id not in self._loaded:
            self._loaded[id] = self.captures.load(id)
        return self._loaded[id]

    def sample(self, seed: int, step: int, positions: range | None = None) -> RayBatch:
        """The batch of a step, or the captures of it at some `positions`."""
        positions = range(self.size) if positions is None else positions
        order = torch.randperm(
            len(self.ids) * (1 + self.mirrored), generator=_generator(seed, "objects", step)
        ).tolist()
        factor = self.coarse_factor if step < self.coarse_steps else 1
        sampled = [self._sample(order[i % len(order)], factor, _generator(seed, "rays", step, i)) for i in positions]
        return replace(RayBatch.cat(sampled), share=len(positions) / self.size)

    def _sample(self, place: int, factor: int, generator: torch.Generator) -> RayBatch:
        capture = reduced(self.capture(self.ids[place % len(self.ids)]), factor)
        views = list(range(len(capture)) if self.views is None else self.views[capture.id])
        if self.views_at_once is not None and self.views_at_once < len(views):
            places = torch.randperm(len(views), generator=generator)[: self.views_at_once]
            views = sorted(views[i] for i in places.tolist())
        if self.whole_views:
            pixels = torch.arange(len(views) * capture.cameras.height * capture.cameras.width)
        else:
            rays = max(1, self.rays // factor**2)
            pixels = sample_pixels(capture, views, rays, self.foreground, generator, self.outline)
        number = place if self.numbers is None else self.numbers[capture.id]
        batch = pixel_rays(capture, views, pixels, self.labels, number)
        return batch if place < len(self.ids) else batch.mirrored()


def _generator(*keys: object) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*keys))
