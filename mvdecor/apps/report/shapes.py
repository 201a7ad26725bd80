"""The worst and the best shapes of a run beside the ground truth: pictures and 3D meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
import torch
from omegaconf import OmegaConf
from plotly.subplots import make_subplots

from mvdecor.apps.report.charts import short_names, text
from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette, render_mesh_comparison
from mvdecor.figures.images import RIGHT_COLOUR, WRONG_COLOUR
from mvdecor.figures.meshes import confidence_colours
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.results.pipeline import Results
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.setup import make_shape_set

FACES = 150_000
"""Faces of all the page's meshes together: some 6 MB of it."""
TRUTH = "truth"
IN_A_ROW = 3

# Run in the page: a 3D view that was turned turns the others.
TURN_TOGETHER = """
const plot = document.getElementById('{plot_id}');
let turning = false;
plot.on('plotly_relayout', change => {
  const turned = Object.keys(change).find(key => /^scene\\d*\\.camera$/.test(key));
  if (!turned || turning) return;
  const cameras = {};
  for (const key of Object.keys(plot.layout)) {
    if (/^scene\\d*$/.test(key)) cameras[key + '.camera'] = change[turned];
  }
  turning = true;
  Plotly.relayout(plot, cameras).then(() => { turning = false; });
});
"""


@dataclass(frozen=True)
class ReportedShape:
    """A test shape of the first run of each method.

    Attributes:
        rank: "worst" or "best", by the last method.
        shape: the mesh with its true labels.
        labels: int [F] by column: "truth", then each method.
        miou: mean IoU of the shape's parts by method, percent.
        confidence: float [F] of the last method, in [0, 1]; None where the run kept none.
    """

    rank: str
    shape: Shape
    labels: dict[str, np.ndarray]
    miou: dict[str, float]
    confidence: np.ndarray | None = None


def worst_and_best(results: Results, count: int, data_root: str | None = None) -> list[ReportedShape]:
    """The `count` worst shapes of the last method's first run, worst first, then the `count` best, best first.

    Args:
        results: what was measured.
        count: shapes of each kind; fewer where there are not as many, and none twice.
        data_root: where the data set is; None = where it was when the run was evaluated.

    Raises:
        InputError: a shape or its predicted labels cannot be read, or do not fit each other.
    """
    if count == 0:
        return []
    firsts = {method: results.of(method)[0] for method in results.methods}
    last = firsts[results.methods[-1]]
    ranked = sorted(last.metrics["shapes"], key=lambda id: last.metrics["shapes"][id]["miou"])
    worst = ranked[:count]
    best = [id for id in ranked[::-1][:count] if id not in worst]
    node = held_out_data(OmegaConf.create(last.metrics["config"]))
    if data_root is not None:
        node.root = data_root
    try:
        shape_set = make_shape_set(node)
        shapes = {id: shape_set.load(id) for id in (*worst, *best)}
    except InputError as error:
        raise InputError(f"{error}; the report shows test shapes: say where they are with data_root=DIR") from error
    result = []
    for id, shape in shapes.items():
        assert shape.face_labels is not None, "only labelled shapes are measured"
        predicted = {method: run.predicted_labels(shape) for method, run in firsts.items()}
        miou = {method: run.metrics["shapes"][id]["miou"] for method, run in firsts.items()}
        rank = "worst" if id in worst else "best"
        labels = {TRUTH: shape.face_labels.numpy(), **predicted}
        result.append(ReportedShape(rank, shape, labels, miou, last.confidence(shape)))
    return result


def picture(entry: ReportedShape) -> np.ndarray:
    """The shape from two sides in the colours of each column, with a legend, uint8 [H, W, 3]."""
    shape = replace(entry.shape, label_names=tuple(short_names(entry.shape.label_names)))
    return render_mesh_comparison([shape], {name: [x] for name, x in entry.labels.items()}, views=2)


def coloured_faces(entry: ReportedShape) -> dict[str, np.ndarray]:
    """uint8 [F, 3] by column: truth, each method, and errors and confidence (if known) of the last one."""
    palette = label_palette(len(entry.shape.label_names))
    columns = {name: colours_of(labels, palette) for name, labels in entry.labels.items()}
    *_, predicted = entry.labels.values()
    truth = entry.labels[TRUTH]
    errors = np.where((predicted == truth)[:, None], RIGHT_COLOUR, WRONG_COLOUR)
    columns["errors"] = np.where((truth < 0)[:, None], LIGHT_GREY, errors).astype(np.uint8)
    if entry.confidence is not None:
        columns["confidence"] = confidence_colours(entry.confidence)
    return columns


def turning_figure(shapes: Sequence[ReportedShape]) -> go.Figure:
    """A 3D view of each column side by side, and a menu of the shapes. Large meshes are thinned out to `FACES` in all."""
    coloured = [coloured_faces(entry) for entry in shapes]
    columns = [name for name in coloured[0] if all(name in faces for faces in coloured)]
    figure = scenes(columns)
    limit = FACES // (len(shapes) * len(columns))
    for number, (entry, faces_of) in enumerate(zip(shapes, coloured, strict=True)):
        vertices, faces, face_ids = thin_out(entry.shape, limit)
        for place, name in enumerate(columns):
            trace = mesh_trace(vertices, faces, faces_of[name][face_ids], visible=number == 0)
            figure.add_trace(trace, row=place // IN_A_ROW + 1, col=place % IN_A_ROW + 1)
    return on_turntables(figure, [f"{entry.rank}: {entry.shape.id}" for entry in shapes], len(columns))


def scenes(titles: Sequence[str]) -> go.Figure:
    """An empty 3D view for each title, `IN_A_ROW` side by side: in narrower ones a shape would be cut off."""
    rows = -(-len(titles) // IN_A_ROW)
    columns = min(len(titles), IN_A_ROW)
    places = [
        [{"type": "scene"} if row * IN_A_ROW + k < len(titles) else None for k in range(columns)] for row in range(rows)
    ]
    names = [text(title) for title in titles]
    figure = make_subplots(rows=rows, cols=columns, specs=places, subplot_titles=names, vertical_spacing=0.06)
    return figure.update_layout(height=100 + 420 * rows)


def on_turntables(figure: go.Figure, names: Sequence[str], columns: int, extent: float = 1.0) -> go.Figure:
    """Scenes that turn about the vertical axis and never roll, with a menu of the shapes that `columns` traces each show.

    Plotly's turntable has its third axis up, so the traces are drawn in the axes of `upright_axes`.
    """
    buttons = []
    for number, name in enumerate(names):
        visible = [n == number for n in range(len(names)) for _ in range(columns)]
        buttons.append({"label": text(name), "method": "restyle", "args": ["visible", visible]})
    up, eye = (upright_axes(np.array(x)) for x in ((0, 1, 0), (0.7, 0.4, 1.2)))
    camera = {key: dict(zip("xyz", map(float, x), strict=True)) for key, x in (("up", up), ("eye", eye))}
    box = {axis: {"visible": False, "range": [-extent, extent]} for axis in ("xaxis", "yaxis", "zaxis")}
    figure.update_scenes(aspectmode="cube", dragmode="turntable", camera=camera, **box)
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 40}}
    return figure.update_layout(updatemenus=[menu], margin={"l": 0, "r": 0, "t": 100, "b": 0})


def upright_axes(points: np.ndarray) -> np.ndarray:
    """[..., 3] with y up as [..., 3] with the third axis up: z, x, y."""
    return points[..., [2, 0, 1]]


def mesh_trace(vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, visible: bool) -> go.Mesh3d:
    """Triangles in the colours uint8 [G, 3] of their labels; no light adds up to more than the colour itself."""
    (x, y, z), (i, j, k) = upright_axes(vertices).T, faces.T
    light = upright_axes(np.array([60_000, 80_000, 100_000]))  # from about where the camera first stands
    return go.Mesh3d(
        **{"x": x, "y": y, "z": z, "i": i, "j": j, "k": k},
        facecolor=[f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()],
        flatshading=True,
        # without the epsilon plotly leaves small faces unlit
        lighting={"ambient": 0.5, "diffuse": 0.5, "specular": 0, "fresnel": 0, "facenormalsepsilon": 0},
        lightposition=dict(zip("xyz", light.tolist(), strict=True)),
        hoverinfo="skip",
        visible=visible,
    )


def thin_out(shape: Shape, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mesh of at most `limit` faces, each of which is one of the shape's, so that it keeps its label.

    Of coincident faces the first is kept. Of what is still too many, the corners are moved together on a grid that grows
    coarser until enough faces have collapsed.

    Args:
        shape: the mesh.
        limit: some hundreds at least, or little of the shape is left.

    Returns:
        vertices float32 [W, 3] in the unit sphere, faces int32 [G, 3], and int64 [G]: which faces of the shape they are.
    """
    vertices = shape.normalized().vertices.double().cpu().numpy()
    face_ids = torch.unique(shape.twin_groups).cpu().numpy()
    vertex_ids, faces = np.unique(shape.faces.cpu().numpy()[face_ids], return_inverse=True)
    vertices, faces = vertices[vertex_ids], faces.reshape(-1, 3)
    cells = 256.0
    while len(faces) > limit:
        corner, snapped = _snap_to_grid(vertices, faces, cells)
        low, middle, high = np.sort(snapped, axis=1).astype(np.int64).T
        _, first = np.unique((low * len(corner) + middle) * len(corner) + high, return_index=True)
        a, b, c = snapped[first].T
        first = np.sort(first[(a != b) & (b != c) & (c != a)])
        if len(first) <= limit:
            vertices, faces, face_ids = corner, snapped[first], face_ids[first]
        cells *= 0.8
    return vertices.astype(np.float32), faces.astype(np.int32), face_ids


def _snap_to_grid(vertices: np.ndarray, faces: np.ndarray, cells: float) -> tuple[np.ndarray, np.ndarray]:
    """One vertex, the mean, for those of each cell of a grid of `cells` cells per side over the unit sphere's box."""
    side = int(cells) + 2  # one number per cell: np.unique of rows is slow on large meshes
    place = np.floor((vertices + 1) / 2 * cells).clip(0).astype(np.int64) @ np.array([side * side, side, 1])
    _, cell, count = np.unique(place, return_inverse=True, return_counts=True)
    sums = [np.bincount(cell, weights=vertices[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / count[:, None], cell[faces]
