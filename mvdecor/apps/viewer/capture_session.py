"""`CaptureSession`: captures in the viewer without a browser: pictures, label maps, points, and what a field renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from mvdecor.apps.fit import FILE
from mvdecor.apps.report.fields import SYSTEM
from mvdecor.apps.viewer.capture_clouds import POINTS, Cloud, depth_cloud, label_picture, spread
from mvdecor.apps.viewer.word_renderer import WordRenderer
from mvdecor.captures import BACKGROUND_NAME, COLMAP, Capture, CaptureSet, make_capture_set
from mvdecor.errors import InputError
from mvdecor.evaluation.images import psnr
from mvdecor.fields import load_field, render_views
from mvdecor.fields.radiance_file import load_radiance
from mvdecor.fields.radiance_views import render_scene_views, scene_points, still_background
from mvdecor.recent import Recent
from mvdecor.results.runs import read_stage, system_of

CACHE_SIZE = 4
"""Captures whose points stay in memory."""
GREY = (110, 110, 110)
WORDS = "open_vocabulary"


class Renderer(Protocol):
    """What a field shows of captures."""

    def pictures(self, capture: Capture, view: int) -> dict[str, NDArray[np.uint8]]:
        """ "rendered" and, if the field has labels, "rendered labels": uint8 [H, W, 3] each."""
        ...

    def cloud(self, capture: Capture) -> Cloud:
        """Its points."""
        ...


class CaptureSession:
    """Captures of a reader, or those that a run of Semantic SRN, open_vocabulary or scripts/fit.py was measured on.

    Args:
        cfg: configs/view.yaml; `run` is such a run, or `capture` a reader.

    Attributes:
        ids: at least one.
        out: folder of what is exported.
        runs: names of a pipeline's runs; () of a single run or without one.
        renderer: of the chosen run's field, at first of the first one's; None without a run.

    Raises:
        InputError: no captures, or a run that cannot be read.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.renderer: Renderer | None = None
        self.out = Path(cfg.out)
        self.runs: tuple[str, ...] = ()
        if cfg.run is None:
            self.captures = make_capture_set(cfg.capture)
            self.ids = self.captures.ids(cfg.split or "all")
        else:
            folders = run_folders(Path(cfg.run))
            self._folders = {folder.name: folder for folder in folders}
            self.runs = tuple(self._folders) if len(folders) > 1 else ()
            self.captures, self.ids, self.renderer = _of_run(folders[0], cfg.data_root)
        if not self.ids:
            raise InputError(f"split {cfg.split!r} holds no capture to show: choose another split")
        self._captures: Recent[Capture] = Recent(CACHE_SIZE)
        self._clouds: Recent[Cloud | None] = Recent(CACHE_SIZE)

    @property
    def words(self) -> WordRenderer | None:
        """What answers words, of an open-vocabulary run."""
        return self.renderer if isinstance(self.renderer, WordRenderer) else None

    def forget_points(self) -> None:
        """Make the points anew: other words were asked."""
        self._clouds = Recent(CACHE_SIZE)

    def choose_run(self, name: str) -> None:
        """Show what the field of another one of `runs` renders."""
        folder = self._folders[name]
        config: Any = OmegaConf.create(read_stage(folder / "metrics.json", ("config",))["config"])
        self.renderer = (WordRenderer if config.get("system") == WORDS else ObjectRenderer)(folder, config)
        self._clouds = Recent(CACHE_SIZE)

    def capture(self, id: str) -> Capture:
        """A capture."""
        return self._captures.get(id, lambda: self.captures.load(id))

    def pictures(self, id: str, view: int) -> dict[str, NDArray[np.uint8]]:
        """By name what is known of a view: image, labels, rendered, rendered labels; uint8 [H, W, 3] each."""
        capture = self.capture(id)
        pictures = {"image": capture.images([view])[0].numpy()}
        if view in capture.labelled:
            pictures["labels"] = label_picture(capture.labels([view])[0].numpy(), capture.label_names)
        return pictures | (self.renderer.pictures(capture, view) if self.renderer else {})

    def note(self, id: str, view: int, pictures: dict[str, NDArray[np.uint8]]) -> str:
        """One line about a view."""
        capture = self.capture(id)
        text = f"{len(capture)} views of {capture.cameras.width}x{capture.cameras.height}"
        if "rendered" in pictures:
            true, rendered = (torch.from_numpy(pictures[name])[None] for name in ("image", "rendered"))
            text += f"; view {view} rendered: PSNR {float(psnr(rendered, true)):.1f} dB"
        return text

    def cloud(self, id: str) -> Cloud | None:
        """Points of a capture: of the run's field, COLMAP's, or those of exact depth; None if it has none of these."""
        return self._clouds.get(id, lambda: self._cloud(self.capture(id)))

    def _cloud(self, capture: Capture) -> Cloud | None:
        if self.renderer is not None:
            return self.renderer.cloud(capture)
        if isinstance(self.captures, COLMAP):
            points = self.captures.points(capture.id)[:POINTS]
            return (
                Cloud(points, {"colour": np.tile(np.array(GREY, dtype=np.uint8), (len(points), 1))})
                if len(points)
                else None
            )
        return depth_cloud(capture) if capture.has_depth else None


class ObjectRenderer:
    """A field of Semantic SRN with the codes of an evaluation.

    Args:
        folder: of the evaluation: `metrics.json`, `codes.safetensors` and, unless the checkpoint lies elsewhere, `model`.
        config: of the evaluation.
    """

    def __init__(self, folder: Path, config: DictConfig) -> None:
        model = folder / "model" if (folder / "model").is_dir() else Path(str(config.checkpoint))
        self.field, record = load_field(model)
        self.names = tuple(record["label_names"])
        self.background = self.names.index(BACKGROUND_NAME) if BACKGROUND_NAME in self.names else None
        self.codes = load_file(folder / "codes.safetensors")

    def pictures(self, capture: Capture, view: int) -> dict[str, NDArray[np.uint8]]:
        """See `Renderer`."""
        views = render_views(self.field, self.codes[capture.id], capture, [view], self.background)
        image = (views.images[0] * 255).round().byte().numpy()
        return {"rendered": image, "rendered labels": label_picture(views.labels[0].numpy(), self.names)}

    def cloud(self, capture: Capture) -> Cloud:
        """See `Renderer`."""
        views = render_views(self.field, self.codes[capture.id], capture, spread(len(capture)), self.background)
        order = torch.randperm(len(views.points), generator=torch.Generator().manual_seed(0))[:POINTS]
        colours = {"labels": label_picture(views.point_labels[order].numpy(), self.names)}
        return Cloud(views.points[order].numpy(), colours)


class SceneRenderer:
    """A radiance field of scripts/fit.py."""

    def __init__(self, folder: Path) -> None:
        self.field, self.space, self.record = load_radiance(folder / "model")

    def pictures(self, capture: Capture, view: int) -> dict[str, NDArray[np.uint8]]:
        """See `Renderer`."""
        still = still_background(capture, self.record["views"]) if self.record["background"] == "still" else None
        views = render_scene_views(self.field, self.space, capture, [view], self.record["samples"], still)
        return {"rendered": (views.images[0] * 255).round().byte().numpy()}

    def cloud(self, capture: Capture) -> Cloud:
        """See `Renderer`."""
        views, samples = self.record["views"], self.record["samples"]
        points, colours = scene_points(self.field, self.space, capture, views, samples, POINTS // 4, seed=0)
        return Cloud(points.numpy(), {"colour": colours.numpy()})


def is_capture_run(folder: Path) -> bool:
    """Whether a folder holds a run of Semantic SRN, of open_vocabulary or of scripts/fit.py."""
    return system_of(folder) in (SYSTEM, WORDS) or _is_fit(folder)


def _is_fit(folder: Path) -> bool:
    return (folder / FILE).is_file()


def run_folders(folder: Path) -> list[Path]:
    """The runs of a pipeline in order; any other folder is a run itself.

    Raises:
        InputError: a pipeline without runs.
    """
    if _is_fit(folder) or not (folder / "table.json").exists():
        return [folder]
    system = system_of(folder)
    runs = sorted((folder / str(system)).glob("run_*"), key=lambda run: int(run.name.removeprefix("run_")))
    if not runs:
        raise InputError(f"run={folder}: no {system}/run_* is there: run the pipeline again")
    return runs


def _of_run(folder: Path, data_root: str | None) -> tuple[CaptureSet, list[str], Renderer]:
    """Captures, ids and renderer of a run."""
    metrics = read_stage(folder / (FILE if _is_fit(folder) else "metrics.json"), ("config",))
    config: Any = OmegaConf.create(metrics["config"])
    if data_root is not None:
        (config.capture.shapes if "shapes" in config.capture else config.capture).root = data_root
    try:
        captures = make_capture_set(config.capture)
    except InputError as error:
        raise InputError(f"{error}; say where the data of run={folder} is with data_root=DIR") from error
    if config.get("system") == WORDS:
        words = WordRenderer(folder, config)
        return captures, [words.scene.capture.id], words
    if "radiance" in config:
        scene = SceneRenderer(folder)
        return captures, [scene.record["capture"]], scene
    return captures, list(metrics["split"]["ids"]), ObjectRenderer(folder, config)
