"""From object to object along a line of codes (scripts/interpolate.py): appearance and labels as a film strip."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from omegaconf import DictConfig
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file

from mvdecor.apps.segment_image import Degrees, Distance, Elevation, label_legend, pictures_of, side_by_side
from mvdecor.engine.settings import Device, check_out
from mvdecor.errors import InputError
from mvdecor.figures import save_png
from mvdecor.figures.animation import check_animation, save_animation
from mvdecor.figures.layout import sheet, stack
from mvdecor.image_segmenter import ImageSegmenter, InferredObject, between, pose_at
from mvdecor.settings import PathName, Settings, WholeNumber
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import pinhole


class InterpolateSettings(Settings):
    """configs/interpolate.yaml."""

    checkpoint: PathName
    objects: Annotated[
        list[str | int], Field(min_length=2, description="name at least two objects: objects=[10000,10003]")
    ]
    codes: PathName | None
    out: PathName
    steps: Annotated[int, Field(ge=2, description="give at least 2 pictures")]
    azimuth: float
    elevation: Elevation
    distance: Distance
    fov: Degrees
    size: Annotated[int, Field(ge=8, description="give at least 8 pixels")]
    animation: Literal["gif", "mp4"]
    seed: WholeNumber
    device: Device


def run_interpolate(cfg: DictConfig) -> None:
    """Write `out/strip.png`, a row of images and one of label maps from object to object, and `out/strip.gif`.

    Raises:
        InputError: a bad setting or checkpoint, or an object without a code.
    """
    settings = InterpolateSettings.of(cfg)
    out = Path(settings.out)
    check_out(out)
    check_animation(settings.animation)
    segmenter = ImageSegmenter(settings.checkpoint, settings.device, settings.seed)
    ids = [str(id) for id in settings.objects]
    ends = [_object(segmenter, id, settings.codes) for id in ids]
    pose = pose_at(settings.azimuth, settings.elevation, settings.distance)[None]
    camera = Cameras.from_poses(pose, pinhole(1, settings.size, settings.fov).numpy(), settings.size, settings.size)
    strips, frames = [], []
    for (first, last), names in zip(pairwise(ends), pairwise(ids), strict=True):
        objects = between(first, last, settings.steps)
        images, maps = zip(
            *((image[0], labels[0]) for image, labels in (pictures_of(o, o.views(camera)) for o in objects))
        )
        columns = [names[0], *[""] * (settings.steps - 2), names[1]]
        strips.append(sheet([list(images), list(maps)], columns=columns, rows=["rendered", "labels"]))
        frames += side_by_side(images, maps)
    save_png(out / "strip.png", stack([*strips, label_legend(ends[0], strips[0].shape[1])]))
    save_animation(out / f"strip.{settings.animation}", [*frames, *frames[-2:0:-1]])
    print(f"{len(frames)} pictures from {' to '.join(ids)}: {out}")


def _object(segmenter: ImageSegmenter, id: str, codes: str | None) -> InferredObject:
    """Of a training capture, or of one whose code is in a file."""
    if codes is None:
        return segmenter.trained(id)
    try:
        codes_by_id = load_file(codes)
    except (OSError, SafetensorError) as error:
        raise InputError(f"codes={codes}: cannot be read ({error}): name codes.safetensors of an evaluation") from error
    if id not in codes_by_id:
        raise InputError(f"codes={codes}: holds no object {id}; it holds {', '.join(list(codes_by_id)[:5])}, ...")
    code = codes_by_id[id].to(segmenter.field.codes.weight)
    if code.shape != segmenter.field.codes.weight.shape[1:]:
        raise InputError(f"codes={codes}: its codes are of another field (length {len(code)}): give that field's")
    return InferredObject(code, segmenter.label_names, segmenter.field)
