"""Pixel matches between two views, their overlap, and the choice of pairs. Knows no loss."""

from mvdecor.correspondences.matches import Matches, embeddings_at_a, embeddings_at_b, sample_matches, sample_rows
from mvdecor.correspondences.matching import match_views
from mvdecor.correspondences.pairs import choose_pair
from mvdecor.correspondences.settings import Matching

__all__ = [
    "Matches",
    "Matching",
    "choose_pair",
    "embeddings_at_a",
    "embeddings_at_b",
    "match_views",
    "sample_matches",
    "sample_rows",
]
