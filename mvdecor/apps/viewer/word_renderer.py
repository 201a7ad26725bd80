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
from mvdecor.fields.feature_views import load_features
from mvdecor.fields.radiance_views import render_scene_views, still_background
from mvdecor.figures.word_maps import heat_colours, heat_picture
from mvdecor.systems.open_vocabulary.answers import Query, write_answer
from mvdecor.systems.open_vocabulary.scene import Scene

ANSWERS = ("distilled features", "vote of the photographs")
"""What answers a query: the features that a fine-tuning distilled, or the relevancies of the photographs, voted in 3D."""
BLOCK = 8192
"""Rays whose features are rendered together."""


class WordRenderer:
    """The field of a run, and what words find.

    Args:
        folder: of the evaluation, with `model`.
        config: of the evaluation.

    Attributes:
        query: the last one, at first of the words that were distilled.
        heat: number of the word whose heat map is shown.

    Raises:
        InputError: see `Scene.of`, `load_features`.
    """

    def __init__(self, folder: Path, config: DictConfig) -> None:
        model = folder / "model" if (folder / "model").is_dir() else Path(str(config.checkpoint))
        self.scene = Scene.of(changed(config, checkpoint=str(model)))
        self._distilled = load_features(model)
        fitted = self.scene.views
        self._samples = self.scene.samples_of([fitted[i] for i in spread(len(fitted))])
        pixels = torch.randperm(self._samples.depth.numel(), generator=torch.Generator().manual_seed(0))[:POINTS]
        self._pixels = pixels[self._samples.opacity(pixels) > 0.5]
        self.ask(self._distilled[1]["words"])

    def ask(self, words: Sequence[str], answer: str = ANSWERS[0]) -> float:
        """Look for other words; returns the seconds until the answer for the points is known.

        Raises:
            InputError: bad words, see `Scene.words`; nothing is changed then.
        """
        begin = time.perf_counter()
        query = Query(self.scene, list(words), self._distilled if answer == ANSWERS[0] else None)
        self._of_points = query.at(self._samples, self._pixels)
        self.query, self.heat = query, 0
        return time.perf_counter() - begin

    def adopt(self, model: Path) -> None:
        """Answer by other distilled features of the same field. Raises InputError, see `load_features`."""
        self._distilled = load_features(model)

    def scores(self, view: int) -> Tensor:
        """float32 [C, H, W], how probable each word is at each pixel of a view."""
        return self.query.in_views(self.scene.samples_of([view]))[0]

    def pictures(self, capture: Capture, view: int) -> dict[str, NDArray[np.uint8]]:
        """See `Renderer`; also "heat", of the chosen word."""
        record = self.scene.record
        still = still_background(capture, record["views"]) if record["background"] == "still" else None
        rendered = render_scene_views(self.scene.field, self.scene.space, capture, [view], record["samples"], still)
        scores = self.scores(view)
        return {
            "rendered": (rendered.images[0] * 255).round().byte().numpy(),
            "rendered labels": label_picture(scores.argmax(dim=0).numpy(), tuple(self.query.words)),
            "heat": heat_picture(capture.images([view])[0].numpy(), scores[self.heat].numpy()),
        }

    def cloud(self, capture: Capture) -> Cloud:
        """See `Renderer`: points of some fitted views by their words, and by the heat of the chosen word."""
        colours = {
            "labels": label_picture(self._of_points.argmax(dim=1).numpy(), tuple(self.query.words)),
            "heat": heat_colours(self._of_points[:, self.heat].numpy()),
        }
        return Cloud(self._samples.points(self._pixels).numpy(), colours)

    @torch.no_grad()
    def similar(self, origin: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """How like the point that a ray meets each point of the cloud is: cosines of their features, float32 [P], 1 at itself.

        None where the ray passes all points by.
        """
        points = self._samples.points(self._pixels).numpy().astype(np.float64) - origin
        along = points @ (direction / np.linalg.norm(direction))
        aside = np.sqrt(np.maximum((points**2).sum(axis=1) - along**2, 0))
        near = (along > 0) & (aside < 0.02 * along)
        if not near.any():
            return None
        nearest = np.flatnonzero(near)[along[near].argmin()]
        features, _ = self._distilled
        values = torch.cat([features.features(*self._samples.at(block)) for block in self._pixels.split(BLOCK)])
        unit = normalize(values, dim=-1)
        return (unit @ unit[nearest]).numpy()

    def export(self, folder: Path, points: int) -> None:
        """Write what the words find in all views as scripts/segment_scene.py does: masks, label maps, heat maps, points."""
        samples = self.scene.samples_of(range(len(self.scene.capture)))
        write_answer(folder, self.query, samples, self.query.in_views(samples), points)


def words_of(text: str) -> list[str]:
    """Words that are separated by commas. An empty place stays, so that it is refused where words are checked."""
    return [word.strip() for word in text.split(",")]
