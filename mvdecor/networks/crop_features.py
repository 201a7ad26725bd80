"""Features of overlapping crops of a view at several scales, from which those of any pixel follow exactly.

3D-OVS (Liu et al., NeurIPS 2023, section 3.1) gives each pixel the mean of the CLIP embeddings of the crops that cover it.
Stored per pixel that is 1.17 GB for a view of 504 x 378 pixels at three scales; the crops' embeddings and boxes are 3.3 MB
and say the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks.text_image import TextImage
from mvdecor.weights import open_weights, write_weights

KIND = "mvdecor crop features 1"
CHANNELS = 32
"""Channels that are summed together where the length of mean embeddings is computed."""


@dataclass(frozen=True)
class CropFeatures:
    """Embeddings of the crops of one view at S scales.

    Attributes:
        embeddings: of each scale float16 [n, D], of unit length up to rounding.
        boxes: of each scale int32 [n, 4]: x0, y0, x1, y1 in pixels, x1 and y1 excluded. Together they cover the view.
        height, width: of the view.
    """

    embeddings: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    height: int
    width: int

    def __post_init__(self) -> None:
        assert len(self.embeddings) == len(self.boxes) > 0, "one list of boxes per scale"
        for embeddings, boxes in zip(self.embeddings, self.boxes):
            assert boxes.shape == (len(embeddings), 4) and boxes.dtype == torch.int32, "boxes must be int32 [n, 4]"
            assert embeddings.dtype == torch.float16, "embeddings must be float16 [n, D]"

    @property
    def bytes(self) -> int:
        """Memory of embeddings and boxes."""
        return sum(tensor.nbytes for tensor in (*self.embeddings, *self.boxes))

    def pixels(self, scale: int, rows: Tensor, columns: Tensor) -> Tensor:
        """float32 [P, D], the feature of pixels: mean of the embeddings of the crops that cover each, scaled to length 1.

        Args:
            scale: index of the scale.
            rows, columns: int64 [P], of the pixels.
        """
        x0, y0, x1, y1 = self.boxes[scale].unbind(dim=1)
        rows, columns = rows[:, None], columns[:, None]
        covers = (x0 <= columns) & (columns < x1) & (y0 <= rows) & (rows < y1)
        return F.normalize(covers.float() @ self.embeddings[scale].float(), dim=1)

    def scores(self, text: Tensor) -> Tensor:
        """float32 [S, C, H, W], cosine between the feature of each pixel (see `pixels`) and each of the C words.

        Args:
            text: float32 [C, D], of unit length.
        """
        maps = []
        for embeddings, boxes, length in zip(self.embeddings, self.boxes, self.lengths):
            sums = box_sums(boxes, embeddings.float() @ text.T, self.height, self.width)
            maps.append((sums / length.clamp_min(1e-12)).float())
        return torch.stack(maps)

    @cached_property
    def lengths(self) -> Tensor:
        """float64 [S, H, W]: length of the sum of the embeddings that cover each pixel. Computed once, for all words."""
        lengths = []
        for embeddings, boxes in zip(self.embeddings, self.boxes):
            squares = torch.zeros(self.height, self.width, dtype=torch.float64)
            for channels in embeddings.split(CHANNELS, dim=1):
                squares += box_sums(boxes, channels, self.height, self.width).square_().sum(dim=0)
            lengths.append(squares.sqrt())
        return torch.stack(lengths)


def box_sums(boxes: Tensor, values: Tensor, height: int, width: int) -> Tensor:
    """float64 [C, height, width]: at each pixel the sum of the values of the boxes that cover it.

    Each box adds to its four corners of an array of differences; two cumulative sums spread that over its pixels.

    Args:
        boxes: int32 [n, 4], see `CropFeatures`.
        values: [n, C].
    """
    x0, y0, x1, y1 = boxes.long().unbind(dim=1)
    values = values.double()
    corners = torch.zeros((height + 1) * (width + 1), values.shape[1], dtype=torch.float64)
    for y, x, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        corners.index_add_(0, y * (width + 1) + x, values, alpha=sign)
    sums = corners.view(height + 1, width + 1, -1).cumsum_(dim=0).cumsum_(dim=1)
    return sums[:height, :width].permute(2, 0, 1)


def crop_boxes(
    height: int, width: int, parts: Sequence[int] = (5, 7, 10), stride: int = 4, growth: float = 0.25, seed: int = 0
) -> list[Tensor]:
    """Square crops of several scales over a view, int32 [n, 4] (x0, y0, x1, y1) of each scale; together they cover it.

    As the released code of 3D-OVS lays them: the shorter side of the view divided by 5, 7 and 10, a quarter of a crop from
    one to the next, and each border moved outwards by a random number of pixels. The last row and column of crops end
    where the view does.

    Args:
        height, width: of the view.
        parts: of each scale, how many crops side by side span the shorter side.
        stride: crops begin every `side // stride` pixels.
        growth: a border moves outwards by 0 to `growth` of a side, not beyond the view; 0: not at all.
        seed: of these random numbers.

    Raises:
        InputError: no scale, one below 1, or a view too small for it.
    """
    if not parts or min(parts) < 1 or min(height, width) // max(parts) < 2:
        raise InputError(
            f"parts={list(parts)} of a view of {width}x{height} pixels: give numbers of at least 1 by which its shorter side "
            "can be divided so that a crop has at least 2 pixels"
        )
    generator = torch.Generator().manual_seed(seed)
    scales = []
    for part in parts:
        side = min(height, width) // part
        y, x = (_starts(length, side, max(1, side // stride)) for length in (height, width))
        y, x = (grid.reshape(-1) for grid in torch.meshgrid(y, x, indexing="ij"))
        growths = torch.randint(int(growth * side) + 1, (len(x), 4), generator=generator)
        boxes = torch.stack([x, y, x + side, y + side], dim=1) + growths * torch.tensor([-1, -1, 1, 1])
        limits = torch.tensor([width, height, width, height])
        scales.append(boxes.clamp_min(0).minimum(limits).int())
    return scales


def _starts(length: int, side: int, step: int) -> Tensor:
    """Where crops along one axis begin: every `step` pixels, and one that ends with the view."""
    return torch.tensor(sorted({*range(0, length - side + 1, step), length - side}))


@torch.no_grad()
def features_of(
    images: Tensor,
    model: TextImage,
    parts: Sequence[int] = (5, 7, 10),
    stride: int = 4,
    growth: float = 0.25,
    seed: int = 0,
    batch: int = 256,
    cache: str | Path | None = None,
) -> list[CropFeatures]:
    """Features of some views, each in a file of its own if there is a cache: what was computed once is read again.

    Args:
        images: uint8 [N, H, W, 3], as of `Capture.images`.
        model: embeds the crops.
        parts, stride, growth, seed: see `crop_boxes`; each view has random numbers of its own. No parts: no crops but the
            patches of the model, which then is a `DenseImage` too (TIPSv2): one pass per view.
        batch: crops that are embedded together.
        cache: folder of the files, named by what they depend on (picture, model and settings); None: none are written.

    Raises:
        InputError: see `crop_boxes`; a damaged file in the cache; no parts, and a model without patches.
    """
    if not parts and not hasattr(model, "dense_features"):
        raise InputError(
            "parts=[] asks for the patches of the text-image model, which has no patches of its own: name parts"
        )
    features = []
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        boxes = crop_boxes(height, width, parts, stride, growth, seed + number) if parts else []
        digest = hashlib.sha256(image.numpy().tobytes() + f"{KIND} {model.fingerprint} {list(image.shape)}".encode())
        for scale in boxes:
            digest.update(scale.numpy().tobytes())
        file = None if cache is None else Path(cache) / f"{digest.hexdigest()}.safetensors"
        if file is not None and file.is_file():
            features.append(_read(file, height, width))
            continue
        features.append(_cropped(image, boxes, model, batch) if parts else _patches(image, model))
        if file is not None:
            tensors = {f"embeddings.{i}": values for i, values in enumerate(features[-1].embeddings)}
            tensors |= {f"boxes.{i}": values for i, values in enumerate(features[-1].boxes)}
            write_weights(file, tensors, KIND, {"scales": len(features[-1].boxes), "model": model.fingerprint})
    return features


def _cropped(image: Tensor, boxes: Sequence[Tensor], model: TextImage, batch: int) -> CropFeatures:
    embeddings = tuple(
        torch.cat(
            [model.image_features(crops).half().cpu() for crops in crops_of(image, scale, model.crop_size, batch)]
        )
        for scale in boxes
    )
    return CropFeatures(embeddings, tuple(boxes), image.shape[0], image.shape[1])


def _patches(image: Tensor, model: Any) -> CropFeatures:
    """The patches of one pass over a picture: crops that tile it."""
    dense = model.dense_features(image.permute(2, 0, 1).float() / 255)
    rows, columns = (
        torch.linspace(0, side, count + 1).round().int() for side, count in zip(image.shape[:2], dense.shape[1:])
    )
    y0, x0 = torch.meshgrid(rows[:-1], columns[:-1], indexing="ij")
    y1, x1 = torch.meshgrid(rows[1:], columns[1:], indexing="ij")
    boxes = torch.stack([x0, y0, x1, y1], dim=-1).view(-1, 4)
    return CropFeatures((dense.flatten(1).T.half().contiguous(),), (boxes,), image.shape[0], image.shape[1])


def crops_of(image: Tensor, boxes: Tensor, size: int, batch: int) -> Iterator[Tensor]:
    """Crops of a picture resized to size x size pixels (bilinear, averaging where they shrink), `batch` at a time.

    Args:
        image: uint8 [H, W, 3].
        boxes: int32 [n, 4], see `CropFeatures`.

    Yields:
        float32 [up to batch, 3, size, size] in [0, 1].
    """
    picture = image.permute(2, 0, 1).float()[None] / 255
    for group in boxes.split(batch):
        crops = [
            F.interpolate(
                picture[..., y0:y1, x0:x1], (size, size), mode="bilinear", align_corners=False, antialias=True
            )
            for x0, y0, x1, y1 in group.tolist()
        ]
        yield torch.cat(crops).clamp_(0, 1)


def _read(file: Path, height: int, width: int) -> CropFeatures:
    with open_weights(file, KIND, "file of crop features: remove it, and it is made again") as (record, tensors):
        embeddings, boxes = (
            tuple(tensors[f"{name}.{i}"] for i in range(record["scales"])) for name in ("embeddings", "boxes")
        )
        return CropFeatures(embeddings, boxes, height, width)


def relevancies(
    features: Sequence[CropFeatures],
    text: Tensor,
    over: str = "view",
    mask: Tensor | None = None,
    quantile: float = 0.0,
) -> Tensor:
    """float32 [N, S, C, H, W] in [0, 1]: cosine of each pixel and word, stretched from its least to its greatest value.

    Args:
        features: of N views of one size.
        text: float32 [C, D], of unit length.
        over: "view": least and greatest are those of a view, word and scale (as released); "all": of all views together, so
            that a word absent from a view stays low there.
        mask: bool [N, H, W], pixels whose values are stretched; others may lie outside of [0, 1]. None: all.
        quantile: stretch from this quantile to the opposite one instead, and cut what lies beyond, so that a few pixels do
            not set the scale; 0: from least to greatest (as released).

    Raises:
        InputError: another `over`, or a quantile that is not in [0, 0.5).
    """
    if over not in ("view", "all"):
        raise InputError(f"relevancy={over}: choose view (each view stretched by itself) or all")
    if not 0 <= quantile < 0.5:
        raise InputError(f"quantile={quantile}: give a share of the pixels from 0 to below 0.5")
    scores = torch.stack([view.scores(text) for view in features])
    count = len(scores)
    inside = torch.ones_like(scores[:, 0, 0], dtype=torch.bool) if mask is None else mask
    for views in [[view] for view in range(count)] if over == "view" else [list(range(count))]:
        values = torch.cat([scores[view][..., inside[view]] for view in views], dim=-1)
        if not values.shape[-1]:
            continue  # a view that sees nothing of a mesh
        beyond = int(quantile * values.shape[-1])
        low = values.kthvalue(beyond + 1).values[..., None, None]
        high = values.kthvalue(values.shape[-1] - beyond).values[..., None, None]
        scores[views] = (scores[views] - low) / (high - low).clamp_min(1e-8)
        if beyond:
            scores[views] = scores[views].clamp(0, 1)
    return scores
