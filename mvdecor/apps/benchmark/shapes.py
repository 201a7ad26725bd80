"""Shapes for the benchmark: real ones, or made-up ones if no real ones are available."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mvdecor.correspondences import Matching, choose_pair
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_partnet, write_people_like
from mvdecor.shapes import PartNet, RenderPeople, Shape, ShapeSet
from mvdecor.views import Surface, Views, make_rasterizer, sphere_cameras, surface_of
from mvdecor.views.rasterizers import rasterized_faces


class Shapes:
    """People and PartNet shapes, read when they are first asked for.

    Attributes:
        kind: "real" or "made-up".
    """

    def __init__(self, people: ShapeSet, partnet: ShapeSet, kind: str) -> None:
        self._sets = {"people": people, "partnet": partnet}
        self._read: dict[tuple[str, int], list[Shape]] = {}
        self.kind = kind

    def some(self, name: str, count: int) -> list[Shape]:
        """`count` shapes of "people" or "partnet", evenly from the whole list."""
        if (name, count) not in self._read:
            ids = self._sets[name].ids("all")
            if len(ids) < count:
                raise InputError(f"benchmark: {count} shapes of {name} are needed, and {len(ids)} are there")
            sample_ids = [ids[i * len(ids) // count] for i in range(count)]
            self._read[name, count] = [self._sets[name].load(id) for id in sample_ids]
        return self._read[name, count]


class InFaces:
    """The shapes of a set, each cut into at least so many faces."""

    def __init__(self, shapes: ShapeSet, faces: int) -> None:
        self._shapes, self._faces = shapes, faces
        self.label_names = shapes.label_names

    def ids(self, split: str) -> list[str]:
        """Those of the set."""
        return self._shapes.ids(split)

    def load(self, id: str) -> Shape:
        """The shape, see `with_faces`."""
        return with_faces(self._shapes.load(id), self._faces)


@contextmanager
def open_shapes(root: str | Path | None, people_faces: int) -> Iterator[Shapes]:
    """Shapes of `root/people` and `root/partnet`; made-up ones, in a folder that is removed afterwards, if there is none.

    Made-up people have few faces and are cut into `people_faces`.

    Raises:
        InputError: if one of the two is missing.
    """
    if root is not None and Path(root).is_dir():
        partnet = PartNet(Path(root) / "partnet", "all", splits="splits_local.json")
        yield Shapes(RenderPeople(Path(root) / "people", texture_size=512), partnet, "real")
        return
    with tempfile.TemporaryDirectory() as folder:
        people = InFaces(RenderPeople(write_people_like(Path(folder) / "people", 12)), people_faces)
        yield Shapes(people, PartNet(write_partnet(Path(folder) / "partnet", 12), "all"), "made-up")


def with_faces(shape: Shape, count: int) -> Shape:
    """The same surface, labels and texture in at least `count` and at most `count + 2` faces, without twins.

    The largest faces are cut into four until there are enough.

    Raises:
        InputError: if the shape has more faces than that already.
    """
    source = rasterized_faces(shape)
    if len(source) > count:
        raise InputError(f"benchmark: shape {shape.id} has {len(source)} faces without twins, {count} are asked for")
    corners = shape.vertices[shape.faces[source]]
    uv = torch.zeros(len(source), 3, 2) if shape.texture is None else shape.texture.uv[source]
    while len(corners) < count:
        areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
        order = areas.argsort(descending=True)
        cut, uncut = order.tensor_split([min(len(corners), math.ceil((count - len(corners)) / 3))])
        corners, uv = (torch.cat([_quarters(x[cut]), x[uncut]]) for x in (corners, uv))
        source = torch.cat([source[cut].repeat(4), source[uncut]])
    vertices, index = corners.reshape(-1, 3).unique(dim=0, return_inverse=True)
    texture = shape.texture and replace(shape.texture, uv=uv, image_ids=shape.texture.image_ids[source])
    return replace(
        shape,
        vertices=vertices,
        faces=index.view(-1, 3),
        face_labels=None if shape.face_labels is None else shape.face_labels[source],
        texture=texture,
        polygons=None,
        id=f"{shape.id} in {len(corners)} faces",
    )


def _quarters(corners: Tensor) -> Tensor:
    """[4 F, 3, D] from [F, 3, D]: each face cut at the middles of its edges."""
    a, b, c = corners.unbind(dim=1)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return torch.cat([torch.stack(part, dim=1) for part in parts])


def simple_shape(shapes: Shapes, most_faces: int) -> Shape:
    """The PartNet shape with the most faces, not counting twins, of those with at most `most_faces`."""
    candidates = [s for s in shapes.some("partnet", 8) if len(rasterized_faces(s)) <= most_faces]
    if not candidates:
        raise InputError(f"benchmark: none of the PartNet shapes tried has at most {most_faces} faces")
    return max(candidates, key=lambda s: len(rasterized_faces(s)))


def views_of(shape: Shape, count: int, size: int) -> Views:
    """The shape through the recipe's cameras, on the CPU."""
    return make_rasterizer("embree")([shape], [sphere_cameras(count, size)])[0]


def overlapping_pairs(shape: Shape, count: int, views: int, size: int) -> tuple[Surface, Surface]:
    """`count` pairs of views as pretraining would sample them, of more than 15 % overlap.

    Raises:
        InputError: if the shape has no such pairs.
    """
    all_views, generator = views_of(shape, views, size), torch.Generator().manual_seed(0)
    sides: tuple[list[Surface], list[Surface]] = ([], [])
    for _ in range(count):
        pair = choose_pair(
            lambda index: surface_of(shape, all_views[index]), range(views), Matching(tries=200), generator
        )
        if pair is None:
            raise InputError(f"benchmark: no two of {views} views of {shape.id} overlap: more views are needed")
        for side, view in zip(sides, pair[:2], strict=True):
            side.append(surface_of(shape, all_views[[view]]))
    return Surface.cat(sides[0]), Surface.cat(sides[1])
