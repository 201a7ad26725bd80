"""An open-vocabulary run in the viewer: what words find in its scene, at once and without training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.apps.viewer.capture_clouds import POINTS, Cloud, label_picture, spread
from mvdecor.captures import Capture
from mvdecor.engine.record import changed
from mvdecor.fields.feature_views import load_features, view_cosines
from mvdecor.fields.radiance_views import render_scene_views, still_background
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.word_maps import heat_colours, heat_picture, write_word_maps
from mvdecor.recent import Recent
from mvdecor.systems.open_vocabulary.evaluate import labelled_points
from mvdecor.systems.open_vocabulary.scene import Scene

ANSWERS = ("distilled features", "vote of the photographs")
"""What answers a query: the features that a fine-tuning distilled, or the relevancies of the photographs, voted in 3D."""
VIEWS_IN_MEMORY = 64


class WordRenderer:
    """The field of a run, and what words find.

    Args:
        folder: of the evaluation, with `model`.
        config: of the evaluation.

    Attributes:
        words: of the last query, at first those that were distilled.
        heat: number of the word whose heat map is shown.

    Raises:
        InputError: see `Scene.of`, `load_features`.
    """

    def __init__(self, folder: Path, config: DictConfig) -> None:
        model = folder / "model" if (folder / "model").is_dir() else Path(str(config.checkpoint))
        self.scene = Scene.of(changed(config, checkpoint=str(model)))
        self.features, record = load_features(model)
        self.temperature = float(record["temperature"])
        self.words: list[str] = []
        self.ask(record["words"])

    def ask(self, words: Sequence[str], answer: str = ANSWERS[0]) -> float:
        """Look for other words; returns the seconds until the answer for the whole scene is known.

        Raises:
            InputError: bad words, see `Scene.words`; nothing is changed then.
        """
        words, begin = self.scene.words(list(words)), time.perf_counter()
        self._text = self.scene.model.text_features(words)
        self._relevancy = self.scene.relevancies(words).mean(dim=1) if answer == ANSWERS[1] else None
        self.words, self.heat = words, 0
        self._scores: Recent[Tensor] = Recent(VIEWS_IN_MEMORY)
        self._scores_of_cloud()
        return time.perf_counter() - begin

    def scores(self, views: Sequence[int]) -> Tensor:
        """float32 [n, C, H, W], how probable each word is at each pixel of some views."""
        samples = self.scene.samples_of(views)
        if self._relevancy is None:
            return (view_cosines(self.features, samples, self._text) / self.temperature).softmax(dim=1)
        relevancy = self.scene.vote_in_views(self._relevancy, samples)
        return (relevancy / self.scene.cfg.training.finetune.relevancy_temperature).softmax(dim=1)

    def pictures(self, capture: Capture, view: int) -> dict[str, NDArray[np.uint8]]:
        """See `Renderer`; also "heat", of the chosen word."""
        record = self.scene.record
        still = still_background(capture, record["views"]) if record["background"] == "still" else None
        rendered = render_scene_views(self.scene.field, self.scene.space, capture, [view], record["samples"], still)
        scores = self._scores.get(view, lambda: self.scores([view])[0])
        return {
            "rendered": (rendered.images[0] * 255).round().byte().numpy(),
            "rendered labels": label_picture(scores.argmax(dim=0).numpy(), tuple(self.words)),
            "heat": heat_picture(capture.images([view])[0].numpy(), scores[self.heat].numpy()),
        }

    def cloud(self, capture: Capture) -> Cloud:
        """See `Renderer`: points of some fitted views by their words, and by the heat of the chosen word."""
        samples, pixels, scores = self._cloud_samples, self._cloud_pixels, self._cloud_scores
        colours = {
            "labels": label_picture(scores.argmax(dim=1).numpy(), tuple(self.words)),
            "heat": heat_colours(scores[:, self.heat].numpy()),
        }
        return Cloud(samples.points(pixels).numpy(), colours)

    def similar(self, origin: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """How like the point that a ray meets each point of the cloud is: cosines of their features, float32 [P], 1 at itself.

        None where the ray passes all points by.
        """
        points = self._cloud_samples.points(self._cloud_pixels).numpy().astype(np.float64) - origin
        along = points @ (direction / np.linalg.norm(direction))
        aside = np.sqrt(np.maximum((points**2).sum(axis=1) - along**2, 0))
        near = (along > 0) & (aside < 0.02 * along)
        if not near.any():
            return None
        nearest = np.flatnonzero(near)[along[near].argmin()]
        features = normalize(self._features_of(self._cloud_pixels), dim=-1)
        return (features @ features[nearest]).numpy()

    def export(self, folder: Path, points: int, seed: int) -> None:
        """Write what the words find in all views as scripts/segment_scene.py does: masks, label maps, heat maps, points."""
        capture = self.scene.capture
        views = list(range(len(capture)))
        scores = self.scores(views)
        write_word_maps(folder, views, capture.images(), scores, self.words)
        cloud = labelled_points(self.scene.samples_of(views), scores, points, seed)
        write_cloud(folder / "cloud.ply", *cloud, self.words)

    def _scores_of_cloud(self) -> None:
        """The points of the cloud, once, and what the words say of them."""
        if not hasattr(self, "_cloud_samples"):
            fitted = self.scene.views
            self._cloud_samples = self.scene.samples_of([fitted[i] for i in spread(len(fitted))])
            count = self._cloud_samples.depth.numel()
            pixels = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:POINTS]
            self._cloud_pixels = pixels[self._cloud_samples.opacity(pixels) > 0.5]
        samples, pixels = self._cloud_samples, self._cloud_pixels
        if self._relevancy is None:
            cosines = normalize(self._features_of(pixels), dim=-1) @ self._text.T
            self._cloud_scores = (cosines / self.temperature).softmax(dim=1)
        else:
            relevancy, _ = self.scene.vote(self._relevancy, samples.points(pixels))
            temperature = self.scene.cfg.training.finetune.relevancy_temperature
            self._cloud_scores = (relevancy / temperature).softmax(dim=1)

    @torch.no_grad()
    def _features_of(self, pixels: Tensor) -> Tensor:
        """float32 [P, D], rendered features of pixels of the cloud's views."""
        return torch.cat([self.features.features(*self._cloud_samples.at(block)) for block in pixels.split(8192)])


def words_of(text: str) -> list[str]:
    """Words that are separated by commas. An empty place stays, so that it is refused where words are checked."""
    return [word.strip() for word in text.split(",")]
