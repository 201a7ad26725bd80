"""Meshes with part labels: readers, normalisation, made-up shapes, few-shot splits. Knows no camera."""

from mvdecor.shapes.fewshot import sample_few_shot, sample_views
from mvdecor.shapes.folder import MeshFolder, read_mesh
from mvdecor.shapes.loading import ShapeSet, load_shapes
from mvdecor.shapes.partnet import PartNet
from mvdecor.shapes.partnet_e import PartNetE
from mvdecor.shapes.partnet_mobility import PartNetMobility
from mvdecor.shapes.people import RenderPeople
from mvdecor.shapes.shape import UNDETERMINED, Shape, Texture
from mvdecor.shapes.shapenet_part import ShapeNetPart
from mvdecor.shapes.store import ShapeStore

__all__ = [
    "UNDETERMINED",
    "MeshFolder",
    "PartNet",
    "PartNetE",
    "PartNetMobility",
    "RenderPeople",
    "Shape",
    "ShapeNetPart",
    "ShapeSet",
    "ShapeStore",
    "Texture",
    "load_shapes",
    "read_mesh",
    "sample_few_shot",
    "sample_views",
]
