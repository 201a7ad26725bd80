"""What a user adds without touching the package: a channel, a loss, a network, a vote rule, a metric, a reader of data."""

import torch
from torch import Tensor, nn

from mvdecor.channels import Channel
from mvdecor.shapes import RenderPeople


def render_height(shape, views, surface) -> Tensor:
    """The y coordinate of each pixel's surface point."""
    return surface.points[..., 1:2]


height = Channel(mean=(0.0,), std=(0.5,), render=render_height)


class Agree(nn.Module):
    """Matched pixels have equal embeddings (nothing keeps others apart)."""

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        return (a - b).square().mean(), torch.zeros(())


class TwoLayers(nn.Module):
    """The smallest network that looks at neighbours."""

    def __init__(self, in_channels: int, embedding_dim: int = 8) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, embedding_dim, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def confident(logits: Tensor, power: float) -> Tensor:
    """A vote rule: the most probable class gets its probability to a power, the others nothing."""
    probability, label = logits.softmax(dim=-1).max(dim=-1)
    return nn.functional.one_hot(label, logits.shape[-1]) * probability.pow(power)[:, None]


def recall(shape, labels: Tensor, part: int) -> float | None:
    """A metric: the share of the faces of a part that have its label; None where the shape has no such part."""
    true = shape.face_labels == part
    return float((labels[true] == part).float().mean()) if bool(true.any()) else None


def nan(shape, labels: Tensor) -> float:
    """A metric that is none."""
    return float("nan")


class Backwards:
    """The people in the reverse order: all that a reader needs."""

    def __init__(self, root: str) -> None:
        self._people = RenderPeople(root)
        self.label_names = self._people.label_names

    def ids(self, split: str) -> list[str]:
        return self._people.ids(split)[::-1]

    def load(self, id: str):
        return self._people.load(id)
