"""Label maps, heat maps and labelled points of a scene, and how right they are in views that the field did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdecor.captures import Capture
from mvdecor.engine.distributed import rank
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import word_figures
from mvdecor.fields.feature_views import load_features, view_cosines
from mvdecor.fields.strongest import StrongestSamples
from mvdecor.figures import colours_of, label_palette, save_png
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.layout import enlarge, legend, sheet, stack
from mvdecor.figures.word_maps import write_word_maps
from mvdecor.networks.crop_features import relevancies
from mvdecor.seeds import seed_of
from mvdecor.shapes import Shape
from mvdecor.systems.open_vocabulary.answers import check_model, labelled_points
from mvdecor.systems.open_vocabulary.mesh import mesh_miou, mesh_votes
from mvdecor.systems.open_vocabulary.scene import Scene

TRAINED = ("seed", "run", "dense_image", "crops", "training")
"""Groups of the training's configuration that a table compares."""


def evaluate(job: Job) -> dict[str, Any]:
    """Measure `cfg.checkpoint` in views of the capture.

    Writes of the distilled features `out/words` (label maps, masks and heat maps of the measured views), `out/cloud.ply` and
    `out/views.png`.
    """
    cfg, settings = job.cfg, job.cfg.evaluation
    scene = Scene.of(cfg)
    features, record = load_features(cfg.checkpoint)
    check_model(scene, record)
    words = queried_words(scene, record["words"], settings.words)
    views = measured_views(scene, settings.views)
    samples, text = scene.samples_of(views), scene.model.text_features(words)
    fitted = scene.relevancies(words)
    maps = ways_of(scene, words, views, samples, fitted) | {"distilled": view_cosines(features, samples, text)}
    rows = {
        name: score(scene.capture, views, scores.argmax(dim=1), record["words"], settings.released)
        for name, scores in maps.items()
    }
    if (shape := scene.mesh) is not None and tuple(shape.label_names) == tuple(record["words"]):
        distilled = view_cosines(features, scene.samples, text) / record["temperature"]
        add_mesh_figures(rows, scene, shape, fitted, distilled)
    if rank() == 0:
        probabilities = (maps["distilled"] / record["temperature"]).softmax(dim=1)
        write_word_maps(job.out / "words", views, scene.capture.images(views), probabilities, words)
        cloud = labelled_points(samples, probabilities, settings.points, seed_of(cfg.seed, "points", scene.capture.id))
        write_cloud(job.out / "cloud.ply", *cloud, words)
        save_png(job.out / "views.png", picture(scene.capture, views[: settings.figures], maps, words))
    for name, row in rows.items():
        print(f"{name:>20}: " + summary(row), flush=True)
    trained = record["config"]
    return {
        "words": words,
        "views": views,
        "rows": rows,
        "part_miou": None,
        **rows["distilled"],
        "category": scene.capture.id,
        "split": {"name": settings.views, "ids": [scene.capture.id]},
        "trained_with": {key: trained[key] for key in TRAINED if key in trained},
        "shape_miou": None,
    }


def queried_words(scene: Scene, trained: Sequence[str], words: Sequence[str] | None) -> list[str]:
    """The words that are asked, each in the place of a trained one. Raises InputError if they are more or fewer."""
    checked = scene.words(trained if words is None else words)
    if len(checked) != len(trained):
        raise InputError(
            f"evaluation.words: {len(checked)} words in the place of the {len(trained)} trained ones ({', '.join(trained)}): "
            "give one for each, in their order"
        )
    return checked


def measured_views(scene: Scene, split: str) -> list[int]:
    """Views with a label map: held out, or all that are labelled. Raises InputError if there is none."""
    candidates = scene.record["held_out"] if split == "held_out" else scene.capture.labelled
    views = [view for view in candidates if view in scene.capture.labelled]
    if not views:
        raise InputError(
            f"capture {scene.capture.id}: none of the views {list(candidates)} has a label map to measure with: choose "
            "evaluation.views=labelled, or scripts/segment_scene.py, which measures nothing"
        )
    return views


def ways_of(
    scene: Scene, words: Sequence[str], views: Sequence[int], samples: StrongestSamples, fitted: Tensor
) -> dict[str, Tensor]:
    """Scores float32 [n, C, H, W] of each way that needs no training; `fitted` are the relevancies of the fitted views.

    In the pictures themselves: the mean over scales of cosines and of relevancies. In 3D: the vote of the relevancies of the
    fitted views, of each scale alone and of their mean.
    """
    crops, text = scene.crops_of(views), scene.model.text_features(words)
    cosines = torch.stack([view.scores(text) for view in crops])
    maps = {"picture, cosine": cosines.mean(dim=1)}
    maps["picture, relevancy"] = relevancies(
        crops, text, scene.cfg.crops.relevancy, quantile=scene.cfg.crops.quantile
    ).mean(dim=1)
    for scale in range(fitted.shape[1]):
        maps[f"vote, scale {scale}"] = scene.vote_in_views(fitted[:, scale], samples)
    return maps | {"vote": scene.vote_in_views(fitted.mean(dim=1), samples)}


def score(
    capture: Capture, views: Sequence[int], labels: Tensor, names: Sequence[str], released: bool = False
) -> dict[str, float]:
    """Figures (`word_figures`) of label maps int64 [n, H, W], in which k is the k-th of `names`; other classes do not count.

    Raises:
        InputError: a word that is none of the capture's label names.
    """
    if missing := [name for name in names if name not in capture.label_names]:
        raise InputError(
            f"capture {capture.id}: {missing[0]!r} is none of its label names ({', '.join(capture.label_names)}), so it cannot "
            "be measured: distil for these, and give others as evaluation.words"
        )
    numbers = torch.full((len(capture.label_names) + 1,), -1)  # the last one stands for undetermined, -1
    numbers[[capture.label_names.index(name) for name in names]] = torch.arange(len(names))
    return word_figures(labels, numbers[capture.labels(views).long()], len(names), released)


def add_mesh_figures(
    rows: dict[str, dict[str, float]], scene: Scene, shape: Shape, fitted: Tensor, distilled: Tensor
) -> None:
    """Add `part_miou` on the scene's mesh to the rows of the votes and the distillation; the fitted views vote on it.

    Args:
        rows: by name.
        scene: with its fitted views.
        shape: its mesh, labelled with the words.
        fitted: float32 [n, S, C, H, W], relevancies of the fitted views.
        distilled: float32 [n, C, H, W], logits by the distilled features.
    """
    relevancy = fitted / scene.cfg.training.finetune.relevancy_temperature
    logits = {f"vote, scale {scale}": relevancy[:, scale] for scale in range(relevancy.shape[1])}
    logits |= {"vote": relevancy.mean(dim=1), "distilled": distilled}
    for name, values in logits.items():
        rows[name]["part_miou"] = mesh_miou(shape, mesh_votes(scene.capture, scene.views, shape, values.softmax(dim=1)))


def picture(capture: Capture, views: Sequence[int], maps: Mapping[str, Tensor], words: Sequence[str]) -> np.ndarray:
    """Some views: image, label maps by the vote and by the distillation, and a legend; uint8 [height, width, 3]."""
    palette, count = label_palette(len(words)), len(views)
    rows = {"image": list(capture.images(views).numpy())}
    for name in ("picture, relevancy", "vote", "distilled"):
        rows[name] = [colours_of(scores.argmax(dim=0).numpy(), palette) for scores in maps[name][:count]]
    cells = [[enlarge(cell, max(1, 128 // cell.shape[0])) for cell in row] for row in rows.values()]
    page = sheet(cells, columns=[f"view {view}" for view in views], rows=list(rows))
    return stack([page, legend(words, palette, page.shape[1])])


def summary(row: Mapping[str, Any]) -> str:
    """One line of figures."""
    on_mesh = f", on the mesh {row['part_miou']:.1f}" if row.get("part_miou") is not None else ""
    return f"mIoU {row['miou']:.1f}, accuracy {row['accuracy']:.1f}, boundary F {row['boundary_f']:.1f}{on_mesh}"
