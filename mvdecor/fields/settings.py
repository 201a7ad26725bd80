"""Settings of a conditional field, and of how the codes of new objects are inferred."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from mvdecor.settings import Count, NotNegative, Positive, Probability, Settings, WholeNumber


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


class RaySampling(Settings):
    """Which rays of an object a step sees.

    Attributes:
        rays: number of them.
        foreground, outline: shares that see the object, and that pass by its outline, see `mvdecor.captures.sample_pixels`.
    """

    rays: Count
    foreground: Probability = 0.5
    outline: Probability = 0.0

    @model_validator(mode="after")
    def _shares_of_one(self) -> Self:
        if self.foreground + self.outline > 1:
            raise ValueError(f"foreground={self.foreground:g} and outline={self.outline:g}: together at most 1")
        return self


class InferenceSettings(RaySampling):
    """How codes are inferred; part of the group `evaluation`, see configs/evaluation/srn.yaml.

    Attributes:
        source: what of the given views the field is compared with; training: nothing, codes are those of the training.
        steps: of the code.
        search: rays by which the training code to start from is chosen; 0: the mean code.
        learning_rate: of Adam, at first.
        prior: weight of the squared distance from the mean code, in standard deviations.
        mask: weight of the opacity where it is known.
    """

    source: Literal["images", "labels", "training"] = "images"
    steps: Count
    search: WholeNumber
    learning_rate: Positive
    prior: NotNegative
    mask: NotNegative


class LossWeights(Settings):
    """Weights of the losses of `losses_of`; 0 leaves one out."""

    rgb: NotNegative
    code: NotNegative
    negative_distance: NotNegative
    mask: NotNegative
    depth: NotNegative
