"""Pictures of training and results: input channels, matches, embeddings, predictions, labelled meshes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvdecor.channels import channel_slice, find_channel
from mvdecor.figures import (
    embedding_colours,
    plot_channels,
    plot_matches,
    plot_predictions,
    render_mesh_comparison,
    save_png,
)
from mvdecor.figures.layout import enlarged, sheet
from mvdecor.networks import Model
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.setup import make_pair_source, make_shape_views, make_store, pretraining_shapes


def channels_sheet(source: PairSource, views: int = 4) -> np.ndarray:
    """The network's input channels for a few views (outermost layer), uint8 [H, W, 3]."""
    batch = source.sample(seed=0, step=0)
    images = batch.images[:, :, 0].flatten(0, 1)[:views]
    return plot_channels(images.cpu(), source.rendering.channels)


def matches_sheet(source: PairSource) -> np.ndarray:
    """One pair of views with some of its matches as lines, uint8 [H, W, 3]."""
    batch = source.sample(seed=0, step=0)
    height, width = batch.images.shape[-2:]
    outer = (batch.matches.pixel_a < height * width) & (batch.matches.layer_b == 0)
    matches = batch.matches.select((outer & (batch.matches.pair == 0)).nonzero()[:, 0])
    xy_a = torch.stack([matches.pixel_a % width, matches.pixel_a // width], dim=1) + 0.5
    a, b = (as_rgb(batch.images[i, 0, :1], source.rendering.channels)[0] for i in (0, 1))
    return plot_matches(a, b, xy_a.cpu(), matches.xy_b.cpu())


@torch.no_grad()
def predictions_sheet(fabric: Fabric, model: Model, source: LabelledSource) -> np.ndarray:
    """A batch of labelled views: input, truth and prediction (outermost layer), uint8 [H, W, 3]."""
    batch = source.sample(seed=0, step=0).to(fabric.device)
    images = batch.images[:, 0]
    with fabric.autocast(), evaluating(model):
        predicted = model(images).argmax(dim=1)
    names = source.shape_views[0].label_names
    pictures = as_rgb(images, source.rendering.channels)
    mask = (images != 0).any(dim=1).cpu()
    return plot_predictions(pictures, batch.labels[:, 0].cpu(), predicted.cpu(), names, mask=mask)


@torch.no_grad()
def embeddings_sheet(fabric: Fabric, model: Model, source: PairSource, views: int = 4) -> np.ndarray:
    """The two views of a few pairs (outermost layer) above the colours of their embeddings, uint8 [H, W, 3].

    A point of the surface that has the same colour in both views of a pair is one that the network finds again.
    """
    batch = source.sample(seed=0, step=0).to(fabric.device)
    images = batch.images[:, :, 0].transpose(0, 1).flatten(0, 1)[:views]
    with fabric.autocast(), evaluating(model):
        embeddings = model.embed(images)
    # A loss that is lost is for the loop to report, so no embedding may stop the picture.
    colours = embedding_colours(embeddings.float().nan_to_num(0, 0, 0), (images != 0).any(dim=1))
    pictures = as_rgb(images, source.rendering.channels)
    cells = [[enlarged(cell) for cell in row] for row in (pictures, colours)]
    return sheet(cells, rows=["input", "embedding"])


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module is in the mode that it was in (a loop may keep some from training)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def as_rgb(images: torch.Tensor, channels: tuple[str, ...]) -> np.ndarray:
    """Network input float32 [N, C, H, W] as pictures uint8 [N, H, W, 3]: its rgb, else its first channel as grey."""
    start = channel_slice(channels, "rgb").start if "rgb" in channels else 0
    pictures = images[:, start : start + (3 if "rgb" in channels else 1)].expand(-1, 3, -1, -1)
    if "rgb" not in channels and find_channel(channels[0]).width == 3:
        pictures = (images[:, :3] + 1) / 2
    return (pictures.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def pipeline_figures(cfg: DictConfig, out: Path, shapes: int = 4) -> None:
    """Write `out/figures`: truth beside scratch and pretrained on the first test shapes, matches, channels."""
    shape_set = make_store(cfg, held_out_data(cfg))
    ids = sorted(p.stem for p in (out / "pretrained" / "run_0" / "labels").glob("*.npy"))[:shapes]
    meshes = [shape_set.load(id) for id in ids]
    columns: dict[str, list] = {"truth": [s.face_labels for s in meshes]}
    for method in ("scratch", "pretrained"):
        columns[method] = [np.load(out / method / "run_0" / "labels" / f"{id}.npy") for id in ids]
    save_png(out / "figures" / "meshes.png", render_mesh_comparison(meshes, columns, views=2))
    first_shapes, _ = pretraining_shapes(OmegaConf.merge(cfg, {"data": {"pretrain_limit": 4}}))  # type: ignore[arg-type]
    source = make_pair_source(cfg, make_shape_views(cfg, first_shapes, torch.device("cpu")), 4)
    save_png(out / "figures" / "matches.png", matches_sheet(source))
    save_png(out / "figures" / "channels.png", channels_sheet(source))
