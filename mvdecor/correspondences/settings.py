"""Settings of the matching of two views."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mvdecor.settings import Count, NotNegative, Settings

Cosine = Annotated[float, Field(ge=-1, le=1, description="give a cosine from -1 (ignore normals) to 1")]
Overlap = Annotated[float, Field(ge=0, le=1, description="give a share from 0 to 1")]


class Matching(Settings):
    """When two pixels match, and when two views overlap enough to be a pair.

    Attributes:
        min_overlap: a pair counts if more than this share of the smaller foreground matches (0.15 in the paper's recipe).
        tolerance, min_cosine, unique: see `match_views`.
        tries: pairs to try before a shape is given up.
    """

    min_overlap: Overlap = 0.15
    tolerance: NotNegative = 0.005
    min_cosine: Cosine = 0.5
    unique: bool = True
    tries: Count = 50
