"""Where on a shape to look first: connected regions of the surface whose labels are least sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mvdecor.lifting.smooth import edges_of
from mvdecor.shapes.shape import Shape

LEAST_SURE = 0.2
"""Share of a shape's area that is taken for unsure. A share and not a confidence: a ranking needs no calibration."""


@dataclass(frozen=True)
class Region:
    """Faces that are joined by edges.

    Attributes:
        faces: int64 [n], ascending; twins are all in it.
        area: share of the shape's area, in (0, 1]; twins count once.
        wrong: share of the shape's area that is expected to be wrong in it: the area of each face times 1 - confidence.
    """

    faces: NDArray[np.int64]
    area: float
    wrong: float


def uncertain_regions(shape: Shape, confidence: Tensor) -> list[Region]:
    """The connected pieces of the least sure fifth of a shape's area (`LEAST_SURE`), most wrong area expected first.

    A piece may have several predicted labels: where they meet is where they are unsure.

    Args:
        shape: the mesh, with some area.
        confidence: float [F], in [0, 1]; of twins the lowest face's counts.
    """
    lowest, group = (x.cpu().numpy() for x in shape.twin_groups.unique(return_inverse=True))
    areas = shape.face_areas.double().cpu().numpy()[lowest]
    areas = areas / max(areas.sum(), 1e-300)
    unsure = 1 - confidence.double().cpu().numpy()[lowest]
    order = np.argsort(-unsure, kind="stable")
    chosen = np.zeros(len(lowest), dtype=bool)
    chosen[order[np.cumsum(areas[order]) <= LEAST_SURE]] = True
    chosen[order[:1]] = True  # a single face may have more than that
    rows, columns, _ = edges_of(shape, lowest, crease=180.0)
    inside = chosen[rows] & chosen[columns]
    joined = coo_array((np.ones(int(inside.sum()), np.int8), (rows[inside], columns[inside])), shape=(len(lowest),) * 2)
    piece = connected_components(joined, directed=False)[1]
    area, wrong = (np.bincount(piece, x * chosen) for x in (areas, areas * unsure))
    of_face = np.where(chosen, piece, -1)[group]
    order = np.argsort(of_face, kind="stable")
    ends = np.searchsorted(of_face[order], np.arange(len(area) + 1))
    by_wrong = [k for k in np.argsort(-wrong, kind="stable") if area[k] > 0]
    return [Region(order[ends[k] : ends[k + 1]], float(area[k]), float(wrong[k])) for k in by_wrong]
