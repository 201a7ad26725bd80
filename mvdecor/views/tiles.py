"""One mesh in many poses, rasterized in one go: the poses lie side by side in one wide picture."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.rasterizers import Rasterizer

REACH = 1.5
"""Half the width of a pose's place in the wide picture, in units of half its image: what lies farther out is moved to there."""


def rasterize_poses(rasterizer: Rasterizer, shape: Shape, positions: Tensor, size: int) -> Tensor:
    """int64 [B, size, size], the face that each pixel sees of a mesh in B poses; -1 = background.

    On the CPU several times faster than as many shapes, of which each needs its own acceleration structure and cameras.

    Args:
        rasterizer: any.
        shape: the mesh; its own vertices do not matter.
        positions: float [B, V, 3], of vertices: x and y in [-1, 1] of the image (x right, y down), and depth in the same unit,
            between -5 and 5.
        size: of the images.
    """
    count, faces = len(positions), shape.num_faces
    number = torch.arange(count, device=positions.device)
    placed = positions.clone()
    placed[..., :2] = placed[..., :2].clamp(-REACH, REACH)
    placed[..., 0] += 2 * REACH * number[:, None]
    joined = Shape(
        shape.id,
        placed.flatten(0, 1),
        (shape.faces + shape.vertices.shape[0] * number[:, None, None]).flatten(0, 1),
    )
    vars(joined)["twin_groups"] = (shape.twin_groups + faces * number[:, None]).flatten()
    half, pitch = size / 2, round(REACH * size)
    place = torch.tensor([half]), torch.tensor([[half, half]])
    camera = Cameras.scaled_orthographic(torch.eye(3)[None], *place, size, count * pitch).to(positions.device)
    wide = rasterizer([joined], [camera])[0].face_ids[0, 0].view(size, count, pitch)[..., :size].transpose(0, 1)
    return torch.where(wide >= 0, wide.long() - faces * number[:, None, None], -1).contiguous()
