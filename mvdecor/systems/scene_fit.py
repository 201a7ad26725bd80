"""A radiance field fitted to the views of one capture and measured in views that were held out.

Shared by scripts/fit.py and the pretraining of open_vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric, seed_everything
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from mvdecor.captures import Capture, CaptureSet
from mvdecor.captures.ray_batches import OPAQUE
from mvdecor.captures.scene_rays import SceneRays, SceneRaySource
from mvdecor.engine.distributed import rank, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.evaluation import ViewMetrics
from mvdecor.evaluation.images import psnr
from mvdecor.fields import GridField, MLPField
from mvdecor.fields.radiance import SceneSpace, SeenRays, colour_loss, see
from mvdecor.fields.radiance_file import save_radiance
from mvdecor.fields.radiance_views import SceneViews, render_scene_views, scene_points, still_background
from mvdecor.figures import save_png
from mvdecor.figures.cloud import write_coloured_points
from mvdecor.figures.layout import sheet
from mvdecor.figures.rendered_views import depth_picture
from mvdecor.imports import make_object
from mvdecor.seeds import seed_of
from mvdecor.settings import Count, NotNegative, Positive, Probability, Settings, WholeNumber

EPSILON = 1e-15
"""Of Adam: gradients of a nearly empty grid are far below its usual 1e-8."""
PICTURE_VIEWS = 6
"""Held-out views in the picture."""


class FitWeights(Settings):
    """Weights of the losses beside the squared error of the colours; 0 leaves one out."""

    colour: NotNegative
    roughness: NotNegative


class RadianceSettings(Settings):
    """The group `radiance`: a field and how it is fitted."""

    field: Annotated[dict[str, Any], Field(description="give {_target_: mvdecor.fields.GridField, ...}")]
    steps: Count
    rays: Count
    samples: Annotated[int, Field(ge=2, description="give at least 2 samples per ray")]
    learning_rate: Positive
    weights: FitWeights


class SceneFitSettings(Settings):
    """How a capture is divided and looked at; configs/fit.yaml says what each setting is."""

    held_out: Literal["labelled"] | Annotated[int, Field(ge=2)] = Field(
        description="give a whole number of at least 2, or labelled"
    )
    fit_views: Count | None
    foreground: Probability
    background: Literal["white", "still", "random"]
    space: Literal["auto", "bounded", "contracted"]
    beyond: Annotated[float, Field(gt=0, lt=1, description="give a share of the samples between 0 and 1")]
    schedule: str | dict[str, Any]
    points: WholeNumber


def chosen_capture(captures: CaptureSet, id: str | None) -> str:
    """The id of the capture that is meant. Raises InputError if that is not one."""
    ids = captures.ids("all")
    if id is None and len(ids) != 1:
        raise InputError(f"capture.root holds {len(ids)} captures ({', '.join(ids[:3])}, ...): choose one with id=")
    if id is not None and id not in ids:
        raise InputError(f"id={id}: there is no such capture; there are {', '.join(ids[:5])}")
    return id or ids[0]


def divided_views(capture: Capture, held_out: int | str, most: int | None = None) -> tuple[list[int], list[int]]:
    """Views to fit and views that are held out: every n-th, or the `labelled` ones.

    Args:
        capture: whose views.
        held_out: which are held out.
        most: how many of the others to fit, spread evenly over their order; None: all.

    Raises:
        InputError: that leaves none of either, or fewer to fit than `most`.
    """
    held = list(capture.labelled) if isinstance(held_out, str) else list(range(0, len(capture), held_out))
    views = [view for view in range(len(capture)) if view not in held]
    if not held or not views:
        raise InputError(
            f"capture {capture.id}: held_out={held_out} holds {len(held)} of {len(capture)} views out: choose another one"
        )
    if most is not None:
        if most > len(views):
            raise InputError(
                f"capture {capture.id}: fit_views={most}, but {len(held)} of its {len(capture)} views are held out, and "
                f"{len(views)} are left to fit: give at most {len(views)}"
            )
        views = [views[i] for i in np.linspace(0, len(views) - 1, most).round().astype(int).tolist()]
    return views, held


def step(
    model: nn.Module,
    batches: Mapping[str, SceneRays],
    fabric: Fabric,
    field: GridField | MLPField,
    space: SceneSpace,
    settings: RadianceSettings,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The losses of a batch of rays."""
    batch = batches["rays"]
    rays = model(space, batch, settings.samples)
    error = (rays.rgb - batch.rgb).square().mean()
    of_share = weight_of_share(fabric, batch.share)
    loss = of_share * (error + settings.weights.colour * colour_loss(rays, batch.rgb))
    if settings.weights.roughness > 0:
        loss = loss + settings.weights.roughness * field.roughness()
    yield loss, {"loss": loss, "psnr": -10 * error.log10(), "opacity": rays.opacity.mean()}


class SeeingField(nn.Module):
    """A field whose `forward` renders a batch of rays, as the loop calls it.

    Args:
        field: a `RadianceField`.
        background: float32 [H, W, 3], behind the scene; None: white.
        random: before a random colour per ray instead, so that nothing may be transparent.
    """

    background: Tensor | None

    def __init__(self, field: GridField | MLPField, background: Tensor | None, random: bool = False) -> None:
        super().__init__()
        self.field, self.random = field, random
        self.register_buffer("background", None if background is None else background.view(-1, 3))

    def forward(self, space: SceneSpace, batch: SceneRays, samples: int) -> SeenRays:
        """See `see`; at random places of the intervals."""
        background = None if self.background is None else self.background[batch.place]
        if self.random:
            background = torch.rand_like(batch.origins)
        return see(self.field, space, batch.origins, batch.directions, samples, True, background)


def fit_scene(job: Job, capture: Capture, radiance: RadianceSettings, settings: SceneFitSettings) -> dict[str, Any]:
    """Fit a field; writes `out/model`, `out/views.png`, `out/cloud.ply` and `out/log`. Gives what the stage's file holds."""
    cfg, fabric = job.cfg, job.open_device()
    views, held_out = divided_views(capture, settings.held_out, settings.fit_views)
    still = still_background(capture, views) if settings.background == "still" else None
    cut_out = capture.has_alpha or still is not None
    bounded = cut_out if settings.space == "auto" else settings.space == "bounded"
    space = SceneSpace.of(capture, bounded, settings.beyond)
    seed = seed_of(cfg.seed, "fitting", capture.id)
    seed_everything(seed, verbose=False)
    field = make_object(cfg.radiance.field, "radiance.field")
    print(f"{capture.id}: {len(views)} views to fit, {len(held_out)} held out", flush=True)
    source = SceneRaySource(capture, views, radiance.rays, settings.foreground)
    recipe = Recipe(
        "fit",
        radiance.steps,
        lambda weights: torch.optim.Adam(field.groups(radiance.learning_rate), betas=(0.9, 0.99), eps=EPSILON),
        make_schedule(settings.schedule),
        seed,
    )
    losses = partial(step, fabric=fabric, field=field, space=space, settings=radiance)
    seeing = SeeingField(field, still, settings.background == "random")
    history = train(job.loop(fabric), recipe, seeing, {"rays": (source, "radiance.rays")}, losses)
    field.eval()
    rendered = render_scene_views(field, space, capture, held_out, radiance.samples, still)
    result = measure(capture, held_out, views, rendered) | {"history": history.steps}
    if rank() == 0:
        record = {
            "capture": capture.id,
            "views": views,
            "held_out": held_out,
            "samples": radiance.samples,
            "background": settings.background,
            "psnr": result["psnr"],
        }
        save_radiance(job.out / "model", field, radiance.field, space, record)
        save_png(job.out / "views.png", plot_held_out(capture, held_out, rendered))
        cloud = scene_points(field, space, capture, views, radiance.samples, settings.points, seed)
        write_coloured_points(job.out / "cloud.ply", *cloud)
    print(
        f"held-out views: PSNR {result['psnr']:.2f} dB, SSIM {result['ssim']:.3f}; "
        f"the nearest other view as it is: {result['nearest_view']['psnr']:.2f} dB{_of_object(result)}"
        f"{_of_depth(result)}: {job.out}",
        flush=True,
    )
    return result


def measure(capture: Capture, held_out: Sequence[int], views: Sequence[int], rendered: SceneViews) -> dict[str, Any]:
    """PSNR and SSIM of held-out views, and PSNR of the object's pixels alone where alpha or label maps say which they are.

    `depth_error` is the median absolute error of camera z in them, where the capture has exact depth.
    `nearest_view` holds the same of the fitted view whose camera looks most alike, unchanged: what no field is needed for.
    """
    alike = [views[i] for i in _nearest(capture, held_out, views).tolist()]
    truth = capture.images(held_out).float() / 255
    result = _figures(capture, held_out, rendered.images, truth)
    nearest = _figures(capture, held_out, capture.images(alike).float() / 255, truth)
    if (true_depth := capture.depth(held_out)) is not None:
        seen = true_depth > 0
        result["depth_error"] = float((rendered.depth - true_depth)[seen].abs().median()) if bool(seen.any()) else None
    by_view = {str(view): float(x) for view, x in zip(held_out, psnr(rendered.images, truth))}
    return result | {"nearest_view": nearest, "views": by_view}


def _figures(capture: Capture, held_out: Sequence[int], images: Tensor, truth: Tensor) -> dict[str, float | None]:
    metrics = ViewMetrics(())
    metrics.add_images(capture.id, held_out, images, truth)
    result = metrics.result()
    objects = [_object_mask(capture, view) for view in held_out]
    errors = [(a - b)[m].square().mean() for a, b, m in zip(images, truth, objects) if m is not None and bool(m.any())]
    object_psnr = float(torch.stack([-10 * error.log10() for error in errors]).mean()) if errors else None
    return {"psnr": result["psnr"], "ssim": result["ssim"], "object_psnr": object_psnr}


def _object_mask(capture: Capture, view: int) -> Tensor | None:
    """bool [H, W], the object's pixels in a view, if that is known."""
    if (alpha := capture.alpha([view])) is not None:
        return alpha[0] >= OPAQUE
    if view in capture.labelled and capture.background is not None:
        labels = capture.labels([view])[0]
        return (labels >= 0) & (labels != capture.background)
    return None


def _of_object(result: Mapping[str, Any]) -> str:
    if result["object_psnr"] is None:
        return ""
    return (
        f"; the object's pixels alone: {result['object_psnr']:.2f} and {result['nearest_view']['object_psnr']:.2f} dB"
    )


def _of_depth(result: Mapping[str, Any]) -> str:
    error = result.get("depth_error")
    return "" if error is None else f"; median error of the depth {error:.3f}"


def _nearest(capture: Capture, held_out: Sequence[int], views: Sequence[int]) -> Tensor:
    """int64, for each held-out view the place in `views` of the camera nearest to it, in position and direction."""
    centers = capture.cameras.centers
    extent = (centers.amax(dim=0) - centers.amin(dim=0)).max().clamp_min(1e-9)
    seats = torch.cat([centers / extent, capture.cameras.rotation[:, 2]], dim=1)
    return torch.cdist(seats[list(held_out)], seats[list(views)]).argmin(dim=1)


def plot_held_out(capture: Capture, held_out: Sequence[int], rendered: SceneViews) -> NDArray[np.uint8]:
    """True image, rendering and depth of some held-out views."""
    places = np.linspace(0, len(held_out) - 1, min(PICTURE_VIEWS, len(held_out))).round().astype(int).tolist()
    truth = capture.images([held_out[i] for i in places]).numpy()
    images = (rendered.images[places] * 255).round().byte().numpy()
    depth = [depth_picture(rendered.depth[i], rendered.opacity[i]) for i in places]
    columns = [f"view {held_out[i]}" for i in places]
    return sheet([list(truth), list(images), depth], columns=columns, rows=["image", "rendered", "depth"])
