"""Fine-tuning: a head on the frozen field's features, from n label maps (Kohli et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from torch import Tensor, nn

from mvdecor.captures import RayBatch, RaySource, about_labelled, frequency_weights, labelled_views, make_capture_set
from mvdecor.engine.distributed import rank, weight_of_mean
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.fields import ConditionalField, ViewHits, labels_loss, load_field, save_field
from mvdecor.seeds import seed_of


def train_head_alone(field: ConditionalField, wrapped: nn.Module) -> None:
    """The head into training mode, all else into evaluation mode."""
    wrapped.eval()
    assert field.head is not None
    field.head.train()


def step(
    model: nn.Module,
    batches: Mapping[str, RayBatch],
    fabric: Fabric,
    label_weights: Tensor | None,
    view_hits: ViewHits | None,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Cross-entropy of a batch of labelled rays; undetermined ones do not count."""
    batch = batches["labelled"]
    assert batch.labels is not None, "the source must give labels"
    if view_hits is None:
        logits = model.label_rays(batch.objects, *batch.rays)  # type: ignore[operator]
    else:
        logits = model.label_logits(view_hits.of(batch), view_hits.size)  # type: ignore[operator]
    count = (batch.labels >= 0).sum()
    weight = weight_of_mean(fabric, count) / count.clamp_min(1)
    loss = labels_loss(logits, batch.labels, label_weights).sum() * weight
    yield loss, {"loss": loss, "accuracy": (logits.argmax(dim=-1) == batch.labels).sum() * weight}


def finetune(job: Job) -> dict:
    """Train the head of `cfg.checkpoint` on the label maps of a few-shot run; writes `out/model` and `out/log`."""
    cfg, settings, fabric = job.cfg, job.cfg.training.finetune, job.open_device()
    pretrained, record = load_field(cfg.checkpoint)
    captures = make_capture_set(cfg.capture)
    if not captures.label_names:
        raise InputError("these captures have no label maps: see capture.labels")
    wanted = {name: settings[name] for name in ("k", "v", "split")}
    run, views = labelled_views(captures, record["ids"], **wanted, seed=cfg.seed, run=cfg.run)
    print(f"seed {cfg.seed}, run {cfg.run}: labelled {', '.join(run.shapes)}", flush=True)
    numbers = {id: record["ids"].index(id) for id in run.shapes}
    whole = settings.head == "unet"
    sampling = settings.objects, settings.rays, settings.foreground, 1 if whole else None
    source = RaySource(captures, run.shapes, *sampling, views, True, numbers, whole_views=whole)
    seed = seed_of(cfg.seed, cfg.run, "fine-tuning")
    seed_everything(seed, verbose=False)
    counts = len(record["ids"]), len(captures.label_names)
    field = ConditionalField(pretrained.settings, *counts, settings.points, settings.head)
    head = {name: values for name, values in field.state_dict().items() if name.startswith("head.")}
    field.load_state_dict({name: x for name, x in pretrained.state_dict().items() if name not in head} | head)
    for name, weight in field.named_parameters():
        weight.requires_grad_(name in head)
    view_hits = ViewHits.of_source(field, source) if whole else None
    label_weights = frequency_weights(captures, views) if settings.balanced else None
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    recipe = Recipe("finetune", settings.steps, optimizer, make_schedule(settings.schedule), seed)
    sources = {"labelled": (source, "training.finetune.objects")}
    history = train(
        job.loop(fabric),
        recipe,
        field,
        sources,
        partial(step, fabric=fabric, label_weights=label_weights, view_hits=view_hits),
        mode=partial(train_head_alone, field),
    )
    names = list(captures.label_names)
    if rank() == 0:
        save_field(job.out / "model", field, {"ids": record["ids"], "label_names": names, **job.provenance})
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {**about_labelled(run, views), "history": history.steps}
