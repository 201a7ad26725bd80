"""Pictures of what a model's embeddings see, and how far points carried by them land off (scripts/figures.py).

Nothing here trains: views of a few shapes are embedded, compared and plotted; docs/figures.md says what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from omegaconf import DictConfig
from pydantic import Field, model_validator
from torch import Tensor

from mvdecor.correspondences import Matches, Matching, choose_pair, match_views, sample_matches
from mvdecor.engine.content import Files
from mvdecor.engine.stage import Job, Stage
from mvdecor.errors import InputError
from mvdecor.evaluation import Landings, height_of, land, pixel_centers, summarize_landings
from mvdecor.figures import (
    EmbeddedView,
    embedding_colours,
    plot_carried,
    plot_matches,
    position_colours,
    save_png,
    write_glb,
)
from mvdecor.figures.curves import plot_transfer_curves
from mvdecor.figures.layout import enlarged, sheet, stack
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.lifting.embeddings import FaceMeans, PrincipalColours, at_pixels, nearest, principal_colours
from mvdecor.networks import load_checkpoint
from mvdecor.percent import rounded
from mvdecor.seeds import seed_of
from mvdecor.settings import Count, Settings, WholeNumber, shown
from mvdecor.shapes import Shape, ShapeSet, load_shapes
from mvdecor.systems.mvdecor import keys
from mvdecor.systems.mvdecor.check import check_config
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.predict import embed_views
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.systems.mvdecor.setup import make_rendering, make_shape_views, make_store, seed_of_test_views
from mvdecor.systems.mvdecor.trained import check_sight
from mvdecor.views import Surface, render_channels
from mvdecor.views.shape_views import ShapeViews

PIXELS = 2000  # of each view, in the sample of which the principal colours are found
ROWS, COLUMNS = 4, 6  # of embeddings.png

Embed = Callable[[Shape, Sequence[int]], Tensor]
"""A shape and the numbers of n of its views -> embeddings float32 [n, L, D, H, W]."""


class FiguresSettings(Settings):
    """The group `figures`; configs/figures.yaml says what each setting is."""

    shapes: Annotated[str | int | list[str | int], Field(description="give a list of ids of shapes")] | None
    limit: Count
    views: (
        Annotated[
            tuple[WholeNumber, WholeNumber], Field(strict=False, description="give the numbers [a,b] of two views")
        ]
        | None
    )
    threshold: Annotated[float, Field(ge=-1, le=1, description="give a cosine between -1 and 1")]
    pairs: Count
    points: Count


class FiguresConfig(MvDeCorSettings):
    """configs/figures.yaml."""

    figures: FiguresSettings

    @model_validator(mode="after")
    def _views_exist(self) -> Self:
        count = self.views.count
        if self.figures.views is not None and max(self.figures.views) >= count:
            raise ValueError(
                f"figures.views={shown(self.figures.views)}: give the numbers [a,b] of two views, each from 0 to {count - 1} "
                "(views.count of them)"
            )
        return self


def figures_stage(job: Job) -> dict:
    """Plot the pictures of configs/figures.yaml into `cfg.out` and measure the transfer between views (docs/figures.md).

    Cameras are those of the evaluation, which no training has seen.

    Returns:
        what `out/figures.json` says.

    Raises:
        InputError: a bad setting, checkpoint or shape, or results of other settings in `out`.
    """
    cfg, out, fabric = job.cfg, job.out, job.open_device()
    model, metadata = load_checkpoint(cfg.checkpoint, fabric.device)
    check_sight(metadata, cfg.checkpoint, cfg.views)
    shape_set = make_store(cfg, held_out_data(cfg))
    shapes, skipped = load_shapes(shape_set, _ids(cfg, shape_set), cfg.data.on_error)
    shape_views = make_shape_views(
        cfg, shapes, fabric.device, seed_of_test_views, keep=True
    )  # each is looked at many times
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    embed = partial(embed_views, fabric, model, shape_views, rendering=make_rendering(cfg))
    landings = _transfer(cfg, shape_views, embed)
    views = _views(cfg, shape_views)
    _plot_pairs(cfg, shape_views, embed, views, out)
    colours, coverage = _render_meshes(cfg, shape_views, embed, out)
    save_png(out / "embeddings.png", _sheet(shape_views, embed, views, colours))
    transfer = summarize_landings(Landings.cat(list(landings.values())))
    save_png(out / "transfer.png", plot_transfer_curves(transfer))
    print(
        f"transfer: {rounded(transfer['within']['5'])} % of {transfer['points']} points land within 5 % of the shape's height "
        f"(random pixels: {rounded(transfer['chance']['5'])} %), median error {transfer['median_error']:.1f} %: {out}",
        flush=True,
    )
    return {
        "shapes": [shape.id for shape in shapes],
        "views": list(views),
        "transfer": transfer,
        "transfer_within_5": {
            id: summarize_landings(shape_landings)["within"]["5"] for id, shape_landings in landings.items()
        },
        "without_pairs": [shape.id for shape in shapes if shape.id not in landings],
        "coverage": coverage,
        "skipped": skipped,
        "weights_sha256": metadata["weights_sha256"],
    }


def _transfer(cfg: DictConfig, shape_views: ShapeViews, embed: Embed) -> dict[str, Landings]:
    """By shape, where points land in random pairs of its views; shapes without overlapping views are left out aloud."""
    generator = torch.Generator().manual_seed(seed_of(cfg.seed, "transfer"))
    landings: dict[str, Landings] = {}
    for shape in shape_views:
        shape_landings: list[Landings] = []
        rejected: set[tuple[int, int]] = set()
        while len(shape_landings) < cfg.figures.pairs:
            pair = _choose(cfg, shape_views, shape, generator, rejected)
            if pair is None:
                print(f"warning: shape {shape.id}: no two of its views overlap enough; it is not measured")
                break
            a, b, matches = pair
            surface, embedded = shape_views.surface(shape, [a, b]), embed(shape, [a, b])
            matches = sample_matches(matches, cfg.figures.points, generator)
            height = height_of(shape)
            landing = land(surface[[0]], surface[[1]], embedded[0], embedded[1], matches, height, generator)
            shape_landings.append(landing)
        if shape_landings:
            landings[shape.id] = Landings.cat(shape_landings)
    if not landings:
        raise InputError(
            f"no shape has two views that overlap in more than {100 * cfg.training.matching.min_overlap:g} % of the smaller "
            "foreground: raise views.count or lower training.matching.min_overlap"
        )
    return landings


def _choose(
    cfg: DictConfig,
    shape_views: ShapeViews,
    shape: Shape,
    generator: torch.Generator,
    rejected: set[tuple[int, int]],
    views: Sequence[int] | None = None,
) -> tuple[int, int, Matches] | None:
    """Two random views of a shape (of `views`, or any) that overlap as the pretraining asks for, and their matches."""
    views = range(shape_views.num_views(shape)) if views is None else views
    matching = Matching.of(cfg.training.matching, "training.matching")
    return choose_pair(lambda index: shape_views.surface(shape, index), views, matching, generator, rejected)


def whole_views(shape_views: ShapeViews, *numbers: int) -> list[int]:
    """The views in which nothing of any of some shapes is cut off by the edge of the picture or lies behind the camera."""
    view_ids = None
    for shape in (shape_views[number] for number in numbers):
        cameras = shape_views.cameras(shape)
        places, depth = cameras.project(shape.vertices[shape.faces.unique()].expand(len(cameras), -1, -1))
        size = torch.tensor([cameras.width, cameras.height], device=places.device)
        inside = ((places >= 0) & (places <= size)).all(dim=2) & (depth > 0)
        found = set(inside.all(dim=1).nonzero()[:, 0].tolist())
        view_ids = found if view_ids is None else view_ids & found
    return sorted(view_ids or ())


def _views(cfg: DictConfig, shape_views: ShapeViews) -> tuple[int, int]:
    """Numbers of the two views to plot."""
    if cfg.figures.views is not None:
        a, b = cfg.figures.views
        return a, b
    generator = torch.Generator().manual_seed(seed_of(cfg.seed, "pair of views"))
    view_ids = whole_views(shape_views, *range(min(2, len(shape_views))))
    pair = None
    for views in filter(None, (view_ids, range(shape_views.num_views(shape_views[0])))):
        pair = pair or _choose(cfg, shape_views, shape_views[0], generator, set(), views)
    if pair is None:
        raise InputError(f"no two views of shape {shape_views[0].id} overlap enough: name two with figures.views=[a,b]")
    return pair[:2]


def _plot_pairs(cfg: DictConfig, shape_views: ShapeViews, embed: Embed, views: tuple[int, int], out: Path) -> None:
    """Carried colours and lines: of two views of the first shape, and of its view a and view b of the second shape."""
    a, b = (_embedded_view(shape_views, embed, shape_views[0], view) for view in views)
    second_shape = _embedded_view(shape_views, embed, shape_views[1], views[1]) if len(shape_views) > 1 else None
    save_png(out / "one_shape.png", plot_carried(a, b, cfg.figures.threshold))
    save_png(out / "one_shape_matches.png", _lines_of_one_shape(cfg, shape_views, a, b, views))
    if second_shape is not None:
        save_png(out / "two_shapes.png", plot_carried(a, second_shape, cfg.figures.threshold))
        save_png(out / "two_shapes_matches.png", _lines_of_two_shapes(cfg, a, second_shape))


def _embedded_view(shape_views: ShapeViews, embed: Embed, shape: Shape, view: int) -> EmbeddedView:
    surface = shape_views.surface(shape, [view])
    mask = surface.mask[0, 0]
    if not bool(mask.any()):
        raise InputError(f"figures.views: view {view} of shape {shape.id} sees no surface: choose another")
    position = position_colours(shape, surface.points[0, 0], mask)
    return EmbeddedView(
        _textures(shape_views, shape, [view])[0], position, mask.cpu().numpy(), embed(shape, [view])[0, 0]
    )


def _textures(shape_views: ShapeViews, shape: Shape, index: Sequence[int]) -> np.ndarray:
    """uint8 [n, H, W, 3]: texture or shading of the outermost surface on white, whatever channels the model takes."""
    surface = shape_views.surface(shape, index)
    rgb = render_channels(shape, shape_views.views(shape, index), surface)[:, 0].permute(0, 2, 3, 1)
    return torch.where(surface.mask[:, 0, ..., None], (255 * rgb).round(), 255.0).byte().cpu().numpy()


def _lines_of_one_shape(
    cfg: DictConfig, shape_views: ShapeViews, a: EmbeddedView, b: EmbeddedView, views: tuple[int, int]
) -> np.ndarray:
    """Some surface points in both views: where they truly are (above), and where the embedding takes them (below)."""
    matching, surface = cfg.training.matching, _outermost(shape_views.surface(shape_views[0], views))
    matches = match_views(surface[[0]], surface[[1]], matching.tolerance, matching.min_cosine, matching.unique)
    generator, height = torch.Generator().manual_seed(seed_of(cfg.seed, "matches")), height_of(shape_views[0])
    landings = land(surface[[0]], surface[[1]], a.embeddings[None], b.embeddings[None], matches, height, generator)
    start = pixel_centers(matches.pixel_a, *a.mask.shape)
    ends = (matches.xy_b, pixel_centers(landings.pixel, *b.mask.shape))
    rows = [[plot_matches(a.texture, b.texture, start, end, seed=cfg.seed)] for end in ends]
    return sheet(rows, rows=["true points", "by embedding"])


def _lines_of_two_shapes(cfg: DictConfig, a: EmbeddedView, b: EmbeddedView) -> np.ndarray:
    """From some pixels of a to the most similar ones of b, where they are similar enough."""
    pixel_a, pixel_b = (torch.from_numpy(v.mask).flatten().nonzero()[:, 0] for v in (a, b))
    rows_a, rows_b = (at_pixels(v.embeddings[None], torch.from_numpy(v.mask)[None]) for v in (a, b))
    best, similarity = nearest(rows_a, rows_b)
    sure = (similarity >= cfg.figures.threshold).cpu()
    start, end = pixel_a[sure], pixel_b[best.cpu()[sure]]
    return plot_matches(
        a.texture,
        b.texture,
        pixel_centers(start, *a.mask.shape),
        pixel_centers(end, *b.mask.shape),
        seed=cfg.seed,
    )


def _outermost(surface: Surface) -> Surface:
    return Surface(
        surface.cameras, surface.mask[:, :1], surface.depth[:, :1], surface.points[:, :1], surface.normals[:, :1]
    )


def _render_meshes(
    cfg: DictConfig, shape_views: ShapeViews, embed: Embed, out: Path
) -> tuple[PrincipalColours, dict[str, float]]:
    """Write each shape in the colours of its faces' mean embeddings; light grey where no view saw a face.

    Returns:
        the colours, found once over all views of all shapes; by shape, the share of its area that was seen, in percent.
    """
    step = max(1, cfg.evaluation.batch_size // cfg.views.layers)
    sample: list[Tensor] = []
    means: list[tuple[Tensor, Tensor]] = []
    for shape in shape_views:
        on_faces = FaceMeans(shape)
        for index in torch.arange(shape_views.num_views(shape)).split(step):
            embedded = embed(shape, index.tolist()).flatten(0, 1)
            face_ids = shape_views.views(shape, index.tolist()).face_ids.flatten(0, 1)
            on_faces.add(face_ids, embedded)
            rows = at_pixels(embedded, face_ids >= 0)
            sample.append(rows[:: 1 + len(rows) // (PIXELS * len(index))].cpu())
        means.append(on_faces.result())
    colours = principal_colours(torch.cat(sample))
    coverage = {}
    for shape, (mean, visible) in zip(shape_views, means, strict=True):
        painted = torch.where(visible.cpu()[:, None], colours(mean), torch.tensor(LIGHT_GREY, dtype=torch.uint8))
        write_glb(out / "meshes" / f"{shape.id}.glb", shape, painted)
        coverage[shape.id] = 100 * float(shape.face_areas[visible].sum() / shape.face_areas.sum())
    return colours, coverage


def _sheet(shape_views: ShapeViews, embed: Embed, views: tuple[int, int], colours: PrincipalColours) -> np.ndarray:
    """Views of the first shapes, each above its embeddings in colours that agree across all of them."""
    numbers = range(min(ROWS, len(shape_views)))
    view_ids = whole_views(shape_views, *numbers) or list(range(shape_views.num_views(shape_views[0])))
    index = list(dict.fromkeys([*views, *view_ids[:: max(1, len(view_ids) // COLUMNS)]]))[:COLUMNS]
    parts = []
    for number in numbers:
        shape = shape_views[number]
        mask = shape_views.surface(shape, index).mask[:, 0]
        embedded = embedding_colours(embed(shape, index)[:, 0], mask.cpu(), colours)
        rows = [list(_textures(shape_views, shape, index)), list(embedded)]
        parts.append(sheet([[enlarged(picture) for picture in row] for row in rows]))
    return stack(parts)


def _ids(cfg: DictConfig, shape_set: ShapeSet) -> list[str]:
    """The shapes to plot and measure."""
    ids = cfg.figures.shapes
    if ids is None:
        return shape_set.ids(cfg.evaluation.split)[: cfg.figures.limit]
    ids = [str(ids)] if isinstance(ids, str | int) else [str(id) for id in ids]
    all_ids = shape_set.ids("all")
    for id in ids:
        if id not in all_ids:
            examples = ", ".join(all_ids[:3])
            raise InputError(
                f"figures.shapes: {cfg.data.root} ({cfg.data.category}) has no shape {id}; "
                f"it has {len(all_ids)}: {examples}, ..."
            )
        if ids.count(id) > 1:
            raise InputError(f"figures.shapes names {id} twice: name each shape once")
    return ids


def _check(cfg: DictConfig) -> None:
    check_config(cfg, FiguresConfig)
    if cfg.checkpoint is None:
        raise InputError("figures need a trained model: give checkpoint=FOLDER (out/model of scripts/pretrain.py)")


def _settings(cfg: DictConfig) -> dict[str, Any]:
    relevant = [*keys.VIEWS, "seed", "precision", "training.matching", "figures", "-figures.shapes", "-figures.limit"]
    return keys.stage_settings(cfg, "labelled", relevant)


def _files(cfg: DictConfig) -> dict[str, Files]:
    shape_set = make_store(cfg, held_out_data(cfg))
    return {"the shapes": keys.shape_files(shape_set, _ids(cfg, shape_set), labels=False)} | keys.checkpoint_content(
        cfg
    )


run_figures = Stage("figures", "figures.json", figures_stage, settings=_settings, reads=_files, check=_check)
