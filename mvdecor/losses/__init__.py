"""One loss per file; all have the same `forward(a, b, points, pair)`. Knows no trainer and no config."""

from mvdecor.losses.circle import Circle
from mvdecor.losses.hardest_contrastive import HardestContrastive
from mvdecor.losses.infonce import InfoNCE
from mvdecor.losses.triplet import Triplet
from mvdecor.losses.vicreg import VICReg

__all__ = ["Circle", "HardestContrastive", "InfoNCE", "Triplet", "VICReg"]
