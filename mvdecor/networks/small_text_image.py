"""A small text-image model that the project trains itself: a convolutional network against frozen sentence embeddings.

0.2 million weights, trained in two minutes of one core on captioned crops of made-up rooms (scripts/text_image.py). It knows
little of the world, but it is an honest text-image model: its words are those of a real sentence encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.errors import InputError
from mvdecor.networks.sentences import CONTEXT, SentenceEncoder
from mvdecor.weights import WEIGHTS, find_weights, open_weights, write_weights

KIND = "mvdecor text-image model 1"
CROP = 24
"""Pixels per side of the crops."""


class CropTextNetwork(nn.Module):
    """Crops and sentence embeddings into one space.

    Args:
        dimension: of that space.
        sentence_dimension: of the sentence embeddings.
        widths: channels of the convolutions' stages; each but the first halves the size.
    """

    def __init__(
        self, dimension: int = 128, sentence_dimension: int = 384, widths: Sequence[int] = (32, 48, 64, 96)
    ) -> None:
        super().__init__()
        self.dimension, self.sentence_dimension, self.widths = dimension, sentence_dimension, tuple(widths)
        layers: list[nn.Module] = []
        for i, (before, width) in enumerate(zip((3, *widths[:-1]), widths)):
            stride = 1 if i == 0 else 2
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        side = CROP // 2 ** (len(widths) - 1)
        self.image = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, dimension))
        self.text = nn.Linear(sentence_dimension, dimension)
        self.scale = nn.Parameter(torch.tensor(2.5))  # logarithm of the inverse temperature

    def embed_crops(self, crops: Tensor) -> Tensor:
        """float32 [N, 3, CROP, CROP] in [0, 1] to [N, dimension] of unit length."""
        return F.normalize(self.image(4 * crops - 2), dim=1)

    def embed_sentences(self, sentences: Tensor) -> Tensor:
        """Sentence embeddings [C, sentence_dimension] to [C, dimension] of unit length."""
        return F.normalize(self.text(sentences), dim=1)

    def forward(self, crops: Tensor, sentences: Tensor) -> Tensor:
        """[N, C], cosine over temperature of each crop and sentence."""
        return self.scale.exp() * self.embed_crops(crops) @ self.embed_sentences(sentences).T


class SmallTextImage:
    """A trained `CropTextNetwork` with its sentence encoder, as a `TextImage`.

    Args:
        folder: with `model.safetensors`, what scripts/text_image.py wrote to out/model.
        sentences: folder of the sentence encoder, see `SentenceEncoder`.
        device: where it runs; answers are on the CPU.

    Raises:
        InputError: no such file, a damaged one, or one trained with another sentence encoder.
    """

    crop_size = CROP
    context = CONTEXT

    def __init__(self, folder: str | Path, sentences: str | Path | None = None, device: str = "cpu") -> None:
        self.network, record = load_small_text_image(folder)
        self.network.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.sentences = SentenceEncoder(sentences)
        if record["sentences"] != self.sentences.fingerprint:
            raise InputError(
                f"{folder}: trained with another sentence encoder; give its folder as text_image.sentences"
            )
        self.dimension = self.network.dimension
        self.fingerprint: str = record["weights_sha256"]

    @torch.no_grad()
    def image_features(self, patches: Tensor) -> Tensor:
        """See `TextImage`."""
        return self.network.embed_crops(patches.to(self.device)).cpu()

    @torch.no_grad()
    def text_features(self, words: Sequence[str]) -> Tensor:
        """See `TextImage`."""
        return self.network.embed_sentences(self.sentences.embed(words).to(self.device)).cpu()

    def tokens(self, words: str) -> int:
        """See `TextImage`."""
        return self.sentences.tokens(words)


def save_small_text_image(folder: Path, network: CropTextNetwork, sentences: str, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`.

    Args:
        folder: made if it is not there.
        network: on any device.
        sentences: fingerprint of the sentence encoder that it was trained with.
        record: plain values to go along.
    """
    sizes = {"dimension": network.dimension, "sentence_dimension": network.sentence_dimension, "widths": network.widths}
    write_weights(folder / WEIGHTS, network.state_dict(), KIND, {"network": sizes, "sentences": sentences, **record})


def load_small_text_image(folder: str | Path) -> tuple[CropTextNetwork, dict[str, Any]]:
    """The network, and its record with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    source = "the out/model of scripts/text_image.py, as text_image.folder"
    with open_weights(find_weights(folder, source), KIND, "text-image model of scripts/text_image.py") as (
        record,
        state,
    ):
        network = CropTextNetwork(**record["network"])
        network.load_state_dict(state)
    return network, record
