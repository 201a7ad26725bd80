"""Part substitution: a labelled shape with one of its parts replaced by the same part of another labelled shape.

After Sun et al., "Semi-Supervised 3D Shape Segmentation with Multilevel Consistency and Part Substitution" (2022), who do it
with point clouds. Here it is done with meshes, so that the result is rendered as any other shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.sampling import image_numbers, image_samplers
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.shapes.store import labels_of

STRETCH = 2.0
"""By how much a part is stretched along an axis, at most; 1 / STRETCH is how far it is pressed."""


def substitutes(shapes: Sequence[Shape], count: int, seed: int) -> list[Shape]:
    """New labelled shapes, in each of which one part of a shape is replaced by that of another.

    All ways to choose two shapes and a label that both show are equally likely, each is taken once at most. The first shape
    must show another label too, and both must be textured or neither.

    Args:
        shapes: labelled, with the same label names, on the CPU.
        count: how many to make; where there are fewer ways, all of them are taken.
        seed: of the choice.

    Returns:
        at most `count` shapes, normalised (`Shape.normalized`).

    Raises:
        InputError: no part can be exchanged.
    """
    ways = [
        (shape, donor, label)
        for shape, donor in permutations(shapes, 2)
        if (shape.texture is None) == (donor.texture is None) and len(labels_of(shape)) > 1
        for label in sorted(labels_of(shape) & labels_of(donor))
    ]
    if not ways:
        ids = ", ".join(shape.id for shape in shapes)
        raise InputError(
            f"no part can be exchanged between the labelled shapes ({ids}): no two that are textured alike show the same label "
            "and one more: leave out training.finetune.substitutes, or raise training.finetune.k"
        )
    order = np.random.default_rng(seed).permutation(len(ways))[:count]
    return [substitute(*ways[number]).normalized() for number in order]


def substitute(shape: Shape, donor: Shape, label: int) -> Shape:
    """A shape with its faces of one label replaced by those that another shape has of it.

    The donor's part is scaled and moved, each axis by itself, such that its bounding box becomes that of the part that it
    replaces. It is scaled by `STRETCH` at most; beyond that only the centres of the boxes agree.

    Args:
        shape: labelled; shows the label.
        donor: labelled with the same names; shows the label. Textured if and only if `shape` is.
        label: the number of the label.

    Returns:
        the remaining faces of `shape` and then the faces of the donor's part, both in their order.
    """
    assert shape.face_labels is not None and donor.face_labels is not None, "parts need labels"
    remaining, of_part = shape.face_labels != label, donor.face_labels == label
    vertices, faces = _cut(shape, remaining)
    part, part_faces = _cut(donor, of_part)
    replaced, _ = _cut(shape, ~remaining)
    return replace(
        shape,
        id=f"{shape.id}+{label}+{donor.id}",
        vertices=torch.cat([vertices, _fitted(part, replaced)]),
        faces=torch.cat([faces, part_faces + len(vertices)]),
        face_labels=torch.cat([shape.face_labels[remaining], donor.face_labels[of_part]]),
        texture=_joined(shape.texture, donor.texture, remaining, of_part),
        polygons=None,
    )


def _cut(shape: Shape, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Some faces of a shape as a mesh of their own: vertices [V, 3], faces int64 [F, 3]; `mask` is bool [F of the shape]."""
    used_vertices, faces = shape.faces[mask].unique(return_inverse=True)
    return shape.vertices[used_vertices], faces


def _fitted(part: Tensor, replaced: Tensor) -> Tensor:
    """The vertices [V, 3] of a part, moved and scaled into the bounding box of those that it replaces."""
    (low, high), (new_low, new_high) = (torch.aminmax(vertices, dim=0) for vertices in (part, replaced))
    scale = ((new_high - new_low) / (high - low).clamp_min(1e-12)).clamp(1 / STRETCH, STRETCH)
    return (part - (low + high) / 2) * scale + (new_low + new_high) / 2


def _joined(of_shape: Texture | None, of_donor: Texture | None, remaining: Tensor, of_part: Tensor) -> Texture | None:
    """The texture of some faces of a shape (bool [F of the shape]) and then some of a donor, with the images of both."""
    if of_shape is None or of_donor is None:
        assert of_shape is of_donor, "a part without texture has no colours to go with"
        return None
    textures = [of_shape, of_donor]
    faces = torch.cat([remaining, of_part])
    uv = torch.cat([texture.uv for texture in textures])[faces]
    images = (*of_shape.images, *of_donor.images)
    return Texture(uv, images, image_numbers(textures)[faces], image_samplers(textures))
