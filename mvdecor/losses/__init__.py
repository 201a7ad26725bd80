"""Losses, which know no trainer and no config.

One contrastive loss per file, all with the same `forward(a, b, points, pair)`; in segmentation.py those of logits; in masks.py,
meshes.py, positions.py and texture.py those of reconstructions, one value per sample.
"""

from mvdecor.losses.circle import Circle
from mvdecor.losses.hardest_contrastive import HardestContrastive
from mvdecor.losses.infonce import InfoNCE
from mvdecor.losses.segmentation import CrossEntropy, Dice, Focal
from mvdecor.losses.triplet import Triplet
from mvdecor.losses.vicreg import VICReg

__all__ = ["Circle", "CrossEntropy", "Dice", "Focal", "HardestContrastive", "InfoNCE", "Triplet", "VICReg"]
