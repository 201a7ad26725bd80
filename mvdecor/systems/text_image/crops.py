"""Captioned crops of made-up rooms: what the small text-image model is trained on and measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.made_up.room_captures import RoomCaptures
from mvdecor.made_up.rooms import SURFACES, SYNONYMS, Composition
from mvdecor.networks.crop_features import crops_of
from mvdecor.networks.small_text_image import CROP
from mvdecor.seeds import seed_of

SURFACE_SYNONYMS = {"floor": ("ground",), "wall": ()}
GRANULARITIES = ("name", "colour and kind", "kind")
SIDES = (5, 24)
"""Least and greatest side of a crop, pixels."""


@dataclass(frozen=True)
class Caption:
    """What a crop shows: an object, or a surface of the room.

    Attributes:
        kind: of `KINDS`, or of `SURFACES`.
        colour, pattern: of an object; "" of a surface.
    """

    kind: str
    colour: str = ""
    pattern: str = ""

    def text(self, granularity: str, kind: str) -> str:
        """As in "red striped lamp", "red lamp" or "lamp", with a word for the kind. Surfaces have one word."""
        if granularity == "kind" or not self.colour:
            return kind
        return Composition(kind, self.colour, self.pattern if granularity == "name" else "plain").name


def captions_of(caption: Caption) -> list[str]:
    """All texts of a caption, in all granularities and synonyms."""
    return [caption.text(granularity, word) for granularity in GRANULARITIES for word in words_of(caption.kind)]


def words_of(kind: str) -> tuple[str, ...]:
    """A kind and its synonyms."""
    return (kind, *(SYNONYMS | SURFACE_SYNONYMS)[kind])


@dataclass(frozen=True)
class Crops:
    """M captioned crops.

    Attributes:
        pixels: uint8 [M, 3, CROP, CROP].
        captions: the distinct captions, C of them.
        numbers: int64 [M], caption of each crop.
        rooms: ids of the rooms.
    """

    pixels: Tensor
    captions: tuple[Caption, ...]
    numbers: Tensor
    rooms: tuple[str, ...]


def room_crops(rooms: RoomCaptures, split: str, views: int, per_view: int, seed: int) -> Crops:
    """Crops of the first views of all rooms of a split, each around a random pixel of a random label.

    The caption is that of the label that most of the crop's pixels have.
    """
    captions: dict[Caption, int] = {}
    pixels, numbers = [], []
    for id in rooms.ids(split):
        capture, objects = rooms.load(id), rooms.room(id).objects
        labels = [Caption(surface) for surface in SURFACES]
        labels += [Caption(solid.kind, solid.colour, solid.pattern) for solid in objects]
        rng = np.random.default_rng(seed_of(seed, "crops", id))
        for view in rng.permutation(len(capture))[:views].tolist():
            crops, majority = _view_crops(capture, view, per_view, rng)
            pixels.append(crops)
            numbers += [captions.setdefault(labels[label], len(captions)) for label in majority]
    return Crops(torch.cat(pixels), tuple(captions), torch.tensor(numbers), tuple(rooms.ids(split)))


def _view_crops(capture: Capture, view: int, count: int, rng: np.random.Generator) -> tuple[Tensor, list[int]]:
    """uint8 [count, 3, CROP, CROP] of a view, and the label of each."""
    seen = capture.read(view)
    assert seen.labels is not None
    height, width = seen.labels.shape
    present = np.unique(seen.labels)
    boxes, majority = [], []
    for _ in range(count):
        rows, columns = np.nonzero(seen.labels == rng.choice(present))
        pixel = rng.integers(len(rows))
        side = int(np.exp(rng.uniform(np.log(SIDES[0]), np.log(SIDES[1] + 1))))
        y0 = int(np.clip(rows[pixel] - rng.integers(side), 0, height - side))
        x0 = int(np.clip(columns[pixel] - rng.integers(side), 0, width - side))
        boxes.append([x0, y0, x0 + side, y0 + side])
        majority.append(int(np.bincount(seen.labels[y0 : y0 + side, x0 : x0 + side].reshape(-1)).argmax()))
    image = torch.from_numpy(seen.image)
    (crops,) = crops_of(image, torch.tensor(boxes, dtype=torch.int32), CROP, count)
    return (crops * 255).round().byte(), majority


@dataclass(frozen=True)
class CropBatch:
    """B crops and the T texts that they are told apart by.

    Attributes:
        crops: float32 [B, 3, CROP, CROP] in [0, 1].
        sentences: float32 [T, S], embeddings of the texts.
        targets: int64 [B], the text of each crop.
        shape_ids: the rooms, for messages.
        views: none are named: the crops are of many.
        share: of the crops of the step's batch, of which another process may have others.
    """

    crops: Tensor
    sentences: Tensor
    targets: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, ...], ...] = ((),)
    share: float = 1.0

    def to(self, device: torch.device | str) -> CropBatch:
        """The same batch with its tensors on `device`."""
        tensors = {name: getattr(self, name).to(device) for name in ("crops", "sentences", "targets")}
        return replace(self, **tensors)


class CropSource:
    """Batches of captioned crops: one granularity per batch, and one word per kind, so that no two texts mean the same.

    Args:
        crops: to choose from.
        embeddings: float32 [S] of each text that may occur, see `captions_of`.
        batch: crops per batch.
    """

    def __init__(self, crops: Crops, embeddings: dict[str, Tensor], batch: int) -> None:
        self.crops, self.embeddings, self.batch = crops, embeddings, batch

    def __len__(self) -> int:
        return self.batch

    def sample(self, seed: int, step: int, positions: range | None = None) -> CropBatch:
        """The batch of a step, or the crops of it at some `positions`."""
        rng = np.random.default_rng(seed_of(seed, "captioned crops", step))
        numbers = rng.integers(len(self.crops.pixels), size=self.batch)
        granularity = GRANULARITIES[rng.integers(len(GRANULARITIES))]
        words = {kind: words_of(kind)[rng.integers(len(words_of(kind)))] for kind in (*SYNONYMS, *SURFACE_SYNONYMS)}
        texts = [
            self.crops.captions[i].text(granularity, words[self.crops.captions[i].kind])
            for i in self.crops.numbers[numbers]
        ]
        distinct = list(dict.fromkeys(texts))
        mirrored = torch.from_numpy(rng.random(self.batch) < 0.5)[:, None, None, None]
        light = torch.from_numpy(rng.uniform(0.85, 1.15, (self.batch, 1, 1, 1))).float()
        crops = self.crops.pixels[numbers].float() / 255
        crops = (torch.where(mirrored, crops.flip(-1), crops) * light).clamp(max=1)
        targets = torch.tensor([distinct.index(text) for text in texts])
        sentences = torch.stack([self.embeddings[text] for text in distinct])
        part = slice(None) if positions is None else list(positions)
        share = len(targets[part]) / self.batch
        return CropBatch(crops[part], sentences, targets[part], self.crops.rooms[:1], share=share)


def names_of(captions: Sequence[Caption]) -> list[str]:
    """The full name of each caption."""
    return [caption.text("name", caption.kind) for caption in captions]
