"""Posed photographs and words (scripts/segment_scene.py): masks, heat maps, labelled points, labels on a mesh of the scene."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.record import changed
from mvdecor.engine.settings import check_out
from mvdecor.fields.feature_views import FILE as FEATURES
from mvdecor.fields.feature_views import load_features
from mvdecor.figures import write_ply
from mvdecor.lifting.fill import fill_unseen
from mvdecor.settings import PathName
from mvdecor.shapes.mesh_files import read_mesh
from mvdecor.systems.open_vocabulary.answers import Query, write_answer
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
    distilled = load_features(folder) if settings.distil else None
    samples = scene.samples_of(list(range(len(scene.capture))))
    scene.crops  # noqa: B018  (made or read once, whatever is asked)
    begin = time.perf_counter()
    query = Query(scene, settings.words or (distilled[1]["words"] if distilled else None), distilled)
    scores = query.in_views(samples)
    seconds = time.perf_counter() - begin
    points = write_answer(out, query, samples, scores, settings.evaluation.points)
    on_mesh = ""
    if shape is not None:
        labels = fill_unseen(shape, mesh_votes(scene.capture, samples.views, shape, scores))
        scalars = {"confidence": labels.confidence, "filled": labels.filled.float()}
        write_ply(
            out / "mesh.ply",
            replace(shape, face_labels=None, label_names=tuple(query.words)),
            labels.labels,
            scalars=scalars,
        )
        on_mesh = f", {len(labels.labels)} faces of {settings.mesh}"
    print(
        f"{len(query.words)} words in {len(samples.views)} views in {seconds:.2f} s, {points} labelled points{on_mesh}: {out}"
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
