"""One image of a new object (scripts/segment_image.py): views all round, label maps and labelled points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from omegaconf import DictConfig
from PIL import Image
from pydantic import Field

from mvdecor.captures.srn import read_matrix
from mvdecor.engine.settings import Device, check_out
from mvdecor.figures import colours_of, label_palette, save_png
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.layout import sheet
from mvdecor.files import write_array
from mvdecor.image_segmenter import ImageSegmenter, pose_at, turntable
from mvdecor.settings import Count, PathName, Settings, WholeNumber

FRAME = 120
"""Milliseconds of a frame of the GIF."""


class SegmentImageSettings(Settings):
    """configs/segment_image.yaml."""

    image: PathName
    checkpoint: PathName
    out: PathName
    pose: PathName | None
    azimuth: float
    elevation: Annotated[float, Field(ge=-90, le=90, description="give degrees between -90 and 90")]
    distance: Annotated[float, Field(gt=1, description="give a distance above 1, outside of the unit sphere")]
    fov: Annotated[float, Field(gt=0, lt=180, description="give degrees between 0 and 180")]
    count: Count
    size: Annotated[int, Field(ge=8, description="give at least 8 pixels")]
    seed: WholeNumber
    device: Device


def run_segment_image(cfg: DictConfig) -> None:
    """Infer the object of an image; writes `out/views.png`, `turntable.gif`, `cloud.ply` and `labels.npy`.

    Raises:
        InputError: a bad setting, image, pose or checkpoint.
    """
    settings = SegmentImageSettings.of(cfg)
    out = Path(settings.out)
    check_out(out)
    segmenter = ImageSegmenter(settings.checkpoint, settings.device, settings.seed)
    if settings.pose is not None:
        pose = read_matrix(Path(settings.pose))
    else:
        pose = pose_at(settings.azimuth, settings.elevation, settings.distance)
    inferred = segmenter.infer(settings.image, pose, settings.fov)
    views = inferred.views(turntable(settings.count, settings.size, distance=settings.distance, fov=settings.fov))
    images = (views.images * 255).round().byte().numpy()
    palette = label_palette(len(inferred.label_names))
    if inferred.background is not None:
        palette[inferred.background] = 255
    maps = [colours_of(labels, palette) for labels in views.labels.numpy()]
    columns = [f"{360 * i // settings.count} degrees" for i in range(settings.count)]
    save_png(out / "views.png", sheet([list(images), maps], columns=columns, rows=["rendered", "labels"]))
    frames = [Image.fromarray(np.concatenate(pair, axis=1)) for pair in zip(images, maps, strict=True)]
    frames[0].save(out / "turntable.gif", save_all=True, append_images=frames[1:], duration=FRAME, loop=0)
    write_cloud(out / "cloud.ply", views.points, views.point_labels, views.confidence, inferred.label_names)
    write_array(out / "labels.npy", views.labels.numpy().astype(np.int16))
    print(f"{len(views.points)} labelled points, {settings.count} views: {out}")
