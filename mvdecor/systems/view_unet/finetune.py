"""Training of a U-Net on the label maps that the head of Semantic SRN would be trained on, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from hydra.utils import instantiate
from lightning_fabric import seed_everything
from torch import Tensor

from mvdecor.captures import Capture, CaptureSet, about_labelled, frequency_weights, labelled_views, make_capture_set
from mvdecor.engine.distributed import rank
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.losses import CrossEntropy
from mvdecor.networks import build_model
from mvdecor.seeds import seed_of
from mvdecor.systems.mvdecor.batches import LabelledBatch
from mvdecor.systems.mvdecor.finetune import step
from mvdecor.systems.view_unet.checkpoint import CHANNELS, save_unet
from mvdecor.views import ForegroundImages


@dataclass
class LabelledViewSource:
    """Batches of random labelled views, different ones where there are as many.

    Args:
        captures: the set.
        views: the labelled views, by id.
        size: views per batch.
    """

    captures: CaptureSet
    views: Mapping[str, Sequence[int]]
    size: int
    _loaded: dict[str, Capture] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.size

    def sample(self, seed: int, step: int, positions: range | None = None) -> LabelledBatch:
        """The batch of a step, or the views of it at some `positions`; L = 1."""
        places = [(id, view) for id, views in self.views.items() for view in views]
        generator = torch.Generator().manual_seed(seed_of("labelled views", seed, step))
        order = torch.randperm(len(places), generator=generator).tolist()
        positions = range(self.size) if positions is None else positions
        sampled = [places[order[i % len(order)]] for i in positions]
        images, labels = zip(*(self._view(id, view) for id, view in sampled), strict=True)
        if len({image.shape for image in images}) > 1:
            raise InputError("the labelled captures have views of different sizes: label captures of one size")
        ids, numbers = zip(*sampled, strict=True)
        pixels, size = torch.stack(images).flatten(0, 2), (len(images), 1, *labels[0].shape)
        rendered = ForegroundImages(pixels, torch.arange(len(pixels)), size)  # of photographs every pixel counts
        seeds = tuple(seed_of("labelled view", seed, step, i) for i in positions)
        return LabelledBatch(rendered, torch.stack(labels).flatten(), ids, numbers, seeds)

    def _view(self, id: str, view: int) -> tuple[Tensor, Tensor]:
        """Image float32 [H, W, 3] in [0, 1] and labels int64 [H, W]."""
        if id not in self._loaded:
            self._loaded[id] = self.captures.load(id)
        capture = self._loaded[id]
        return capture.images([view])[0].float() / 255, capture.labels([view])[0].long()


def network_input(images: Tensor) -> Tensor:
    """Images float32 [n, H, W, 3] in [0, 1] as the network takes them, [n, 3, H, W]."""
    return images.permute(0, 3, 1, 2).contiguous()


def finetune(job: Job) -> dict:
    """Train a U-Net from scratch on the label maps of run `cfg.run`; writes `out/model` and `out/log`."""
    cfg, settings, fabric = job.cfg, job.cfg.training.finetune, job.open_device()
    captures = make_capture_set(cfg.capture)
    if not captures.label_names:
        raise InputError("these captures have no label maps: see capture.labels")
    pretrain = cfg.training.pretrain
    ids, wanted = captures.ids(pretrain.split)[: pretrain.limit], {name: settings[name] for name in ("k", "v", "split")}
    run, views = labelled_views(captures, ids, **wanted, seed=cfg.seed, run=cfg.run)
    print(f"seed {cfg.seed}, run {cfg.run}: labelled {', '.join(run.shapes)}", flush=True)
    seed = seed_of(cfg.seed, cfg.run, "fine-tuning")
    seed_everything(seed, verbose=False)
    model = build_model(cfg.network, CHANNELS, len(captures.label_names))
    weights = frequency_weights(captures, views).tolist() if settings.balanced else None
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    recipe = Recipe("finetune", settings.steps, optimizer, make_schedule(settings.schedule), seed)
    sources = {"labelled": (LabelledViewSource(captures, views, settings.objects), "training.finetune.objects")}
    loss = CrossEntropy(weights)
    history = train(job.loop(fabric), recipe, model, sources, partial(step, fabric=fabric, segmentation_loss=loss))
    if rank() == 0:
        save_unet(job.out / "model", model, {"label_names": list(captures.label_names), **job.provenance})
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {**about_labelled(run, views), "history": history.steps}
