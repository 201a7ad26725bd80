"""Train the small text-image model on captioned crops of made-up rooms, and measure it on compositions that it never saw.

Held-out compositions are pairs of a kind and a colour (`mvdecor.made_up.rooms.HELD_OUT`) that no training room shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mvdecor.engine.distributed import rank, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.record import settings_of
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.settings import Device, Precision, check_out
from mvdecor.engine.stage import STATE, Job, Stage
from mvdecor.made_up.room_captures import LEAST_VIEWS, RoomCaptures
from mvdecor.networks.sentences import SentenceEncoder
from mvdecor.networks.small_text_image import CropTextNetwork, save_small_text_image
from mvdecor.seeds import seed_of
from mvdecor.settings import Count, NotNegative, PathName, Positive, Seed, Settings, WholeNumber
from mvdecor.systems.text_image.crops import CropBatch, Crops, CropSource, captions_of, names_of, room_crops

FILE = "text_image.json"
"""What closes a training in `out`."""
ROOM_SEED = 1000
"""Rooms to train on have seeds from here, those to measure with from twice that: none of them is one of `capture=rooms` with a
seed below."""


class CropRoomsSettings(Settings):
    """The group `rooms`: of what the crops are."""

    count: Count
    measured: Count
    size: Annotated[int, Field(ge=32, description="give at least 32 pixels, more than the largest crop")]
    views: Count
    crops: Count


class TextImageTraining(Settings):
    """The group `training`."""

    steps: Count
    batch: Count
    learning_rate: Positive
    weight_decay: NotNegative
    schedule: str | dict[str, Any]
    log_every: Count


class TextImageSettings(Settings):
    """configs/text_image.yaml."""

    out: PathName
    rooms: CropRoomsSettings
    dimension: Count
    widths: Annotated[list[Count], Field(min_length=1, max_length=4, description="give 1 to 4 numbers of channels")]
    sentences: PathName | None
    training: TextImageTraining
    seed: Seed
    device: Device
    precision: Precision
    workers: WholeNumber
    progress: bool
    save_every: Count


def check_text_image(cfg: DictConfig) -> None:
    """Refuse values that would only be noticed later; reads no data."""
    check_out(Path(TextImageSettings.of(cfg, complete=True).out))


def text_image_settings(cfg: DictConfig) -> dict[str, Any]:
    """What the result depends on."""
    keys = ["rooms", "dimension", "widths", "training", "-training.log_every", "seed", "precision"]
    return settings_of(cfg, keys) | {"sentences": SentenceEncoder(cfg.sentences).fingerprint}


def step(
    model: nn.Module, batches: Mapping[str, CropBatch], fabric: Fabric
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Cross-entropy over the texts of a batch."""
    batch = batches["crops"]
    logits = model(batch.crops, batch.sentences)
    error = cross_entropy(logits, batch.targets)
    accuracy = (logits.argmax(dim=1) == batch.targets).float().mean()
    yield weight_of_share(fabric, batch.share) * error, {"loss": error, "accuracy": accuracy}


def fit_text_image(job: Job) -> dict:
    """Train; writes `out/model` and `out/log`."""
    cfg, settings = job.cfg, TextImageSettings.of(job.cfg)
    fabric, rooms = job.open_device(), settings.rooms
    sentences = SentenceEncoder(settings.sentences)
    views = max(rooms.views, LEAST_VIEWS)
    captures = RoomCaptures(rooms.count, 0, views, rooms.size, seed=ROOM_SEED + cfg.seed)
    crops = room_crops(captures, "train", rooms.views, rooms.crops, cfg.seed)
    texts = sorted({text for caption in crops.captions for text in captions_of(caption)})
    embeddings = dict(zip(texts, sentences.embed(texts)))
    print(f"{len(crops.pixels)} crops of {rooms.count} rooms, {len(crops.captions)} captions", flush=True)
    seed = seed_of(cfg.seed, "text-image model")
    seed_everything(seed, verbose=False)
    network = CropTextNetwork(settings.dimension, sentences.dimension, settings.widths)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = settings.training
    recipe = Recipe(
        "text_image",
        training.steps,
        lambda weights: torch.optim.AdamW(weights, training.learning_rate, weight_decay=training.weight_decay),
        make_schedule(training.schedule),
        seed,
    )
    sources = {"crops": (CropSource(crops, embeddings, training.batch), "training.batch")}
    history = train(job.loop(fabric), recipe, network, sources, partial(step, fabric=fabric))
    network.eval()
    measured = RoomCaptures(rooms.measured, rooms.measured, views, rooms.size, seed=2 * ROOM_SEED + cfg.seed)
    result: dict[str, Any] = {
        name: measure(network, sentences, room_crops(measured, split, rooms.views, rooms.crops, cfg.seed))
        for name, split in (("seen", "train"), ("held_out", "test"))
    }
    result |= {"weights": sum(weight.numel() for weight in network.parameters()), "history": history.steps}
    if rank() == 0:
        save_small_text_image(job.out / "model", network, sentences.fingerprint, {"held_out": result["held_out"]})
    for name, figures in result.items():
        if name in ("seen", "held_out"):
            print(
                f"other rooms, compositions {name.replace('_', ' ')}: {figures['accuracy']:.1f} % of {figures['crops']} crops "
                f"of objects get their full name of {figures['names']} (chance {100 / figures['names']:.1f} %)",
                flush=True,
            )
    return result


@torch.no_grad()
def measure(network: CropTextNetwork, sentences: SentenceEncoder, crops: Crops) -> dict[str, Any]:
    """How many crops of objects are nearest to their full name, of the names of all objects; percent."""
    device = network.scale.device
    objects = [i for i, caption in enumerate(crops.captions) if caption.colour]
    names = names_of([crops.captions[i] for i in objects])
    text = network.embed_sentences(sentences.embed(names).to(device))
    of_object = torch.isin(crops.numbers, torch.tensor(objects))
    nearest = torch.cat(
        [
            (network.embed_crops(block.to(device).float() / 255) @ text.T).argmax(1).cpu()
            for block in crops.pixels[of_object].split(512)
        ]
    )
    correct = torch.tensor(objects)[nearest] == crops.numbers[of_object]
    return {"accuracy": 100 * float(correct.float().mean()), "crops": len(correct), "names": len(names)}


run_text_image = Stage(
    "training the text-image model",
    FILE,
    fit_text_image,
    text_image_settings,
    check=check_text_image,
    temporary=(STATE,),
    writes=("model",),
)
