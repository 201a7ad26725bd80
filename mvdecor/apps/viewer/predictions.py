"""Predicted labels of a shape, with their confidence: from a finished run, from a round, or computed on first use."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.evaluation import area_mean
from mvdecor.files import write_atomically
from mvdecor.lifting import Region, uncertain_regions
from mvdecor.recent import Recent
from mvdecor.results.pipeline import read_results
from mvdecor.segmenter import Segmentation, Segmenter
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.check import check_labels_of
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.setup import seed_of_test_views

CACHE_SIZE = 32
"""Shapes whose predictions stay in memory."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of the faces of a shape.

    Attributes:
        labels: int64 [F], in [0, number of labels).
        confidence: float32 [F], in [0, 1], see `Segmentation`.
    """

    labels: NDArray[np.int64]
    confidence: NDArray[np.float32]

    @classmethod
    def of(cls, segmentation: Segmentation) -> Prediction:
        """What a segmenter found."""
        return cls(segmentation.labels.numpy(), segmentation.confidence.numpy())

    def expected_error(self, shape: Shape) -> float:
        """Share of the shape's area that is expected to be wrong: the mean of 1 - confidence. Shapes are ranked by it."""
        return 1 - area_mean(shape, torch.from_numpy(self.confidence))

    def uncertain_regions(self, shape: Shape) -> list[Region]:
        """Where to look first, see `mvdecor.lifting.uncertain_regions`."""
        return uncertain_regions(shape, torch.from_numpy(self.confidence))

    def save(self, path: Path) -> None:
        """Write it as `.npz`, whole or not at all."""
        content = io.BytesIO()
        np.savez_compressed(content, labels=self.labels.astype(np.int16), confidence=self.confidence)
        write_atomically(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Prediction:
        """Read what `save` wrote.

        Raises:
            InputError: it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                return cls(content["labels"].astype(np.int64), content["confidence"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: no prediction that can be read ({error}): remove it and predict again"
            ) from error


class Predictor:
    """Labels shapes with a fine-tuned model on request, and caches the predictions.

    Args:
        checkpoint: the model.
        label_names: the labels of the data; () takes any.
        device, precision, batch_size: as in configs/config.yaml.

    Raises:
        InputError: a checkpoint that labels nothing, or labels other parts than the data.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        label_names: Sequence[str] = (),
        device: str = "auto",
        precision: str = "auto",
        batch_size: int = 16,
    ) -> None:
        self._segmenter = Segmenter(checkpoint, device=device, precision=precision)
        self.label_names = self._segmenter.label_names
        if label_names:
            check_labels_of(self._segmenter.info, checkpoint, label_names)
        self._batch_size = batch_size
        self._known: Recent[Prediction] = Recent(CACHE_SIZE)

    def __call__(self, shape: Shape, seed: int = 0) -> Prediction:
        """The prediction for a shape; `seed` is that of the cameras."""
        return self._known.get((shape.id, seed), lambda: self._predict(shape, seed))

    def _predict(self, shape: Shape, seed: int) -> Prediction:
        segmentation = self._segmenter.segment(shape, seed=seed, batch_size=self._batch_size)
        return Prediction.of(segmentation)


class FinishedRun:
    """A finished evaluation: its shapes, its model, and its predictions with the cameras they were made with.

    Args:
        folder: `out` of scripts/evaluate.py, or of scripts/pipeline.py (then the first run of its last method).
        data_root: where the data set is; None = where it was.

    Attributes:
        data: the configuration of its data set.
        split: the list of shapes that it was measured on.
        checkpoint: its model.

    Raises:
        InputError: no finished run there, or its model is gone.
    """

    def __init__(self, folder: Path, data_root: str | None = None) -> None:
        results = read_results(folder)
        self._run = results.of(results.methods[-1])[0]
        config = OmegaConf.create(self._run.metrics["config"])
        assert isinstance(config, DictConfig)
        self.data: DictConfig = held_out_data(config)
        if data_root is not None:
            self.data.root = data_root
        self.split: str = config.evaluation.split
        self._config = config
        run_model = self._run.folder / "model"
        self.checkpoint = str(run_model if run_model.is_dir() else config.checkpoint)

    def labels(self, shape: Shape) -> NDArray[np.int64] | None:
        """int64 [F], what was measured; None for a shape that was not.

        Raises:
            InputError: they are of another state of the shape, or damaged.
        """
        if not (self._run.folder / "labels" / f"{shape.id}.npy").exists():
            return None
        return self._run.predicted_labels(shape).astype(np.int64)

    def seed_of(self, id: str) -> int:
        """Seed of the cameras that a shape is evaluated with."""
        return seed_of_test_views(self._config, id)


def read_ranking(file: Path) -> list[tuple[str, float]]:
    """(id, expected error) of the shapes that a round has labelled so far, the largest first."""
    if not file.exists():
        return []
    try:
        return [(str(id), float(value)) for id, value in json.loads(file.read_bytes())]
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}): remove it and fine-tune again") from error
