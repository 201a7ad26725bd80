"""What every rasterizer does, and which one to take.

A rasterizer is a callable `rasterizer(shapes, cameras, layers=1) -> list[Views]`. There are two, and they must agree:
`EmbreeRasterizer` (rays on the CPU) and `PyTorch3DRasterizer` (CUDA; its CPU path visits every face for every pixel).

The common rules:

- Only one face of each group of twins is rasterized, the lowest, and no face without a normal (it has no plane to meet).
- Layer 0 is the first surface farther than `NEAR` in camera z; the next layer is the first surface that is another
  face and lies more than `GAP` behind the last. A ray that hits the edge between two faces, or two
  touching surfaces, thus meets one layer there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.views import Views

NEAR = 1e-3  # both relative to the shape's radius, which is 1 once it is normalised
GAP = 1e-4


class Rasterizer(Protocol):
    """Find the faces that cameras see."""

    def __call__(self, shapes: Sequence[Shape], cameras: Sequence[Cameras], layers: int = 1) -> list[Views]:
        """Rasterize several shapes, each through its own cameras.

        Args:
            shapes: S shapes of any sizes, on any device.
            cameras: S sets of cameras, on any device.
            layers: how many surfaces along each ray are reported (depth peeling), at least 1.

        Returns:
            S `Views`, each with its cameras and on their device.

        Raises:
            InputError: if the numbers of shapes and cameras differ, `layers` < 1, or a shape has only degenerate faces.
        """
        ...


def make_rasterizer(name: str = "auto", device: torch.device | str = "cpu") -> Rasterizer:
    """A rasterizer by name.

    Args:
        name: "embree", "pytorch3d", or "auto": PyTorch3D on a CUDA device, Embree otherwise.
        device: where PyTorch3D rasterizes. Embree always uses the CPU.

    Raises:
        InputError: for another name, or if the library behind it is not installed.
    """
    name = rasterizer_name(name, device)
    try:
        if name == "embree":
            from mvdecor.views.embree import EmbreeRasterizer

            return EmbreeRasterizer()
        from mvdecor.views.pytorch3d import PyTorch3DRasterizer

        return PyTorch3DRasterizer(device)
    except ImportError as error:
        raise InputError(
            f"views.rasterizer={name!r} needs a library that cannot be imported ({error}); "
            "install it or choose the other"
        ) from error


def rasterizer_name(name: str, device: torch.device | str) -> str:
    """ "embree" or "pytorch3d": what `make_rasterizer` would take.

    Raises:
        InputError: for an unknown name.
    """
    if name not in ("auto", "embree", "pytorch3d"):
        raise InputError(f"views.rasterizer={name!r} is unknown; choose auto, embree or pytorch3d")
    if name != "auto":
        return name
    return "pytorch3d" if torch.device(device).type == "cuda" else "embree"


def rasterized_faces(shape: Shape) -> Tensor:
    """int64 [D], ascending: the lowest face of each group of twins, without the degenerate ones.

    Raises:
        InputError: if every face is degenerate.
    """
    lowest = shape.twin_groups == torch.arange(shape.num_faces, device=shape.faces.device)
    face_ids = (lowest & (shape.face_normals.norm(dim=-1) > 0.5)).nonzero()[:, 0]
    if len(face_ids) == 0:
        raise InputError(f"shape {shape.id}: all its faces are degenerate (no area); there is nothing to rasterize")
    return face_ids


def shape_radius(shape: Shape) -> float:
    """Half the diagonal of the bounding box of the faces, the unit of `NEAR` and `GAP`."""
    used_vertices = shape.vertices[shape.faces.reshape(-1)]
    return float((used_vertices.amax(dim=0) - used_vertices.amin(dim=0)).norm()) / 2


def check_request(shapes: Sequence[Shape], cameras: Sequence[Cameras], layers: int) -> None:
    """Raise InputError for a call that no rasterizer can answer."""
    if len(shapes) != len(cameras):
        raise InputError(f"rasterizer: {len(shapes)} shapes but {len(cameras)} sets of cameras; give one set a shape")
    if layers < 1:
        raise InputError(f"views.layers={layers}; at least one layer is needed")
