"""Renders of a template, and what is known of them: image positions and visibilities of its vertices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from mvdecor.captures.render_colours import Colouring, blurred, random_backgrounds
from mvdecor.seeds import seed_of
from mvdecor.shapes.deformations import Deformations
from mvdecor.shapes.template import Template
from mvdecor.views import make_rasterizer
from mvdecor.views.placement import look_at
from mvdecor.views.tiles import rasterize_poses
from mvdecor.views.visibility import pixel_weights, visible_vertices


@dataclass(frozen=True)
class RenderBatch:
    """B renders of V vertices.

    Attributes:
        images: float32 [B, 3, H, W] in [0, 1].
        positions: float32 [B, V, 2], image positions in [-1, 1], x right, y down; those of hidden vertices too.
        visible: bool [B, V].
        masks: bool [B, H, W].
        rotation: float32 [B, 3, 3], template to camera, OpenCV axes.
        share: of the renders of the step's batch, of which another process may have others.
    """

    images: Tensor
    positions: Tensor
    visible: Tensor
    masks: Tensor
    rotation: Tensor
    share: float = 1.0

    def to(self, device: torch.device | str) -> RenderBatch:
        """The same batch with its tensors on `device`."""
        names = ("images", "positions", "visible", "masks", "rotation")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def with_mirror_images(self, vertices: Tensor, weights: Tensor, axis: int) -> RenderBatch:
        """These renders, and after them the mirror image of each.

        Args:
            vertices, weights: int64 and float [V, 3], where each vertex lies in the template's mirror image, see `Mirror`.
            axis: of the mirror.
        """
        positions = (weights[..., None] * self.positions[:, vertices]).sum(dim=2)
        positions[..., 0] *= -1
        visible = (weights * self.visible[:, vertices]).sum(dim=2) > 0.5
        rotation = self.rotation.clone()
        rotation[:, 0] *= -1
        rotation[:, :, axis] *= -1
        return replace(
            self,
            images=torch.cat([self.images, self.images.flip(-1)]),
            positions=torch.cat([self.positions, positions]),
            visible=torch.cat([self.visible, visible]),
            masks=torch.cat([self.masks, self.masks.flip(-1)]),
            rotation=torch.cat([self.rotation, rotation]),
        )

    @property
    def shape_ids(self) -> tuple[str, ...]:
        """Of what they are, for messages."""
        return ("template",) * len(self.images)

    @property
    def views(self) -> tuple[tuple[int, ...], ...]:
        """Each is a view that is not seen again."""
        return ((),) * len(self.images)


class PosedMeshes(NamedTuple):
    """The meshes of B renders: image position = scale (rotation vertex)_xy + shift, in [-1, 1].

    Attributes:
        vertices: float32 [B, V, 3], deformed, in the template's frame.
        rotation: float32 [B, 3, 3], template to camera, OpenCV axes.
        scale: float32 [B].
        shift: float32 [B, 2].
    """

    vertices: Tensor
    rotation: Tensor
    scale: Tensor
    shift: Tensor


@dataclass(frozen=True)
class RenderSettings:
    """Of what a render is sampled.

    Attributes:
        elevation: degrees above the horizon between which the camera stands, uniformly.
        roll: standard deviation of the camera's roll, degrees.
        padding: greatest share of the crop's side that is left on each side of the longer side of the object's box.
        off_centre: greatest shift of the box from the middle, as a share of the side.
        deformations: of the template.
        patches: greatest number of coloured patches.
        noise: greatest standard deviation of the noise of a pixel.
        parts: share of renders that are coloured by the template's part labels, with dark eyes where it has keypoints of that
            name; the others have patches.
        lines: greatest number of lines in the background.
        blur: greatest standard deviation of a blur, pixels.
    """

    elevation: tuple[float, float] = (-30.0, 60.0)
    roll: float = 15.0
    padding: float = 0.12
    off_centre: float = 0.05
    deformations: Deformations = field(default_factory=Deformations)
    patches: int = 8
    noise: float = 0.05
    parts: float = 0.0
    lines: int = 0
    blur: float = 0.0


class TemplateRenders:
    """Renders of a template for `mvdecor.engine.loader.batches`: each depends on seed, step and place in the batch alone.

    Args:
        template: on the CPU.
        size: width and height of an image.
        count: renders per batch.
        settings: what is sampled.
    """

    def __init__(self, template: Template, size: int, count: int, settings: RenderSettings = RenderSettings()) -> None:
        self.template, self.size, self.count, self.settings = template, size, count, settings
        self._colouring = Colouring(template, settings.patches, settings.parts)
        self._rasterizer: Any = None

    def __len__(self) -> int:
        return self.count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rasterizer": None}  # a worker has its own

    def sample(self, seed: int, step: int, positions: range | None = None) -> RenderBatch:
        """The batch of a step, or some of its places."""
        return self.sample_posed(seed, step, positions)[0]

    def sample_posed(self, seed: int, step: int, positions: range | None = None) -> tuple[RenderBatch, PosedMeshes]:
        """The batch of `sample`, and the meshes that it shows."""
        places = range(self.count) if positions is None else positions
        generators = [torch.Generator().manual_seed(seed_of(seed, "render", step, place)) for place in places]
        vertices = self.settings.deformations(self.template, generators)
        rotation = torch.stack([_random_view(self.settings, generator) for generator in generators])
        turned = vertices @ rotation.transpose(1, 2)
        pairs = zip(turned[..., :2], generators, strict=True)
        crops = [_crop(flat, self.settings, generator) for flat, generator in pairs]
        scale, shift = (torch.stack(x) for x in zip(*crops, strict=True))
        placed = turned * scale[:, None, None] + pad(shift, (0, 1))[:, None]
        if self._rasterizer is None:
            self._rasterizer = make_rasterizer("embree")
        shape = self.template.shape
        face_ids = rasterize_poses(self._rasterizer, shape, placed, self.size)
        batch = RenderBatch(
            self._shade(vertices, rotation, placed[..., :2], face_ids, generators),
            placed[..., :2].contiguous(),
            visible_vertices(face_ids, shape.faces, len(shape.vertices)),
            face_ids >= 0,
            rotation,
            len(places) / self.count,
        )
        return batch, PosedMeshes(vertices, rotation, scale, shift)

    def _shade(
        self,
        vertices: Tensor,
        rotation: Tensor,
        positions: Tensor,
        face_ids: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """float32 [B, 3, H, W], random plumages in random light before random backgrounds.

        Args:
            vertices: float [B, V, 3], in the template's frame.
            rotation: float [B, 3, 3].
            positions: float [B, V, 2], of the vertices in the image.
            face_ids: int [B, H, W].
            generators: B.
        """
        faces, (b, height, width) = self.template.shape.faces, face_ids.shape
        colours = torch.stack([self._colouring(generator) for generator in generators])
        toward_camera = -rotation[:, 2] + torch.tensor([0.0, 0.5, 0.0])
        light = normalize(toward_camera + 0.8 * torch.stack([torch.randn(3, generator=g) for g in generators]), dim=1)
        ambient = 0.3 + 0.5 * torch.stack([torch.rand(1, generator=generator) for generator in generators])
        first, second, third = vertices[:, faces].unbind(dim=2)
        normals = normalize(torch.linalg.cross(second - first, third - first), dim=2)
        facing = torch.einsum("bfi,bi->bf", normals, rotation[:, 2])
        shade = (torch.einsum("bfi,bi->bf", normals, light) * -facing.sign()).clamp_min(0)
        lit = ambient + (1.1 - ambient) * shade
        corners, weights = pixel_weights(face_ids, faces, positions)
        albedo = colours.gather(1, corners.view(b, -1, 1).expand(-1, -1, 3)).view(b, height, width, 3, 3)
        lit = lit.gather(1, face_ids.clamp_min(0).flatten(1)).view(b, height, width, 1)
        foreground = ((weights[..., None] * albedo).sum(dim=3) * lit).permute(0, 3, 1, 2)
        backgrounds = random_backgrounds(self.size, self.settings.lines, generators)
        images = torch.where((face_ids >= 0)[:, None], foreground, backgrounds)
        blurs, levels = torch.stack([torch.rand(2, generator=generator) for generator in generators]).unbind(1)
        images = blurred(images, self.settings.blur * blurs)
        noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for generator in generators])
        return (images + self.settings.noise * levels[:, None, None, None] * noise).clamp(0, 1)


def _random_view(settings: RenderSettings, generator: torch.Generator) -> Tensor:
    """float32 [3, 3], from the template's frame (y up) to a camera's."""
    azimuth, above = torch.rand(2, generator=generator).tolist()
    low, high = settings.elevation
    elevation = math.radians(low + above * (high - low))
    azimuth *= 2 * math.pi
    centre = [math.sin(azimuth) * math.cos(elevation), math.sin(elevation), math.cos(azimuth) * math.cos(elevation)]
    rotation, _ = look_at(torch.tensor([centre]), torch.zeros(1, 3))
    roll = math.radians(settings.roll) * float(torch.randn(1, generator=generator))
    cosine, sine = math.cos(roll), math.sin(roll)
    return torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]) @ rotation[0]


def _crop(flat: Tensor, settings: RenderSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scale (scalar) and shift [2] that bring points [V, 2] into [-1, 1] as a padded, jittered square box does."""
    low, high = flat.amin(dim=0), flat.amax(dim=0)
    padding, *jitter = torch.rand(3, generator=generator).tolist()
    scale = 2 * (1 - 2 * settings.padding * padding) / (high - low).max()
    shift = -(low + high) / 2 * scale + 2 * settings.off_centre * (2 * torch.tensor(jitter) - 1)
    return scale, shift
