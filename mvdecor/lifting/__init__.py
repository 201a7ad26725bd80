"""From per-pixel predictions to labels on the faces of a mesh. Knows no data set and no network."""

from mvdecor.lifting.agreement import ViewAgreement
from mvdecor.lifting.calibration import UNFAMILIAR, Calibration
from mvdecor.lifting.fill import FaceLabels, fill_unseen
from mvdecor.lifting.polygons import agree_in_polygons, mean_in_polygons, one_per_polygon
from mvdecor.lifting.regions import Region, uncertain_regions
from mvdecor.lifting.settings import FILL_RULES, LAYER_ORDERS, VOTE_RULES, LiftingSettings
from mvdecor.lifting.smooth import smooth_votes
from mvdecor.lifting.vote import FaceVoter, FaceVotes, seen_faces, vote

__all__ = [
    "FILL_RULES",
    "LAYER_ORDERS",
    "UNFAMILIAR",
    "VOTE_RULES",
    "Calibration",
    "FaceLabels",
    "FaceVoter",
    "FaceVotes",
    "LiftingSettings",
    "Region",
    "ViewAgreement",
    "agree_in_polygons",
    "fill_unseen",
    "mean_in_polygons",
    "one_per_polygon",
    "seen_faces",
    "smooth_votes",
    "uncertain_regions",
    "vote",
]
