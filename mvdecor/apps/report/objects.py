"""Objects of a run of Semantic SRN for its page: rendered again from their codes, beside the truth, flat and in 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mvdecor.apps.report.charts import short_names
from mvdecor.apps.report.shapes import FACES, mesh_trace, on_turntables, scenes, thin_out, upright_axes
from mvdecor.captures import BACKGROUND_NAME, Capture, CaptureSet, RenderedCaptures, make_capture_set, measured_views
from mvdecor.errors import InputError
from mvdecor.evaluation import ViewMetrics
from mvdecor.fields import ConditionalField, FieldViews, load_field, render_views
from mvdecor.figures import colours_of, label_palette
from mvdecor.figures.layout import legend, stack
from mvdecor.figures.rendered_views import plot_views
from mvdecor.lifting.points import labels_from_points
from mvdecor.shapes import Shape

VIEWS = 6
"""Views of each object at most."""
POINTS = 6000
"""Points of each object's cloud in 3D at most."""


@dataclass(frozen=True)
class ReportedObject:
    """An object as its field shows it.

    Attributes:
        rank: "worst", "best", or "test" where objects are not ranked.
        id: of its capture.
        figures: PSNR, SSIM, label mIoU and part mIoU by name; None where not known.
        picture: uint8 [H, W, 3], the given image, renderings and label maps beside the truth.
        points, point_labels: float32 [P, 3] and int64 [P], the labelled cloud.
        label_names: of the labels.
        shape: the true mesh; None if the capture is not of one.
        face_labels: int64 [F] of the mesh, from the cloud.
    """

    rank: str
    id: str
    figures: dict[str, float | None]
    picture: NDArray[np.uint8]
    points: Tensor
    point_labels: Tensor
    label_names: tuple[str, ...]
    shape: Shape | None
    face_labels: Tensor | None


def objects_of(folder: Path, metrics: Mapping[str, Any], count: int, data_root: str | None) -> list[ReportedObject]:
    """The `count` worst objects of an evaluation and the `count` best; without meshes the first 2 `count`.

    Args:
        folder: of the evaluation.
        metrics: its metrics.json.
        count: 0 reads nothing.
        data_root: where the data is now; None = where it was.

    Raises:
        InputError: captures, codes or the model cannot be read, or are not those of the evaluation.
    """
    if count == 0:
        return []
    ranks = _ranked(metrics, count)
    config: Any = OmegaConf.create(metrics["config"])
    node = config.capture
    if data_root is not None:
        (node.shapes if "shapes" in node else node).root = data_root
    model = folder / "model" if (folder / "model").is_dir() else Path(str(config.checkpoint))
    field, record = load_field(model)
    if record["weights_sha256"] != metrics["weights_sha256"]:
        raise InputError(f"{model}: is not the model that {folder}/metrics.json is of: evaluate again")
    codes = _codes(folder / "codes.safetensors")
    try:
        captures = make_capture_set(node)
        loaded = {id: captures.load(id) for id in ranks}
    except InputError as error:
        raise InputError(f"{error}; the report shows test objects: say where they are with data_root=DIR") from error
    objects = []
    for id, rank in ranks.items():
        if id not in codes:
            raise InputError(f"{folder}/codes.safetensors: holds no code of {id}: evaluate again")
        input_views = metrics["given"]["views"][id]
        entry = _object(field, codes[id], captures, loaded[id], input_views, rank, config.evaluation.neighbours)
        parts = {"part mIoU": metrics["shapes"][id]["miou"]} if metrics.get("shapes") else {}
        objects.append(replace(entry, figures=entry.figures | parts))
    return objects


def _ranked(metrics: Mapping[str, Any], count: int) -> dict[str, str]:
    """Ids with their ranks, worst first, then best first."""
    shapes = metrics.get("shapes")
    if not shapes:
        return dict.fromkeys(metrics["split"]["ids"][: 2 * count], "test")
    ranked = sorted(shapes, key=lambda id: shapes[id]["miou"])
    worst = dict.fromkeys(ranked[:count], "worst")
    return worst | dict.fromkeys([id for id in ranked[::-1][:count] if id not in worst], "best")


def _codes(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: codes cannot be read ({error}): evaluate again") from error


def _object(
    field: ConditionalField,
    code: Tensor,
    captures: CaptureSet,
    capture: Capture,
    input_views: list[int],
    rank: str,
    neighbours: int,
) -> ReportedObject:
    names = tuple(captures.label_names)
    background = names.index(BACKGROUND_NAME) if BACKGROUND_NAME in names else None
    views = measured_views(len(capture), VIEWS)
    rendered = render_views(field, code, capture, views, background)
    shape = captures.shapes.load(capture.id) if isinstance(captures, RenderedCaptures) else None
    face_labels = None
    if shape is not None:
        cloud = rendered.points, rendered.point_labels
        face_labels = labels_from_points(shape, *cloud, len(captures.shapes.label_names), neighbours)  # type: ignore[attr-defined]
    images = capture.images(views), (rendered.images * 255).round().to(torch.uint8)
    truth = capture.labels(views) if set(views) <= set(capture.labelled) else None
    given_image = capture.images((input_views or views)[:1])[0]
    picture = plot_views(given_image, views, images, (rendered.labels, truth), names, background)
    parts = [k for k in range(len(names)) if k != background]
    colours = label_palette(len(names))[parts]
    picture = stack([picture, legend(short_names([names[k] for k in parts]), colours, picture.shape[1])])
    keep = np.linspace(0, len(rendered.points) - 1, min(POINTS, len(rendered.points))).astype(int)
    figures = _figures(names, background, capture, views, input_views, rendered)
    cloud = rendered.points[keep], rendered.point_labels[keep]
    return ReportedObject(rank, capture.id, figures, picture, *cloud, names, shape, face_labels)


def _figures(
    names: tuple[str, ...],
    background: int | None,
    capture: Capture,
    views: Sequence[int],
    input_views: list[int],
    rendered: FieldViews,
) -> dict[str, float | None]:
    """Of one object, over the views in its picture that were not given."""
    metrics = ViewMetrics(names, background, {capture.id: input_views})
    metrics.add_images(capture.id, views, rendered.images, capture.images(views).float() / 255)
    labelled = [i for i, view in enumerate(views) if view in capture.labelled]
    if labelled:
        labelled_views = [views[i] for i in labelled]
        metrics.add_labels(capture.id, labelled_views, rendered.labels[labelled], capture.labels(labelled_views).long())
    result = metrics.result()
    miou = result["labels"]["miou"] if result["labels"] else None
    return {"PSNR": result["psnr"], "SSIM": result["ssim"], "label mIoU": miou}


def turning_objects(objects: Sequence[ReportedObject]) -> go.Figure:
    """For each object its labelled cloud, and its mesh with the cloud's labels and the true ones; a menu of the objects."""
    has_meshes = all(entry.shape is not None for entry in objects)
    columns = ["labelled points", "mesh, labels of the points", "truth"] if has_meshes else ["labelled points"]
    figure = scenes(columns)
    limit = FACES // (2 * len(objects))
    for number, entry in enumerate(objects):
        palette = label_palette(len(entry.label_names))
        x, y, z = upright_axes(entry.points.numpy()).T
        colours = [f"rgb({r},{g},{b})" for r, g, b in colours_of(entry.point_labels.numpy(), palette).tolist()]
        marker = {"size": 2, "color": colours}
        cloud = go.Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
        figure.add_trace(cloud.update(visible=number == 0), row=1, col=1)
        if has_meshes and entry.shape is not None and entry.face_labels is not None:
            vertices, faces, face_ids = thin_out(entry.shape, limit)
            truth = entry.shape.face_labels
            assert truth is not None, "only labelled shapes are measured"
            for column, labels in enumerate((entry.face_labels, truth), start=2):
                face_colours = colours_of(labels.numpy()[face_ids], palette)
                figure.add_trace(mesh_trace(vertices, faces, face_colours, number == 0), row=1, col=column)
    extent = max(1.0, *(float(entry.points.abs().quantile(0.99)) for entry in objects))
    return on_turntables(figure, [f"{entry.rank}: {entry.id}" for entry in objects], len(columns), extent)
