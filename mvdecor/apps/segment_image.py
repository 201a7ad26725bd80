"""One image of a new object (scripts/segment_image.py): views all round, label maps, labelled points, labels on a mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from pydantic import Field

from mvdecor.captures.image_files import read_image
from mvdecor.captures.pose_file import ImagePose, read_pose
from mvdecor.engine.settings import Device, check_out
from mvdecor.errors import InputError
from mvdecor.fields import FieldViews
from mvdecor.figures import colours_of, label_palette, save_png, write_ply
from mvdecor.figures.animation import check_animation, save_animation
from mvdecor.figures.cloud import write_cloud
from mvdecor.figures.layout import legend, sheet, stack
from mvdecor.files import write_array
from mvdecor.image_segmenter import ImageSegmenter, InferredObject, pose_at, turntable
from mvdecor.lifting.points import labels_from_points
from mvdecor.settings import Count, PathName, Settings, WholeNumber
from mvdecor.shapes.mesh_files import read_mesh

WHITE = 250
"""From this on, a value is white to the warning about backgrounds."""
NEIGHBOURS = 9
"""Nearest points that vote on a face."""
Pictures = Sequence[NDArray[np.uint8]]
Degrees = Annotated[float, Field(gt=0, lt=180, description="give degrees between 0 and 180")]
Distance = Annotated[float, Field(gt=1, description="give a distance above 1, outside of the unit sphere")]
Elevation = Annotated[float, Field(ge=-90, le=90, description="give degrees between -90 and 90")]


class SegmentImageSettings(Settings):
    """configs/segment_image.yaml."""

    image: PathName
    checkpoint: PathName
    out: PathName
    mask: PathName | None
    pose: PathName | None
    axes: Literal["opencv", "opengl", "llff", "pytorch3d"]
    azimuth: float
    elevation: Elevation
    distance: Distance
    fov: Degrees
    mesh: PathName | None
    normalize: bool
    count: Count
    size: Annotated[int, Field(ge=8, description="give at least 8 pixels")]
    animation: Literal["gif", "mp4"]
    seed: WholeNumber
    device: Device


def run_segment_image(cfg: DictConfig) -> None:
    """Infer the object of an image; writes `out/views.png`, `turntable.gif`, `labels.npy`, `cloud.ply` and `mesh.ply`.

    Raises:
        InputError: a bad setting, image, mask, pose, mesh or checkpoint.
    """
    settings = SegmentImageSettings.of(cfg)
    out, image = Path(settings.out), Path(settings.image)
    check_out(out)
    check_animation(settings.animation)
    segmenter = ImageSegmenter(settings.checkpoint, settings.device, settings.seed)
    camera = _camera(settings, image)
    warn_of_background(image, settings.mask)
    try:
        inferred = segmenter.infer(
            image, camera.pose, settings.fov, axes=camera.axes, intrinsics=camera.intrinsics, mask=settings.mask
        )
    except InputError as error:
        raise InputError(
            str(error).replace("pose:", f"{settings.pose}:", 1) if settings.pose else str(error)
        ) from error
    views = inferred.views(turntable(settings.count, settings.size, distance=settings.distance, fov=settings.fov))
    images, maps = pictures_of(inferred, views)
    columns = [f"{360 * i // settings.count} degrees" for i in range(settings.count)]
    page = sheet([images, maps], columns=columns, rows=["rendered", "labels"])
    save_png(out / "views.png", stack([page, label_legend(inferred, page.shape[1])]))
    save_animation(out / f"turntable.{settings.animation}", side_by_side(images, maps))
    write_cloud(out / "cloud.ply", views.points, views.point_labels, views.confidence, inferred.label_names)
    write_array(out / "labels.npy", views.labels.numpy().astype(np.int16))
    on_mesh = ""
    if settings.mesh is not None:
        label_mesh(Path(settings.mesh), settings.normalize, views, inferred.label_names, out / "mesh.ply")
        on_mesh = ", mesh.ply"
    print(f"{settings.count} views, {len(views.points)} labelled points{on_mesh}: {out}")


def pictures_of(inferred: InferredObject, views: FieldViews) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Images and label maps of views, uint8 [H, W, 3] each; the background is white."""
    palette = label_palette(len(inferred.label_names))
    if inferred.background is not None:
        palette[inferred.background] = 255
    images = (views.images * 255).round().byte().numpy()
    return list(images), [colours_of(labels, palette) for labels in views.labels.numpy()]


def side_by_side(images: Pictures, maps: Pictures) -> list[NDArray[np.uint8]]:
    """Each image beside its label map."""
    return [np.concatenate(pair, axis=1) for pair in zip(images, maps, strict=True)]


def label_legend(inferred: InferredObject, width: int) -> NDArray[np.uint8]:
    """The names of the parts in their colours, `width` pixels wide."""
    parts = [k for k in range(len(inferred.label_names)) if k != inferred.background]
    return legend([inferred.label_names[k] for k in parts], label_palette(len(inferred.label_names))[parts], width)


def label_mesh(path: Path, normalize: bool, views: FieldViews, label_names: tuple[str, ...], file: Path) -> None:
    """Write a mesh with the labels of the nearest points, its vertices as in its file.

    Args:
        path: the mesh, of the object in the image.
        normalize: move and scale it into the unit sphere first, as captures of shapes are; else it is in the points' frame.
        views: of the object.
        label_names: of the field.
        file: to write.
    """
    shape = read_mesh(path)
    labels = labels_from_points(
        shape.normalized() if normalize else shape, views.points, views.point_labels, len(label_names), NEIGHBOURS
    )
    write_ply(file, replace(shape, face_labels=None, label_names=label_names), labels)


def warn_of_background(image: Path, mask: str | None) -> None:
    """Say so if what is around the object seems to be neither transparent nor white: it would be taken for the object."""
    rgb, alpha = read_image(image)
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    if mask is None and alpha is None and (border < WHITE).any(axis=-1).mean() > 0.5:
        print(
            f"warning: {image}: its border is not white, and it has no alpha channel: if the field was trained on objects "
            "before white, cut the object out, or give mask=FILE",
            flush=True,
        )


def _camera(settings: SegmentImageSettings, image: Path) -> ImagePose:
    if settings.pose is not None:
        return read_pose(Path(settings.pose), image, settings.axes)
    return ImagePose(pose_at(settings.azimuth, settings.elevation, settings.distance), "opencv", None)
