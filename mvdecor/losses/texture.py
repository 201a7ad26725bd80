"""Texture: where the mesh is seen, the image at its surface's position should look like the image there."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import grid_sample

from mvdecor.losses.masks import weighted_mean


def texture_loss(features: Tensor, positions: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference between features of pixels and features at the positions of what they see.

    The texture of the mesh is the image at the positions u of its vertices. A pixel that sees a point with barycentric weights
    b in a face shows the texture at sum_k b_k u_k; this must look like the pixel.

    Args:
        features: float [B, C, H, W], of the image: its colours, or features of a network. No gradient.
        positions: float [B, V, 2] in [-1, 1].
        corners: int64 [B, H, W, 3], vertices of the face that each pixel sees; any where it sees none.
        weights: float [B, H, W, 3], their barycentric weights; 0 where it sees none.

    Returns:
        float [B].
    """
    b, height, width, _ = corners.shape
    flat = corners.view(b, -1, 1).expand(-1, -1, 2)
    seen = positions.gather(1, flat).view(b, height, width, 3, 2)
    looked_up = (weights[..., None] * seen).sum(dim=3)
    colours = grid_sample(features.detach(), looked_up, padding_mode="border", align_corners=False)
    difference = (colours - features.detach()).abs().mean(dim=1)
    return weighted_mean(difference.flatten(1), (weights.sum(dim=3) > 0.5).to(features).flatten(1))
