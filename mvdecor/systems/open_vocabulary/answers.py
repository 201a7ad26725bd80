"""What words find in a scene: how probable each is at pixels, by distilled features or by the vote; and files of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.fields.feature_field import FeatureField
from mvdecor.fields.feature_views import pixel_cosines
from mvdecor.fields.strongest import StrongestSamples
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.word_maps import write_word_maps
from mvdecor.seeds import seed_of
from mvdecor.systems.open_vocabulary.scene import Scene


class Query:
    """Words that are asked of a scene; any words, nothing is trained.

    Args:
        scene: that is asked.
        words: at least two.
        distilled: the features that answer and their record (`load_features`); None: the vote of the photographs does.

    Attributes:
        scene: as given.
        words: without white space around them.

    Raises:
        InputError: bad words, see `Scene.words`; features of another space than the text-image model's.
    """

    def __init__(
        self, scene: Scene, words: Sequence[str] | None, distilled: tuple[FeatureField, Mapping[str, Any]] | None
    ) -> None:
        self.scene, self.words = scene, scene.words(words)
        self._text = scene.model.text_features(self.words)
        self._distilled = distilled
        if distilled is None:
            self._relevancy = scene.relevancies(self.words).mean(dim=1)
        else:
            check_model(scene, distilled[1])

    def at(self, samples: StrongestSamples, pixels: Tensor) -> Tensor:
        """float32 [P, C], how probable each word is at pixels, int64 [P], of some views (`StrongestSamples.at`)."""
        if self._distilled is not None:
            features, record = self._distilled
            return (pixel_cosines(features, samples, self._text, pixels) / record["temperature"]).softmax(dim=1)
        relevancy, _ = self.scene.vote(self._relevancy, samples.points(pixels))
        return (relevancy / self.scene.cfg.training.finetune.relevancy_temperature).softmax(dim=1)

    def in_views(self, samples: StrongestSamples) -> Tensor:
        """float32 [n, C, H, W], the same at all pixels of the n views of some samples."""
        values = self.at(samples, torch.arange(samples.depth.numel()))
        return values.view(*samples.depth.shape, -1).permute(0, 3, 1, 2)


def write_answer(folder: Path, query: Query, samples: StrongestSamples, probabilities: Tensor, points: int) -> int:
    """Write masks, label maps and heat maps (`write_word_maps`) and labelled points, `cloud.ply`; returns how many points.

    Args:
        folder: made if it is not there.
        query: whose answer it is.
        samples: of n views.
        probabilities: float32 [n, C, H, W], see `Query.in_views`.
        points: at most.
    """
    capture, views = samples.capture, list(samples.views)
    write_word_maps(folder, views, capture.images(views), probabilities, query.words)
    cloud = labelled_points(samples, probabilities, points, seed_of(query.scene.cfg.seed, "points", capture.id))
    write_cloud(folder / "cloud.ply", *cloud, query.words)
    return len(cloud[0])


def check_model(scene: Scene, record: Mapping[str, Any]) -> None:
    """Raise InputError if features are of another space than the text-image model's."""
    if record["features"]["dimension"] != scene.model.dimension:
        raise InputError(
            f"{scene.cfg.checkpoint}: features of {record['features']['dimension']} numbers, text_image gives "
            f"{scene.model.dimension}: choose the text_image that it was distilled with"
        )


def labelled_points(samples: StrongestSamples, scores: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where at most `count` random rays end, of pixels with scores [n, C, H, W]: positions [P, 3], labels [P], scores [P]."""
    pixels = torch.randperm(samples.depth.numel(), generator=torch.Generator().manual_seed(seed))[:count]
    pixels = pixels[samples.opacity(pixels) > 0.5]
    confidence, labels = scores.permute(0, 2, 3, 1).flatten(0, 2)[pixels].max(dim=-1)
    return samples.points(pixels), labels, confidence
