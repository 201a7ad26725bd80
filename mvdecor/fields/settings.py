"""Settings of a conditional field."""

from __future__ import annotations

from typing import Literal

from mvdecor.settings import Count, NotNegative, Settings, WholeNumber


class FieldSettings(Settings):
    """The group `field`.

    Attributes:
        renderer: lstm marches each ray to its end point (SRN); volume integrates the features along it.
        code_size: length of an object's latent code.
        colour_code_size: length of a second part of the code that only the colours depend on, neither shape nor features;
            0 is the paper's.
        width: of the function from a point to a feature, and so the length of the feature.
        layers: of that function.
        hypernetwork_width: hidden width of the hypernetwork.
        generator_layers: of the MLP from a feature to a colour.
        harmonics: frequencies 1, 2, 4, ... whose sine and cosine of the point stand beside it; 0 is the paper's.
        steps: of the marcher.
        start: distance from the camera at which rays begin; null: the near bound of the view (the paper: 0.05).
        reach: distance beyond `start` that an untrained marcher goes.
        samples: points per ray of the volume renderer.
    """

    renderer: Literal["lstm", "volume"] = "lstm"
    code_size: Count = 256
    colour_code_size: WholeNumber = 0
    width: Count = 256
    layers: Count = 4
    hypernetwork_width: Count = 256
    generator_layers: Count = 5
    harmonics: WholeNumber = 0
    steps: Count = 10
    start: NotNegative | None = None
    reach: NotNegative = 1.0
    samples: Count = 16
