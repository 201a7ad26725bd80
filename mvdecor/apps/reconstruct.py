"""One photograph (scripts/reconstruct.py): posed, textured mesh, camera, part labels, and pictures of it turned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from omegaconf import DictConfig
from pydantic import Field

from mvdecor.engine.settings import Device, check_out
from mvdecor.figures import colours_of, label_palette, save_png
from mvdecor.figures.layout import sheet
from mvdecor.figures.meshes import render_shape, turntable_cameras
from mvdecor.figures.textured import write_textured_glb, write_textured_obj
from mvdecor.files import write_array, write_json
from mvdecor.image_reconstructor import ImageReconstructor, Reconstruction
from mvdecor.settings import Count, PathName, Settings
from mvdecor.shapes.shape import Shape
from mvdecor.views.channels import render_channels
from mvdecor.views.rasterizers import make_rasterizer
from mvdecor.views.views import surface_of


class ReconstructSettings(Settings):
    """configs/reconstruct.yaml."""

    image: PathName
    mask: PathName | None
    checkpoint: PathName
    out: PathName
    mirror: bool
    count: Count
    size: Annotated[int, Field(ge=8, description="give at least 8 pixels")]
    device: Device


def run_reconstruct(cfg: DictConfig) -> None:
    """Reconstruct a photograph; writes `out/mesh.glb`, `mesh.obj`, `turned.png`, `camera.json`, `labels.npy`, `labels.png`.

    Raises:
        InputError: a bad setting, image, mask or checkpoint; or no camera fits.
    """
    settings = ReconstructSettings.of(cfg)
    out = Path(settings.out)
    check_out(out)
    reconstructor = ImageReconstructor(settings.checkpoint, settings.device, settings.mirror)
    result = reconstructor.reconstruct(settings.image, settings.mask)
    write_reconstruction(out, result, Path(settings.image).stem, settings.count, settings.size)
    print(f"mesh, camera and pictures: {out}")


def write_reconstruction(out: Path, result: Reconstruction, name: str, count: int = 6, size: int = 192) -> None:
    """Write `mesh.glb`, `mesh.obj`, `turned.png`, `camera.json` and, if the template has part labels, `labels.*`.

    Args:
        out: a folder, made if it is not there.
        result: what is written.
        name: of the mesh.
        count: sides that the mesh is pictured from.
        size: pixels per side of these pictures.

    Raises:
        InputError: a file cannot be written.
    """
    posed = replace(result.posed, id=name)
    write_textured_glb(out / "mesh.glb", posed)
    write_textured_obj(out / "mesh.obj", posed)
    rows = [turned(posed, count, size)]
    names = ["texture"]
    if posed.face_labels is not None:
        palette = label_palette(len(posed.label_names))
        labels = result.labels
        write_array(out / "labels.npy", labels.astype(np.int16))
        save_png(out / "labels.png", overlay(result, palette))
        write_json(out / "labels.json", {"labels": list(posed.label_names), "face_labels": posed.face_labels.tolist()})
        colours = colours_of(posed.face_labels.numpy(), palette)
        pictures = render_shape(posed, colours, size, count, elevation=15.0, azimuth=0.0)
        rows.append(np.split(pictures, count, axis=1))
        names.append("labels")
    save_png(out / "turned.png", sheet(rows, rows=names))
    write_json(out / "camera.json", result.camera())


def turned(shape: Shape, views: int, size: int) -> list[np.ndarray]:
    """uint8 [size, size, 3] each: a textured mesh from sides at equal angles, the first one the camera's, on white."""
    shape = shape.normalized()
    cameras = turntable_cameras(shape, views, size, elevation=15.0, azimuth=0.0)
    seen = make_rasterizer("embree")([shape], [cameras])[0]
    surface = surface_of(shape, seen)
    image = render_channels(shape, seen, surface)[:, 0]
    image = torch.where(surface.mask[:, 0, None], image, 1.0)
    return list((image * 255).round().byte().permute(0, 2, 3, 1).numpy())


def overlay(result: Reconstruction, palette: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], the photograph with its part labels in colours."""
    assert result.shape.texture is not None
    image, labels = result.shape.texture.images[0].numpy(), result.labels
    colours = colours_of(labels, palette)
    return np.where((labels >= 0)[..., None], image // 2 + colours // 2, image).astype(np.uint8)
