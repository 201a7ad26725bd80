"""`Session`: the viewer without a browser: shapes, predictions, embeddings, labels, rounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from omegaconf import DictConfig

from mvdecor.apps.export import export_labels, summary
from mvdecor.apps.viewer.labelling import Labelling
from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.apps.viewer.predictions import FinishedRun, Prediction, Predictor
from mvdecor.apps.viewer.round_pace import RoundPace
from mvdecor.apps.viewer.rounds import Pretraining, Round, last_round, prepare_round, trained_settings
from mvdecor.apps.viewer.selection import DEFAULTS, TOOLS, Click, Settings
from mvdecor.apps.viewer.tools import Faces, FaceTools, View
from mvdecor.errors import InputError
from mvdecor.lifting import Region
from mvdecor.networks import load_checkpoint
from mvdecor.percent import percent
from mvdecor.recent import Recent
from mvdecor.shapes import MeshFolder, Shape, ShapeSet
from mvdecor.shapes.objects import read_objects
from mvdecor.systems.mvdecor.embedder import Embedder
from mvdecor.systems.mvdecor.setup import make_shape_set

CACHE_SIZE = 8
"""Shapes whose meshes stay in memory."""


class Session:
    """Shapes of a data set or of a run, and what is known of them. Not for several threads at once.

    Args:
        cfg: configs/view.yaml.

    Attributes:
        ids: the shapes, at least one.
        label_names: the palette; () where nothing has labels.
        labels: where labels are saved; None where they cannot be.
        why_not: in that case, why.
        round: the latest round, if any.
        pretraining: of these shapes; None where they are not labelled here, or a `checkpoint` was given.

    Raises:
        InputError: a bad setting, data set, run or checkpoint, or no shapes.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self._finished = None if cfg.run is None else FinishedRun(Path(cfg.run), cfg.data_root)
        self._node = cfg.data.labelled if self._finished is None else self._finished.data
        shape_set = make_shape_set(self._node)
        self.ids = shape_set.ids(cfg.split or (self._finished.split if self._finished else "all"))
        if not self.ids:
            raise InputError(
                f"{self._node.root}: there are no shapes in split {cfg.split!r} to show: choose another split"
            )
        run_checkpoint = None if self._finished is None else self._finished.checkpoint
        self._embeds: str | None = cfg.checkpoint or run_checkpoint
        self._predicts: str | None = run_checkpoint or cfg.checkpoint
        names = self._names_of_model()
        self._fine_tuned = bool(names)
        self.labels, self.why_not = self._label_folder(shape_set, names)
        self.label_names = self.labels.label_names if self.labels else shape_set.label_names or names
        self._labelling = None if self.labels is None else Labelling(self.labels, self.shape)
        self._earlier_names: list[tuple[str, ...]] = []
        self.round = last_round(Path(cfg.out)) if self.labels else None
        self.pretraining = Pretraining(cfg) if self.labels and cfg.checkpoint is None else None
        self._embedder: tuple[str, Embedder] | None = None
        self._predictor: Predictor | None = None
        self._shapes: Recent[Shape] = Recent(CACHE_SIZE)
        self._tools: Recent[FaceTools] = Recent(CACHE_SIZE)
        self._regions: Recent[list[Region]] = Recent(CACHE_SIZE)
        self._shown: dict[str, Faces] = {}

    def shape(self, id: str) -> Shape:
        """A shape, normalised; its own `face_labels` are those on disk when it was first read."""
        return self._shapes.get(id, lambda: make_shape_set(self._node).load(id))

    def tools(self, id: str) -> FaceTools:
        """The geometry of a shape's labelling tools."""
        return self._tools.get(id, lambda: self._make_tools(id))

    def labels_of(self, id: str) -> NDArray[np.int64] | None:
        """int64 [F], the labels as they are now, -1 = none; None for a shape without any in a set that is not edited."""
        if self._labelling is not None:
            return self._labelling.labels(id)
        labels = self.shape(id).face_labels
        return None if labels is None else labels.numpy()

    def shown(self, id: str) -> Faces:
        """bool [F], the faces that are not hidden: all others are neither met by clicks nor labelled by tools."""
        return self._shown.get(id, np.ones(self.shape(id).num_faces, dtype=bool))

    def show(self, id: str, faces: Faces) -> None:
        """Hide all faces but these, bool [F]."""
        self._shown[id] = faces
        self.tools(id).show(faces)

    def select(self, id: str, face: int, point: ArrayLike, tool: str, settings: Settings = DEFAULTS) -> Faces:
        """bool [F], the faces that a click means.

        Args:
            id: the shape.
            face, point: where it was clicked, see `FaceTools.pick`.
            tool: one of `TOOLS`.
            settings: of the tools.

        Raises:
            InputError: an unknown tool, a shape without materials or objects, or no model that embeds.
        """
        if tool not in TOOLS:
            raise InputError(f"tool {tool!r} is unknown: choose {', '.join(TOOLS)}")
        return TOOLS[tool].select(Click(self.shape(id), self.tools(id), face, point, settings, self.embedder))

    def paint(
        self,
        id: str,
        face: int,
        point: ArrayLike,
        tool: str,
        label: int,
        settings: Settings = DEFAULTS,
        unlabelled: bool = False,
    ) -> bool:
        """Label the faces selected by a click and save. Returns False if nothing changed.

        Args:
            id, face, point, tool, settings: see `select`.
            label: -1 erases.
            unlabelled: leave faces as they are that have a label.

        Raises:
            InputError: labels cannot be saved here, an unknown label, or as `select`; then nothing has changed.
        """
        self._editing()
        return self.label(id, self.select(id, face, point, tool, settings), label, unlabelled)

    def label(self, id: str, faces: Faces, label: int, unlabelled: bool = False) -> bool:
        """Give some faces, bool [F], a label (-1: none), and save; False if they had it, or may not change.

        Raises:
            InputError: as `paint`.
        """
        return self._editing().select(id, faces & self.changeable(id, unlabelled), label)

    def changeable(self, id: str, unlabelled: bool = False) -> Faces:
        """bool [F], the faces that tools may label: shown, of no locked label, and, if so asked, without any."""
        labels = self._editing().labels(id)
        free = self.shown(id) & ~np.isin(labels, list(self.locked))
        return free & (labels < 0) if unlabelled else free

    def rectangle(
        self, id: str, view: View, low: Sequence[float], high: Sequence[float], through: bool = False
    ) -> Faces:
        """bool [F], the shown faces in a rectangle of the picture, see `FaceTools.rectangle`."""
        return self.shown(id) & self.tools(id).rectangle(view, low, high, through)

    def resize(self, id: str, label: int, rings: int, unlabelled: bool = False) -> bool:
        """Grow what was labelled last by rings of faces, or all of a label; shrink it by as many if `rings` is negative.

        Raises:
            InputError: as `Labelling.resize`.
        """
        tools, among = self.tools(id), self.shown(id)
        if rings > 0:
            return self._editing().resize(id, label, self.changeable(id, unlabelled), lambda x: tools.grown(x, rings))
        return self._editing().resize(id, label, among, lambda x: tools.shrunk(x, -rings))

    @property
    def locked(self) -> set[int]:
        """The labels whose faces keep them."""
        return self._editing().locked

    def rename(self, label: int, name: str) -> None:
        """Give a label another name, here and in the folder.

        Raises:
            InputError: labels cannot be saved here, or no name, or one that another label has.
        """
        folder = self._saved_in()
        folder.rename(label, name)
        self._earlier_names.append(self.label_names)
        self.label_names = folder.label_names

    @property
    def predicts(self) -> bool:
        """Whether there is a fine-tuned model: of a round, a run or a checkpoint."""
        return self.round is not None or self._fine_tuned

    def unlabelled(self, id: str) -> int:
        """Faces of a shape without a label; 0 where labels cannot be changed."""
        return 0 if self._labelling is None else int((self._labelling.labels(id) < 0).sum())

    def accept(self, id: str, least_confidence: float = 0.0) -> bool:
        """Take the prediction as the label of every face that has none, if it is as sure as this, and save.

        Returns:
            whether there was such a face.
        """
        labels = self._editing().labels(id)
        predicted, confidence = self.predicted_labels(id), self.prediction(id).confidence
        return self._editing().put(id, (labels < 0) & (confidence >= least_confidence), predicted)

    def largest_unlabelled(self, id: str) -> int | None:
        """The face in the middle of the largest connected piece of surface without a label; None if all have one."""
        return self.tools(id).middle_of_largest(self._editing().labels(id) < 0)

    def uncertain_region(self, id: str, number: int) -> tuple[int, str]:
        """The face in the middle of one of the `uncertain_regions` of a shape (after the last comes the first), and what it is.

        Raises:
            InputError: as `prediction`.
        """
        model = self.round.folder if self.round else None
        regions = self._regions.get((id, model), lambda: self.prediction(id).uncertain_regions(self.shape(id)))
        region = regions[number % len(regions)]
        faces = np.isin(np.arange(self.shape(id).num_faces), region.faces)
        face = self.tools(id).middle_of_largest(faces)
        assert face is not None, "a region has faces"
        words = f"uncertain region {number % len(regions) + 1} of {len(regions)}: {percent(region.area)} of the area, of which "
        return face, words + f"{percent(region.wrong / region.area)} are expected to be wrong"

    def undo(self, id: str) -> bool:
        """Take the last change of a shape's labels back, and save; False if there is none."""
        return self._editing().undo(id)

    def redo(self, id: str) -> bool:
        """Change again what was taken back last, and save; False if there is nothing."""
        return self._editing().redo(id)

    def export(self, id: str) -> str:
        """Write a shape with its labels in every format to `out/export/ID`; says what was written, and where.

        Raises:
            InputError: labels cannot be saved here, the shape has none, or as `export_labels`.
        """
        folder = self._saved_in()
        if not folder.labelled([id]):
            raise InputError(f"shape {id} has no label yet: label it first")
        mesh = MeshFolder(folder.root).files(id, labels=False)[0]
        out = Path(self._cfg.out, "export", id).resolve()
        return f"exported {summary(export_labels(mesh, out), out)}"

    def predicted_labels(self, id: str) -> NDArray[np.int64]:
        """int64 [F]: those that the finished run measured, or else of `prediction`."""
        measured = self._finished.labels(self.shape(id)) if self._finished and self.round is None else None
        return self.prediction(id).labels if measured is None else measured

    def prediction(self, id: str) -> Prediction:
        """What the latest round says of a shape, or else the run's or the checkpoint's model.

        Raises:
            InputError: there is no fine-tuned model, or it labels other parts.
        """
        shape = self.shape(id)
        prediction = self.round.prediction(id) if self.round else None
        if prediction is None:
            seed = self._finished.seed_of(id) if self._finished and self.round is None else self._cfg.seed
            prediction = self._model()(shape, seed)
        if len(prediction.labels) != shape.num_faces:
            raise InputError(
                f"shape {id}: the prediction is of a mesh of {len(prediction.labels)} faces: fine-tune again"
            )
        return prediction

    def embedder(self) -> Embedder:
        """The model that embeds: of the latest round, or else the pretrained one, `checkpoint`, or the run's.

        Raises:
            InputError: there is none.
        """
        model = self._embeds
        if self.pretraining is not None and self.pretraining.checkpoint is not None:
            model = str(self.pretraining.checkpoint)
        if self.round is not None and self.round.checkpoint is not None:
            model = str(self.round.checkpoint)
        if model is None:
            advice = "pretrain or fine-tune, or start" if self.labels is not None else "start"
            raise InputError(
                f"there are no embeddings without a model: {advice} the viewer with checkpoint=FOLDER or run=FOLDER"
            )
        if self._embedder is None or self._embedder[0] != model:
            cfg = self._cfg
            batch = cfg.evaluation.batch_size
            self._embedder = (model, Embedder(model, cfg.device, cfg.precision, cfg.seed, batch))
        return self._embedder[1]

    def new_round(self) -> Round:
        """A round of fine-tuning on what is labelled so far, to be started.

        Raises:
            InputError: labels cannot be saved here, or nothing is labelled.
        """
        folder = self._saved_in()
        if self.pretraining is not None:
            pretrained = self.pretraining.checkpoint
            self._cfg.checkpoint = None if pretrained is None else str(pretrained)
        return Round(prepare_round(self._cfg, folder, self.ids))

    @property
    def steps(self) -> int:
        """Of fine-tuning, in the next round."""
        return int(self._cfg.training.finetune.steps)

    @steps.setter
    def steps(self, steps: int) -> None:
        self._cfg.training.finetune.steps = steps

    @property
    def recipe(self) -> str:
        """What a round trains, in words."""
        views, network_settings = self._trained_settings.views, self._trained_settings.network
        network = str(network_settings._target_).rsplit(".", 1)[-1]
        encoder = f" {network_settings.encoder}" if "encoder" in network_settings else ""
        return f"{network}{encoder}, {views.count} views of {views.size} pixels per shape"

    @property
    def device(self) -> str:
        """What it trains on, in words."""
        return self._pace.device

    def seconds_of_round(self) -> float:
        """About how long the next round takes, by a step of training and a batch of prediction on this device."""
        return self._pace.seconds(self.steps, self._without_labels())

    def steps_within(self, seconds: float) -> int:
        """About how many steps the next round may have to end in time, in tens; 0 or less where none is left."""
        return self._pace.steps_within(seconds, self._without_labels())

    @cached_property
    def _trained_settings(self) -> DictConfig:
        return trained_settings(self._cfg)

    @cached_property
    def _pace(self) -> RoundPace:
        return RoundPace(self._trained_settings)

    def _without_labels(self) -> int:
        return len(self.ids) - len(self._saved_in().labelled(self.ids))

    def adopt_round(self, finished: Round) -> None:
        """From now on predictions are those of this round."""
        self.round, self._predictor = finished, None

    def _model(self) -> Predictor:
        if self._predictor is None:
            model = self.round.checkpoint if self.round else self._predicts
            if model is None:
                raise InputError(
                    "there is no prediction yet: label some shapes and fine-tune, or start the viewer with a fine-tuned "
                    "checkpoint=FOLDER or run=FOLDER"
                )
            cfg = self._cfg
            batch = cfg.evaluation.batch_size
            self._predictor = Predictor(model, self._names_for(model), cfg.device, cfg.precision, batch)
        return self._predictor

    def _names_for(self, model: Path | str) -> tuple[str, ...]:
        """The label names, as they were called when the model was trained, if they were renamed since."""
        trained = tuple(load_checkpoint(model)[1].get("label_names", []))
        return trained if trained in self._earlier_names else self.label_names

    def _names_of_model(self) -> tuple[str, ...]:
        """The labels of a fine-tuned checkpoint; () of a pretrained one, or without one."""
        return () if self._predicts is None else tuple(load_checkpoint(self._predicts)[1].get("label_names", []))

    def _label_folder(self, shape_set: ShapeSet, names: tuple[str, ...]) -> tuple[LabelFolder | None, str]:
        if self._finished is not None or not isinstance(shape_set, MeshFolder):
            if self._cfg.labels is not None:
                raise InputError("labels= is for meshes of one's own: give data=folder data.root=DIR, without run=")
            return None, "Labels can be changed with data=folder data.root=DIR, a folder of meshes of one's own."
        if self._cfg.labels is None and not shape_set.label_names and not names:
            return None, "To label, start the viewer with the names of the parts: labels=[foot,pole,shade]"
        label_names = self._cfg.labels if self._cfg.labels is not None or shape_set.label_names else names
        return LabelFolder(shape_set.root, label_names), ""

    def _saved_in(self) -> LabelFolder:
        if self.labels is None:
            raise InputError(self.why_not)
        return self.labels

    def _editing(self) -> Labelling:
        if self._labelling is None:
            raise InputError(self.why_not)
        return self._labelling

    def _make_tools(self, id: str) -> FaceTools:
        shape_set = make_shape_set(self._node)
        objects = None
        if isinstance(shape_set, MeshFolder):
            objects = partial(read_objects, shape_set.files(id, labels=False)[0])
        tools = FaceTools(self.shape(id), objects)
        if id in self._shown:
            tools.show(self._shown[id])
        return tools
