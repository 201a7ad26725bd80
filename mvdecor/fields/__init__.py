"""Functions of a point, and how rays see them. Knows no mesh, no data set and no trainer."""

from mvdecor.fields.checkpoint import field_file, load_field, save_field
from mvdecor.fields.field import ConditionalField, Rendered
from mvdecor.fields.grid import GridField
from mvdecor.fields.heads import HeadKind, UNetHead
from mvdecor.fields.infer import codes_of_captures, infer_codes, nearest_codes, render_rays
from mvdecor.fields.losses import labels_loss, losses_of, opacity_loss
from mvdecor.fields.mlp import MLPField
from mvdecor.fields.row_adam import RowAdam
from mvdecor.fields.settings import FieldSettings, InferenceSettings, LossWeights, RaySampling
from mvdecor.fields.srn import Hits, LSTMMarcher, PointFunction
from mvdecor.fields.views import FieldViews, ViewHits, render_views
from mvdecor.fields.volume import VolumeRenderer

__all__ = [
    "ConditionalField",
    "FieldSettings",
    "FieldViews",
    "GridField",
    "HeadKind",
    "Hits",
    "InferenceSettings",
    "LSTMMarcher",
    "LossWeights",
    "MLPField",
    "PointFunction",
    "RaySampling",
    "Rendered",
    "RowAdam",
    "UNetHead",
    "ViewHits",
    "VolumeRenderer",
    "codes_of_captures",
    "field_file",
    "infer_codes",
    "labels_loss",
    "load_field",
    "losses_of",
    "nearest_codes",
    "opacity_loss",
    "render_rays",
    "render_views",
    "save_field",
]
