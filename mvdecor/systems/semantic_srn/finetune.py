"""Fine-tuning: a linear head, or an MLP, on the frozen field's features, from n label maps (Kohli et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from mvdecor.captures import CaptureSet, RayBatch, RaySource, RenderedCaptures, make_capture_set
from mvdecor.engine.distributed import rank, weight_of_mean
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.fields import ConditionalField, labels_loss, load_field, save_field
from mvdecor.seeds import seed_of
from mvdecor.shapes.splits import FewShotRun, read_split, sample_covering
from mvdecor.shapes.store import labels_of

MLP_LAYERS = 3
"""Hidden layers of `training.finetune.head=mlp` (released code)."""


def step(
    model: nn.Module, batches: Mapping[str, RayBatch], fabric: Fabric, label_weights: Tensor | None
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Cross-entropy of a batch of labelled rays; undetermined ones do not count."""
    batch = batches["labelled"]
    assert batch.labels is not None, "the source must give labels"
    logits = model.label_rays(batch.objects, *batch.rays)  # type: ignore[operator]
    count = (batch.labels >= 0).sum()
    weight = weight_of_mean(fabric, count) / count.clamp_min(1)
    loss = labels_loss(logits, batch.labels, label_weights).sum() * weight
    yield loss, {"loss": loss, "accuracy": (logits.argmax(dim=-1) == batch.labels).sum() * weight}


def labelled_run(cfg: DictConfig, captures: CaptureSet, ids: list[str]) -> FewShotRun:
    """The labelled captures of run `cfg.run` among captures `ids` that have a code, and their views, of those with label maps.

    Raises:
        InputError: the split file lacks the run, or names a capture without code; too few captures with label maps.
    """
    settings = cfg.training.finetune
    if settings.split is not None:
        run = read_split(settings.split).find(cfg.run)
        if run is None or set(run.shapes) - set(ids):
            raise InputError(
                f"{settings.split}: run {cfg.run} is not there, or names a capture that was not pretrained on"
            )
        return run
    labels, counts = {}, set()
    for id in sorted(set(ids) & set(captures.ids("train"))):
        if isinstance(captures, RenderedCaptures):  # its shape is read sooner than its views are rendered
            shape = captures.shapes.load(id)
            labels[id] = set() if shape.face_labels is None else labels_of(shape)
            counts.add(len(captures.load(id)))
        elif (capture := captures.load(id)).labelled:
            labels[id] = set(capture.labels().unique().tolist()) - {-1, capture.background}
            counts.add(len(capture.labelled))
    if not labels:
        raise InputError("no capture of split 'train' that was pretrained on has a label map: see capture.labels")
    v, views = settings.v, min(counts)
    run = sample_covering(labels, captures.label_names, k=settings.k, v=v, num_views=views, seed=cfg.seed, run=cfg.run)
    if run.labels_not_covered:
        print(f"note: these captures do not show {', '.join(run.labels_not_covered)}")
    return run


def labelled_views(cfg: DictConfig, captures: CaptureSet, run: FewShotRun) -> dict[str, list[int]]:
    """The labelled views of each capture of a run, by id."""
    views = {}
    for id in run.shapes:
        labelled = captures.load(id).labelled
        views[id] = run.views_of(id, len(labelled))
        if cfg.training.finetune.split is None:  # a file names views, a sample counts those with label maps
            views[id] = [labelled[i] for i in views[id]]
    return views


def frequency_weights(source: RaySource) -> Tensor:
    """float32 [C], inverse roots of the labels' frequencies in the labelled views, with mean 1 over the labels that occur."""
    counts = torch.zeros(len(source.captures.label_names))
    for id, views in (source.views or {}).items():
        labels = source.capture(id).labels(views)
        counts += torch.bincount(labels[labels >= 0].long(), minlength=len(counts))
    weights = torch.where(counts > 0, counts.clamp_min(1).rsqrt(), 0)
    return weights / weights[counts > 0].mean()


def finetune(job: Job) -> dict:
    """Train the head of `cfg.checkpoint` on the label maps of a few-shot run; writes `out/model` and `out/log`."""
    cfg, settings, fabric = job.cfg, job.cfg.training.finetune, job.open_device()
    pretrained, record = load_field(cfg.checkpoint)
    captures = make_capture_set(cfg.capture)
    if not captures.label_names:
        raise InputError("these captures have no label maps: see capture.labels")
    run = labelled_run(cfg, captures, record["ids"])
    views = labelled_views(cfg, captures, run)
    print(f"seed {cfg.seed}, run {cfg.run}: labelled {', '.join(run.shapes)}", flush=True)
    numbers = {id: record["ids"].index(id) for id in run.shapes}
    source = RaySource(
        captures, run.shapes, settings.objects, settings.rays, settings.foreground, None, views, True, numbers
    )
    seed = seed_of(cfg.seed, cfg.run, "fine-tuning")
    seed_everything(seed, verbose=False)
    layers = MLP_LAYERS if settings.head == "mlp" else 0
    field = ConditionalField(
        pretrained.settings, len(record["ids"]), len(captures.label_names), settings.points, layers
    )
    head = {name: values for name, values in field.state_dict().items() if name.startswith("head.")}
    field.load_state_dict({name: x for name, x in pretrained.state_dict().items() if name not in head} | head)
    for name, weight in field.named_parameters():
        weight.requires_grad_(name in head)
    label_weights = frequency_weights(source) if settings.balanced else None
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    recipe = Recipe("finetune", settings.steps, optimizer, make_schedule(settings.schedule), seed)
    sources = {"labelled": (source, "training.finetune.objects")}
    history = train(
        job.loop(fabric),
        recipe,
        field,
        sources,
        partial(step, fabric=fabric, label_weights=label_weights),
        mode=nn.Module.eval,
    )
    names = list(captures.label_names)
    if rank() == 0:
        save_field(job.out / "model", field, {"ids": record["ids"], "label_names": names, **job.provenance})
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {
        "captures": run.shapes,
        "views": views,
        "labels_not_covered": run.labels_not_covered,
        "label_maps": sum(map(len, views.values())),
        "history": history.steps,
    }
