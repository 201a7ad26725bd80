"""Labelling mesh files (scripts/segment.py, configs/segment.yaml): input files, output files, refusals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from glob import glob
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from mvdecor.apps.export import export_labels, summary
from mvdecor.apps.part_files import part_sizes, write_label_files, write_meshes, write_parts, write_whole
from mvdecor.apps.segment_settings import AnySegmenter, SegmentSettings, make_segmenter
from mvdecor.engine.content import Files
from mvdecor.engine.guard import alone_in
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import UNKNOWN, Key, read_result, settings_of, write_result
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.evaluation import area_mean
from mvdecor.figures import render_segmentation, save_png
from mvdecor.lifting import UNFAMILIAR
from mvdecor.percent import percent
from mvdecor.segmenter import Segmentation
from mvdecor.settings import shown
from mvdecor.shapes.mesh_files import SUFFIXES
from mvdecor.shapes.named_files import files_of_mesh
from mvdecor.systems.mvdecor.keys import without_smoothing

RESULT = "segmentation.json"
SETTINGS = ("seed", "precision", "up", "parts", "low_confidence")
LOW_COVERAGE = 0.8
"""Share of the area below which so little was seen that it is worth a hint."""


def run_segment(cfg: DictConfig) -> list[dict]:
    """Label the meshes that configs/segment.yaml names; each gets a folder `out/NAME` (docs/segment.md says what is in it).

    A folder appears whole or not at all. One that is there, made of the same mesh and model with the same settings, is kept.

    Returns:
        What `segmentation.json` of each mesh says.

    Raises:
        InputError: a bad setting, model or mesh (under on_error=skip: only if all are bad), or a folder in `out` that holds
            something else.
    """
    settings = SegmentSettings.of(cfg)
    check_out(Path(settings.out))
    files = find_meshes([settings.mesh] if isinstance(settings.mesh, str) else settings.mesh)
    if settings.on_error == "raise":
        _refuse_others(files.values())
    if settings.labels == "mine":
        return _export_all(files, cfg)
    changes = {group: {k: v for k, v in cfg[group].items() if v is not None} for group in ("views", "lifting")}
    segmenter = make_segmenter(settings, cfg, changes)
    out = Path(cfg.out)
    for name in files:  # before hours of work
        _existing(out / name, cfg, segmenter)
    with alone_in(out):
        return _each(files, cfg, lambda path, folder: _segment_file(path, folder, cfg, segmenter))


def _export_all(files: dict[str, Path], cfg: DictConfig) -> list[dict]:
    """Write each mesh with the labels beside it."""

    def export(path: Path, folder: Path) -> dict:
        try:
            result = export_labels(path, folder, cfg.parts)
        except InputError as error:
            raise BadMesh(str(error)) from error
        print(f"{path}: {summary(result, folder)}", flush=True)
        return result

    for name in ("checkpoint", "words"):
        if cfg[name] is not None:
            raise InputError(
                f"{name}={shown(cfg[name])}: labels=mine takes no model, but the labels beside the meshes: leave it out"
            )
    with alone_in(Path(cfg.out)):
        return _each(files, cfg, export)


def _each(files: dict[str, Path], cfg: DictConfig, one: Callable[[Path, Path], dict]) -> list[dict]:
    """What `one` gives of each mesh and its folder of results; those that are bad are raised or listed at the end."""
    results: list[dict] = []
    skipped: list[tuple[Path, str]] = []
    for name, path in files.items():
        try:
            results.append(one(path, Path(cfg.out) / name))
        except BadMesh as error:
            if cfg.on_error == "raise":
                raise
            print(f"warning: skipped {error}")
            skipped.append((path, str(error)))
    if not results:
        raise InputError(f"no mesh was labelled: all {len(skipped)} were skipped, the first because: {skipped[0][1]}")
    if skipped:
        print(f"skipped {len(skipped)} of {len(files)} meshes:")
        for _, reason in skipped:
            print(f"  {reason}")
    return results


class BadMesh(InputError):
    """A mesh that cannot be labelled, which on_error=skip passes over. The message begins with its file."""


def find_meshes(patterns: Iterable[str]) -> dict[str, Path]:
    """Mesh files by the name of their results.

    Args:
        patterns: files, folders (the meshes directly in it, by name) and patterns (`glob`, with ** for any depth).

    Returns:
        the files in the order given, each once. A name is the file's without its ending; where two are equal, all names are
        the paths below the files' common folder.

    Raises:
        InputError: nothing there, no mesh among what is there, or two meshes that differ only in their ending.
    """
    files: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _expand(pattern):
            files.setdefault(path.resolve(), path)
    paths = list(files.values())
    names = [_name(path) for path in paths]
    if len(set(names)) < len(names):
        common = os.path.commonpath([path.parent for path in files])
        names = [os.path.relpath(path.parent / _name(path), common) for path in files]
    for name in names:
        if names.count(name) > 1:
            twins = [str(path) for path, path_name in zip(paths, names, strict=True) if path_name == name]
            raise InputError(
                f"mesh: the results of {' and '.join(twins)} would share the name {name}: label them one by one"
            )
    return dict(zip(names, paths, strict=True))


def _name(path: Path) -> str:
    """A mesh's name; of another file all of it, since it may lie beside a mesh, as chair.mtl does."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _refuse_others(paths: Iterable[Path]) -> None:
    """Refuse files that are no meshes by their ending, before any is labelled."""
    refused = [str(path) for path in paths if path.suffix.lower() not in SUFFIXES]
    if refused:
        count = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(
            f"mesh: {refused[0]}{count} is no mesh format that can be read ({', '.join(SUFFIXES)}): leave it out, give the "
            "folder, of which only meshes are taken, or go on past it with on_error=skip"
        )


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_file():
        return [path]  # even if its name looks like a pattern; its format is checked when it is read
    if path.is_dir():
        files = [file for file in sorted(path.iterdir(), key=lambda file: file.name) if not file.name.startswith(".")]
    elif any(mark in pattern for mark in "*?["):
        files = [Path(file) for file in sorted(glob(pattern, recursive=True))]
    else:
        raise InputError(f"mesh={pattern}: no such file or folder; check the path")
    meshes = [file for file in files if file.is_file() and file.suffix.lower() in SUFFIXES]
    if not meshes:
        location = "directly in this folder" if path.is_dir() else "that fits this pattern"
        raise InputError(f"mesh={pattern}: there is no mesh file ({', '.join(SUFFIXES)}) {location}; check the path")
    return meshes


def _segment_file(path: Path, folder: Path, cfg: DictConfig, segmenter: AnySegmenter) -> dict:
    try:
        shape = segmenter.read(path)
        source = {"file": str(path), "sha256": Files.of(files_of_mesh(path)).identity()["sha256"]}
        if (existing := _existing(folder, cfg, segmenter, source)) is not None:
            print(f"{folder}: finished before with the same mesh, model and settings; not made again", flush=True)
            return existing
        segmentation = segmenter.segment(shape, seed=cfg.seed, batch_size=cfg.batch_size, up=cfg.up)
    except Refused:
        raise
    except InputError as error:
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise BadMesh(message) from error
    result = _write(folder, segmentation, cfg, segmenter, path, source)
    print(
        f"{path}: {result['faces']} faces, {percent(segmentation.coverage)} of the area seen, "
        f"mean confidence {result['confidence']:.2f}, disagreement of the views {result['disagreement']:.2f}, "
        f"{percent(result['low_confidence'], 1)} of the faces below confidence {cfg.low_confidence:g}, "
        f"{segmentation.seconds:.1f} s: {folder}",
        flush=True,
    )
    if result["hint"]:
        print(f"warning: {path}: {result['hint']}", flush=True)
    if segmentation.familiarity is not None and segmentation.familiarity < UNFAMILIAR:
        print(
            f"warning: {path}: familiarity {segmentation.familiarity:.2f} (1 on the labelled shapes): this mesh does not "
            "look like the labelled shapes; check its parts before use, even where the confidence is high",
            flush=True,
        )
    return result


class Refused(InputError):
    """A folder of results that must not be overwritten."""


def _existing(folder: Path, cfg: DictConfig, segmenter: AnySegmenter, source: dict | None = None) -> dict | None:
    """The result in `folder` if it is of the same model, settings and (once it is known) mesh; None if there is none."""
    if not folder.exists():
        return None
    try:
        existing = read_result(folder / RESULT, _key(cfg, segmenter, source))
    except InputError as error:
        raise Refused(str(error)) from error
    if existing is None:
        raise Refused(f"{folder} is there already and holds no {RESULT}: choose another out=")
    return existing


def _key(cfg: DictConfig, segmenter: AnySegmenter, source: dict | None) -> Key:
    """What the parts of a mesh depend on; None: of a mesh that is not read yet."""
    model = {f"model.{name}": segmenter.info.get(name) for name in ("weights_sha256", "label_names", "calibration")}
    model["mesh"] = source["sha256"] if source else UNKNOWN
    crops = ("crops",) if "crops" in segmenter.config else ()
    lifting = ("lifting", *without_smoothing(segmenter.config.lifting))
    settings = settings_of(segmenter.config, ("views", "-views.cache", "-views.keep", *lifting, *crops))
    return Key(settings | settings_of(cfg, SETTINGS) | model)


def _write(
    folder: Path, segmentation: Segmentation, cfg: DictConfig, segmenter: AnySegmenter, path: Path, source: dict
) -> dict:
    """Write all files of a mesh."""
    shape, labels = segmentation.shape, segmentation.labels

    def write(into: Path) -> dict:
        """Write all files into a folder; returns what its record holds."""
        write_label_files(into, labels, shape.polygons, segmentation.label_names)
        np.save(into / "confidence.npy", segmentation.of_file(segmentation.confidence).numpy())
        confidence = {"confidence": segmentation.confidence}
        more = {"disagreement": segmentation.disagreement, "filled": segmentation.filled.float()}
        write_meshes(into, path, shape, labels, confidence | more)
        save_png(into / "views.png", render_segmentation(shape, labels, segmentation.confidence))
        if cfg.parts:
            write_parts(into / "parts", shape, labels, confidence)
        key = _key(cfg, segmenter, source).record()
        return write_result(into / RESULT, _summary(segmentation, cfg, segmenter, source), provenance(cfg), key)

    return write_whole(folder, write)


def _summary(segmentation: Segmentation, cfg: DictConfig, segmenter: AnySegmenter, source: dict) -> dict:
    return {
        "input": source,
        "weights_sha256": segmenter.info["weights_sha256"],
        "model_config": OmegaConf.to_container(segmenter.config),
        "faces": len(segmentation.of_file(segmentation.labels)),
        "triangles": segmentation.shape.num_faces,
        "label_names": list(segmentation.label_names),
        "parts": part_sizes(segmentation.shape, segmentation.labels),
        "coverage": 100 * segmentation.coverage,
        "filled": float(segmentation.filled.float().mean()),
        "confidence": area_mean(segmentation.shape, segmentation.confidence),
        "disagreement": area_mean(segmentation.shape, segmentation.disagreement),
        "familiarity": segmentation.familiarity,
        "low_confidence": segmentation.low_confidence(cfg.low_confidence),
        "hint": coverage_hint(segmentation, segmenter.config.views),
        "seconds": round(segmentation.seconds, 2),
    }


def coverage_hint(segmentation: Segmentation, views: DictConfig) -> str:
    """What to do where the views saw less than `LOW_COVERAGE` of the area; empty otherwise."""
    if segmentation.coverage >= LOW_COVERAGE:
        return ""
    remedies = []
    if views.layers < 3:
        remedies.append("look behind the outermost surface, views.layers=3, if it has inner faces (shelves, linings)")
    remedies.append(f"look from more sides, views.count={2 * views.count} (now {views.count})")
    remedies.append("check that the right axis points up (up=z for many CAD files and scans)")
    faces = segmentation.shape.vertices[segmentation.shape.faces].double().reshape(-1, 3)
    size, farthest = (faces.amax(0) - faces.amin(0)).max(), faces.abs().max()
    if farthest > 100 * size:
        remedies.append(f"move the mesh to the origin: it lies {farthest / size:.0f} times its size away from it")
    return (
        f"only {100 * segmentation.coverage:.0f} % of the area was seen, the labels of the rest are copies of the nearest seen "
        f"face's: {'; '.join(remedies)}"
    )
