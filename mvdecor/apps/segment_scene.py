"""Posed photographs and words (scripts/segment_scene.py): masks, heat maps, labelled points, labels on a mesh of the scene."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mvdecor.engine.record import changed
from mvdecor.engine.settings import check_out
from mvdecor.fields.feature_field import FeatureField
from mvdecor.fields.feature_views import FILE as FEATURES
from mvdecor.fields.feature_views import load_features, view_cosines
from mvdecor.fields.strongest import StrongestSamples
from mvdecor.figures import write_ply
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.word_maps import write_word_maps
from mvdecor.lifting.fill import fill_unseen
from mvdecor.seeds import seed_of
from mvdecor.settings import PathName
from mvdecor.shapes.mesh_files import read_mesh
from mvdecor.systems.open_vocabulary.evaluate import check_model, labelled_points
from mvdecor.systems.open_vocabulary.mesh import mesh_votes
from mvdecor.systems.open_vocabulary.scene import Scene
from mvdecor.systems.open_vocabulary.settings import OpenVocabularySettings
from mvdecor.systems.open_vocabulary.stages import run_finetune, run_pretrain


class SegmentSceneSettings(OpenVocabularySettings):
    """configs/segment_scene.yaml."""

    mesh: PathName | None
    distil: bool


def run_segment_scene(cfg: DictConfig) -> None:
    """Find words in a scene.

    Writes into `out`: `labels/VIEW.png`, `segmentations/VIEW/WORD.png` and `heat/VIEW/WORD.png` of all views, `cloud.ply`, of a
    mesh `mesh.ply`; and what was trained on the way in `out/field` and `out/features`.

    Without `checkpoint` a field is fitted first. With features among it (`out/features/model` of an earlier call) nothing is
    trained, whatever the words.

    Raises:
        InputError: a bad setting, capture, mesh or checkpoint; no words.
    """
    settings = SegmentSceneSettings.of(cfg, complete=True)
    out, shape = Path(settings.out), None
    check_out(out)
    if settings.mesh is not None:
        shape = read_mesh(Path(settings.mesh))
    stage_cfg = changed(cfg)
    OmegaConf.set_struct(stage_cfg, False)
    del stage_cfg["mesh"], stage_cfg["distil"]
    folder = model_of(stage_cfg, out, settings)
    scene = Scene.of(changed(stage_cfg, checkpoint=folder))
    features, record = load_features(folder) if settings.distil else (None, {})
    views = list(range(len(scene.capture)))
    samples = scene.samples_of(views)
    scene.crops  # noqa: B018  (made or read once, whatever is asked)
    begin = time.perf_counter()
    words = scene.words(settings.words or record.get("words"))
    scores = word_scores(scene, features, record, words, samples)
    seconds = time.perf_counter() - begin
    write_word_maps(out, views, scene.capture.images(), scores, words)
    seed = seed_of(settings.seed, "points", scene.capture.id)
    cloud = labelled_points(samples, scores, settings.evaluation.points, seed)
    write_cloud(out / "cloud.ply", *cloud, words)
    on_mesh = ""
    if shape is not None:
        labels = fill_unseen(shape, mesh_votes(scene.capture, views, shape, scores))
        scalars = {"confidence": labels.confidence, "filled": labels.filled.float()}
        write_ply(
            out / "mesh.ply", replace(shape, face_labels=None, label_names=tuple(words)), labels.labels, scalars=scalars
        )
        on_mesh = f", {len(labels.labels)} faces of {settings.mesh}"
    print(
        f"{len(words)} words in {len(views)} views in {seconds:.2f} s, {len(cloud[0])} labelled points{on_mesh}: {out}"
    )


def model_of(cfg: DictConfig, out: Path, settings: SegmentSceneSettings) -> Path:
    """The folder of a field, and of features where they are asked for; what is missing is trained.

    Raises:
        InputError: no words for features that have to be trained, see `Scene.words`.
    """
    field = settings.checkpoint
    if field is None:
        run_pretrain(changed(cfg, out=out / "field"))
        field = str(out / "field" / "model")
    if not settings.distil or (Path(field) / FEATURES).is_file():
        return Path(field)
    run_finetune(changed(cfg, out=out / "features", checkpoint=field))
    return out / "features" / "model"


def word_scores(
    scene: Scene,
    features: FeatureField | None,
    record: Mapping[str, Any],
    words: Sequence[str],
    samples: StrongestSamples,
) -> Tensor:
    """float32 [n, C, H, W], how probable each word is at each pixel: by the features, or without them by the vote."""
    if features is None:
        relevancy = scene.relevancies(words).mean(dim=1)
        return (scene.vote_in_views(relevancy, samples) / scene.cfg.training.finetune.relevancy_temperature).softmax(
            dim=1
        )
    check_model(scene, record)
    cosines = view_cosines(features, samples, scene.model.text_features(words))
    return (cosines / record["temperature"]).softmax(dim=1)
