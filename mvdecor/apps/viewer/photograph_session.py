"""`PhotographSession`: a run of To The Point in the viewer without a browser: photographs, meshes, and how good they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from mvdecor.apps.reconstruct import overlay, write_reconstruction
from mvdecor.apps.report.reconstructions import SYSTEM
from mvdecor.apps.viewer.capture_session import run_folders
from mvdecor.captures.photo_batches import Crop, keypoint_columns
from mvdecor.captures.photographs import Photograph
from mvdecor.errors import InputError
from mvdecor.evaluation.reconstructions import ReconstructionMetrics
from mvdecor.figures import colours_of, label_palette
from mvdecor.figures.carried import position_colours
from mvdecor.figures.glb import glb_bytes
from mvdecor.figures.meshes import SURE_COLOUR, UNSURE_COLOUR, confidence_colours
from mvdecor.figures.textured import textured_glb
from mvdecor.image_reconstructor import ImageReconstructor, Reconstruction
from mvdecor.recent import Recent
from mvdecor.results.runs import read_stage, system_of
from mvdecor.shapes.shape import Shape
from mvdecor.systems.to_the_point.evaluate import measure
from mvdecor.systems.to_the_point.model import Solved, is_model
from mvdecor.systems.to_the_point.photos import photographs_of
from mvdecor.systems.to_the_point.truth import TrueShapes

CACHE_SIZE = 32
"""Photographs whose reconstructions stay in memory."""
IN_BOTH, MASK_ALONE, MESH_ALONE, NEITHER = (190, 220, 190), (38, 114, 196), (214, 32, 32), (255, 255, 255)
"""Colours of pixels: in mask and silhouette, or in one of the two."""
FIELD_OF_VIEW = 5.0
"""Degrees; narrow, so that a perspective camera sees much what an orthographic one does."""

Legend = list[tuple[tuple[int, ...], str]]
"""Colours and their names."""


@dataclass(frozen=True)
class Look:
    """A perspective camera that sees the posed mesh nearly as the photograph's camera does.

    Attributes:
        position, target: float64 [3], in the axes of `Reconstruction.posed`; up is +y.
        fov: vertical field of view, radians.
    """

    position: NDArray[np.float64]
    target: NDArray[np.float64]
    fov: float


class PhotographSession:
    """The photographs that a run of To The Point was evaluated on, and what its models make of them.

    Args:
        cfg: configs/view.yaml; `run` is the folder of a pipeline or of one evaluation.

    Attributes:
        ids: of the photographs, at least one.
        models: names of the run's models; the first one is chosen at first.
        modes: what the mesh can be coloured by.
        out: folder of what is exported.

    Raises:
        InputError: a run, a model or photographs that cannot be read, or no photographs.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.out, self._device = Path(cfg.out), cfg.device
        self._folders = _evaluations(Path(cfg.run))
        self.models = tuple(self._folders)
        metrics = read_stage(self._folders[self.models[0]] / "metrics.json", ("config", "split"))
        config: Any = OmegaConf.create(metrics["config"])
        self._config = config
        if cfg.data_root is not None:
            config.photographs["root" if "root" in config.photographs else "images"] = cfg.data_root
        try:
            self._photographs, ids = photographs_of(config, cfg.split or metrics["split"]["name"], None)
        except InputError as error:
            raise InputError(f"{error}; say where the photographs of run={cfg.run} are with data_root=DIR") from error
        self.ids = ids if cfg.split else list(metrics["split"]["ids"])
        self._reconstructors: dict[str, ImageReconstructor] = {}
        self._solved: Recent[tuple[Photograph, Crop, Solved]] = Recent(CACHE_SIZE)
        self._reconstructions: Recent[Reconstruction] = Recent(CACHE_SIZE)
        self.choose_model(self.models[0])

    @property
    def modes(self) -> tuple[str, ...]:
        """What the mesh can be coloured by."""
        labelled = self._reconstructor.template.shape.face_labels is not None
        return ("texture", "position", *(["labels"] if labelled else []), "visibility")

    def choose_model(self, name: str) -> None:
        """Show what another one of `models` makes of the photographs.

        Raises:
            InputError: it cannot be read.
        """
        if name not in self._reconstructors:
            folder = self._folders[name]
            mirror = bool(self._config.evaluation.mirror)
            self._reconstructors[name] = ImageReconstructor(_checkpoint(folder), self._device, mirror)
        self.model = name

    @property
    def _reconstructor(self) -> ImageReconstructor:
        return self._reconstructors[self.model]

    def photograph(self, id: str) -> Photograph:
        """A photograph. Raises InputError if it is bad."""
        return self._solution(id)[0]

    def reconstruction(self, id: str) -> Reconstruction:
        """What the chosen model makes of a photograph.

        Raises:
            InputError: a bad photograph, or no camera fits.
        """
        return self._reconstructions.get(
            (self.model, id), lambda: self._reconstructor.reconstruction(*self._solution(id))
        )

    def figures(self, id: str) -> dict[str, Any]:
        """`ReconstructionMetrics.result` of one photograph: the figures that `scripts/evaluate.py` averages.

        Raises:
            InputError: a bad photograph.
        """
        photograph, crop, solved = self._solution(id)
        settings = self._config.evaluation
        metrics = ReconstructionMetrics(settings.threshold, settings.points, self._config.seed)
        truths = TrueShapes(self._config.photographs.get("root"))
        with torch.no_grad():
            model = self._reconstructor.model
            measure(metrics, model, [(photograph, crop)], truths, solved.fit, solved.positions)
        return metrics.result()

    def note(self, id: str) -> str:
        """The figures of a photograph in one line, as far as they are known.

        Raises:
            InputError: a bad photograph.
        """
        figures = self.figures(id)
        texts = [f"mask IoU {figures['mask_iou']:.3f}"]
        if (rotation := figures["rotation"]) is not None:
            swapped = " (front and back swapped)" if rotation["front_back_swaps"] else ""
            texts.append(f"rotation {rotation['median']:.1f} degrees off{swapped}")
        if (shares := figures["pck"]["projected"]) is not None:
            texts.append("PCK " + ", ".join(f"{share:.2f} at {threshold}" for threshold, share in shares.items()))
        if figures["labels"] is not None and figures["labels"]["miou"] is not None:
            texts.append(f"label mIoU {figures['labels']['miou']:.3f}")
        return "; ".join(texts)

    def pictures(self, id: str) -> dict[str, NDArray[np.uint8]]:
        """The photograph around its object, its mask against the mesh's silhouette, and part labels; uint8 [H, W, 3] each.

        Without a camera that fits, the photograph and its mask alone.

        Raises:
            InputError: a bad photograph.
        """
        photograph, crop, _ = self._solution(id)
        assert photograph.mask is not None, "what has no mask was refused"
        pictures = {"photograph": photograph.image}
        try:
            result = self.reconstruction(id)
        except InputError:
            silhouette = np.zeros_like(photograph.mask)
        else:
            silhouette = result.face_ids >= 0
            if "labels" in self.modes:
                pictures["labels"] = overlay(result, label_palette(len(result.shape.label_names)))
        table = np.array([NEITHER, MASK_ALONE, MESH_ALONE, IN_BOTH], dtype=np.uint8)
        pictures["mask"] = table[photograph.mask + 2 * silhouette]
        return {name: _around(pictures[name], crop) for name in ("photograph", "mask", "labels") if name in pictures}

    def glb(self, id: str, mode: str) -> bytes:
        """The posed mesh as a GLB file, coloured by one of `modes`.

        Raises:
            InputError: a bad photograph, or no camera fits.
        """
        return self._coloured(self.reconstruction(id), self.reconstruction(id).posed, mode)

    def template_glb(self, id: str, mode: str) -> bytes:
        """The undeformed template from the same side, in the same colours; see `glb`."""
        result = self.reconstruction(id)
        vertices = self._reconstructor.template.shape.vertices
        return self._coloured(result, replace(result, shape=result.shape.with_vertices(vertices)).posed, mode)

    def width(self, id: str) -> float:
        """Of the posed mesh and the template together, in template units."""
        result = self.reconstruction(id)
        turned = self._reconstructor.template.shape.vertices @ result.rotation[0]
        return float(max(np.ptp(result.posed.vertices[:, 0].numpy()), np.ptp(turned.numpy())))

    def legend(self, mode: str) -> Legend:
        """The colours of a mode and what they mean."""
        if mode == "labels":
            names = self._reconstructor.template.shape.label_names
            colours = label_palette(len(names)).tolist()
            return [(tuple(colour), name) for colour, name in zip(colours, names, strict=True)]
        if mode == "visibility":
            return [(SURE_COLOUR, "seen, says the network"), (UNSURE_COLOUR, "hidden")]
        return []

    def look(self, id: str) -> Look:
        """A camera that sees what the photograph shows, as tall as the photograph.

        Raises:
            InputError: a bad photograph, or no camera fits.
        """
        result = self.reconstruction(id)
        height, width = result.face_ids.shape
        x, y = ((torch.tensor([width / 2, height / 2]) - result.shift) / result.scale).tolist()
        fov = math.radians(FIELD_OF_VIEW)
        distance = height / 2 / result.scale / math.tan(fov / 2)
        return Look(np.array([x, -y, distance]), np.array([x, -y, 0.0]), fov)

    def export(self, id: str) -> Path:
        """Write what `scripts/reconstruct.py` writes of a photograph into a folder below `out`, and give the folder.

        Raises:
            InputError: a bad photograph, no camera fits, or the folder cannot be written.
        """
        name = id.replace("/", "_").replace("\\", "_")
        folder = self.out / "export" / self.model / name
        write_reconstruction(folder, self.reconstruction(id), name)
        return folder

    def _solution(self, id: str) -> tuple[Photograph, Crop, Solved]:
        def solve() -> tuple[Photograph, Crop, Solved]:
            photograph = self._photographs.load(id)
            columns = keypoint_columns(self._photographs, list(self._reconstructor.template.keypoints))
            twins = bool(self._config.evaluation.twins)
            return photograph, *self._reconstructor.solve(photograph, columns, twins)

        return self._solved.get((self.model, id), solve)

    def _coloured(self, result: Reconstruction, posed: Shape, mode: str) -> bytes:
        if mode == "texture":
            return textured_glb(posed)
        faces, template = posed.faces.numpy(), self._reconstructor.template.shape
        if mode == "labels":
            assert posed.face_labels is not None, "a mode of templates with part labels"
            of_faces = colours_of(posed.face_labels.numpy(), label_palette(len(posed.label_names)))
            colours = of_faces[:, None].repeat(3, axis=1)
        elif mode == "visibility":
            colours = confidence_colours(result.visibility.numpy())[faces]
        else:
            everywhere = torch.ones(len(template.vertices), dtype=torch.bool)
            colours = position_colours(template, template.vertices, everywhere)[faces]
        return glb_bytes("mesh", posed.vertices.numpy()[faces], colours)


def is_photograph_run(folder: Path) -> bool:
    """Whether a folder holds a pipeline or an evaluation of To The Point."""
    return system_of(folder) == SYSTEM


def _evaluations(folder: Path) -> dict[str, Path]:
    """The evaluations of a pipeline by the name of their model, fine-tuned ones first; any other folder is one itself."""
    if not (folder / "table.json").exists():
        return {"model": folder}
    runs = run_folders(folder)
    by_model = {"fine-tuned" if len(runs) == 1 else f"fine-tuned, {run.name}": run for run in runs}
    return by_model | {"pretrained": folder / "pretrained"}


def _checkpoint(folder: Path) -> Path:
    """The model of an evaluation: beside it, or where it was when it was evaluated.

    Raises:
        InputError: there is none.
    """
    config = read_stage(folder / "metrics.json", ("config",))["config"]
    places = [folder / "model", folder.parent / "pretrain" / "model", Path(str(config.get("checkpoint")))]
    if folder.name != "pretrained":
        del places[1]
    for place in places:
        if is_model(place):
            return place
    raise InputError(
        f"run={folder}: its model is at none of {', '.join(map(str, places))}: put it there, or evaluate again"
    )


def _around(picture: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    """The part of a picture that a crop of it shows, as far as it lies in the picture."""
    left, top = (max(0, math.floor(corner)) for corner in crop.corner)
    right, bottom = (math.ceil(corner + crop.side) for corner in crop.corner)
    return picture[top:bottom, left:right]
