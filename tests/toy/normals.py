"""A system of its own on the engine: predict normals from colours. Pretrained on all shapes, fine-tuned on k, evaluated."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mvdecor.engine.content import Files
from mvdecor.engine.loop import Recipe, Validation, train
from mvdecor.engine.record import settings_of
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import STATE, Job, Stage
from mvdecor.files import write_atomically
from mvdecor.seeds import seed_of
from mvdecor.shapes import Shape, load_shapes
from mvdecor.systems.mvdecor.setup import make_shape_views, make_store
from mvdecor.views import Rendering, ShapeViews, surface_of

RGB_AND_NORMALS = Rendering(("rgb", "normal"))


class Normals(nn.Module):
    """Colours [B, 3, H, W] to unit normals [B, 3, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))

    def forward(self, rgb: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(rgb), dim=1)


@dataclass(frozen=True)
class Batch:
    """Colours and normals [B, 3, H, W] of views; normals are 0 where there is background."""

    rgb: Tensor
    normals: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[int, ...]

    def to(self, device: torch.device) -> "Batch":
        return replace(self, rgb=self.rgb.to(device), normals=self.normals.to(device))


@dataclass
class Source:
    """Batches of random views of random shapes; each item has a seed of its own."""

    shape_views: ShapeViews
    size: int = 4

    def __len__(self) -> int:
        return self.size

    def sample(self, seed: int, step: int, items: range | None = None) -> Batch:
        places = []
        for item in items or range(self.size):
            generator = torch.Generator().manual_seed(seed_of("normals", seed, step, item))
            shape = self.shape_views[int(torch.randint(len(self.shape_views), (1,), generator=generator))]
            places.append((shape, int(torch.randint(self.shape_views.num_views(shape), (1,), generator=generator))))
        images = torch.cat([self.image(shape, view) for shape, view in places])
        ids = tuple(shape.id for shape, _ in places)
        return Batch(images[:, :3], images[:, 3:], ids, tuple(view for _, view in places))

    def image(self, shape: Shape, view: int) -> Tensor:
        views = self.shape_views.views(shape, [view])
        return RGB_AND_NORMALS(shape, views, surface_of(shape, views))[:, 0]


def error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean L1 distance over the foreground."""
    foreground = truth.norm(dim=1) > 0.5
    return (predicted - truth).abs().sum(dim=1)[foreground].mean()


def step(model: nn.Module, batches: Mapping[str, Batch]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    loss = error(model(batches["views"].rgb), batches["views"].normals)
    yield loss, {"loss": loss}


@torch.no_grad()
def measure(model: nn.Module, source: Source) -> dict[str, float]:
    batch = source.sample(0, 0)
    return {"loss": float(error(model(batch.rgb), batch.normals))}


def shapes_of(cfg, split: str) -> Source:
    store = make_store(cfg, cfg.data.labelled)
    shapes, _ = load_shapes(store, store.ids(split)[: cfg.data.pretrain_limit])
    return Source(make_shape_views(cfg, shapes, torch.device("cpu")))


def learn(job: Job, name: str, split: str, steps: int) -> dict:
    cfg, fabric, source = job.cfg, job.open_device(), shapes_of(job.cfg, split)
    torch.manual_seed(seed_of(cfg.seed, name))
    model = Normals()
    if cfg.checkpoint is not None:
        model.load_state_dict(load_file(cfg.checkpoint))

    def save_best(figures: dict[str, float]) -> None:
        write_atomically(job.out / f"{name}.safetensors", save(model.state_dict()))

    optimizer = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    recipe = Recipe(name, steps, optimizer, make_schedule("constant"), seed_of(cfg.seed, name, "batches"))
    validation = Validation(partial(measure, source=source), 3, save_best)
    history = train(job.loop(fabric), recipe, model, {"views": (source, "batch of 4 views")}, step, validation)
    return {"history": history.validations}


def evaluate(job: Job) -> dict:
    model = Normals()
    model.load_state_dict(load_file(job.cfg.checkpoint))
    return {"error": measure(model, shapes_of(job.cfg, "test"))["loss"], "method": job.cfg.method.name}


def settings(cfg) -> dict:
    return settings_of(cfg, ["seed", "run", "views", "-views.cache", "data.pretrain_limit"])


def reads(cfg) -> dict[str, Files]:
    files = {"the shapes": Files.of(sorted(Path(cfg.data.root).rglob("*.obj")))}
    return files | ({} if cfg.checkpoint is None else {"checkpoint": Files.of([cfg.checkpoint])})


PRETRAIN = Stage(
    "pretraining",
    "pretrain.json",
    partial(learn, name="pretrain", split="train", steps=9),
    settings,
    reads,
    temporary=(STATE,),
)
FINETUNE = Stage(
    "fine-tuning",
    "finetune.json",
    partial(learn, name="finetune", split="val", steps=3),
    settings,
    reads,
    temporary=(STATE,),
)
EVALUATE = Stage("evaluation", "metrics.json", evaluate, settings, reads)
