"""What losses ask of a mask: distances from it, and points in it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def distance_map(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 [H, W], distance of each pixel's centre to the nearest one in the mask, in units of half the image's longer side.

    Args:
        mask: bool [H, W], not empty.
    """
    assert mask.any(), "an empty mask has no distances"
    return (distance_transform_edt(~mask) * (2 / max(mask.shape))).astype(np.float32)


def mask_points(mask: NDArray[np.bool_], count: int, generator: torch.Generator) -> Tensor:
    """float32 [count, 2], centres of random pixels of a mask (with replacement), in [-1, 1]: x right, y down.

    Args:
        mask: bool [H, W], not empty.
        count: how many.
        generator: of the CPU.
    """
    rows, columns = (torch.from_numpy(index) for index in np.nonzero(mask))
    picked = torch.randint(len(rows), (count,), generator=generator)
    height, width = mask.shape
    return torch.stack([(2 * columns[picked] + 1) / width - 1, (2 * rows[picked] + 1) / height - 1], dim=1).float()
