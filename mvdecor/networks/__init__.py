"""Embedding networks, the segmentation head, input normalisation and checkpoints. Knows no mesh."""

from mvdecor.networks.checkpoint import load_checkpoint, load_pretrained, push_to_hub, save_checkpoint
from mvdecor.networks.deeplab import DeepLabV3Plus
from mvdecor.networks.foundation import FoundationFeatures
from mvdecor.networks.frozen import FrozenEncoder
from mvdecor.networks.model import Model, SegmentationHead, build_model
from mvdecor.networks.unet import UNet

__all__ = [
    "DeepLabV3Plus",
    "FoundationFeatures",
    "FrozenEncoder",
    "Model",
    "SegmentationHead",
    "UNet",
    "build_model",
    "load_checkpoint",
    "load_pretrained",
    "push_to_hub",
    "save_checkpoint",
]
