"""Features of crops: those of pixels against a loop over pixels and crops, relevancies, the cache, words that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks.crop_features import CropFeatures, crop_boxes, crops_of, features_of, relevancies
from mvdecor.networks.text_image import checked_words


class MeanColours:
    """The mean colour of a picture, and a constant, of unit length; words are their letters."""

    dimension = 4
    crop_size = 5
    context = 8
    fingerprint = "mean colours"

    def __init__(self) -> None:
        self.crops = 0

    def image_features(self, patches: Tensor) -> Tensor:
        self.crops += len(patches)
        return F.normalize(torch.cat([patches.mean(dim=(2, 3)), torch.full((len(patches), 1), 0.3)], dim=1), dim=1)

    def text_features(self, words: Sequence[str]) -> Tensor:
        return F.normalize(torch.tensor([[len(name), ord(name[0]) % 7, 1.0, 0.0] for name in words]), dim=1)

    def tokens(self, words: str) -> int:
        return len(words.split())


def random_view(height: int = 23, width: int = 31, seed: int = 0) -> CropFeatures:
    generator = torch.Generator().manual_seed(seed)
    boxes = crop_boxes(height, width, parts=(2, 5), seed=seed)
    embeddings = (F.normalize(torch.randn(len(scale), 40, generator=generator), dim=1).half() for scale in boxes)
    return CropFeatures(tuple(embeddings), tuple(boxes), height, width)


def slow_features(view: CropFeatures, scale: int) -> Tensor:
    """float64 [H, W, D]: the definition, pixel by pixel."""
    features = torch.zeros(view.height, view.width, view.embeddings[scale].shape[1], dtype=torch.float64)
    for y in range(view.height):
        for x in range(view.width):
            covering = [
                embedding.double()
                for embedding, (x0, y0, x1, y1) in zip(view.embeddings[scale], view.boxes[scale].tolist())
                if x0 <= x < x1 and y0 <= y < y1
            ]
            mean = torch.stack(covering).mean(dim=0)
            features[y, x] = mean / mean.norm()
    return features


def test_features_of_pixels_are_those_of_a_loop_over_crops() -> None:
    view = random_view()
    text = F.normalize(torch.randn(3, 40), dim=1)
    scores = view.scores(text)
    rows, columns = (axis.reshape(-1) for axis in torch.meshgrid(torch.arange(23), torch.arange(31), indexing="ij"))
    for scale in range(2):
        expected = slow_features(view, scale)
        features = view.pixels(scale, rows, columns)
        torch.testing.assert_close(features.double(), expected.view(-1, 40), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            scores[scale].double(), (expected @ text.double().T).permute(2, 0, 1), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize(("height", "width"), [(64, 64), (21, 50), (378, 504)])
@pytest.mark.parametrize("growth", [0.0, 0.25])
def test_crops_are_of_their_scale_and_cover_the_view(height: int, width: int, growth: float) -> None:
    for part, boxes in zip((5, 7, 10), crop_boxes(height, width, growth=growth)):
        side, (x0, y0, x1, y1) = min(height, width) // part, boxes.long().unbind(dim=1)
        assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= width).all() and (y1 <= height).all()
        assert (x1 - x0 >= side).all() and (x1 - x0 <= side + 2 * int(growth * side)).all()
        assert growth or ((x1 - x0 == side).all() and (y1 - y0 == side).all())
        covered = torch.zeros(height, width)
        for left, top, right, bottom in boxes.tolist():
            covered[top:bottom, left:right] += 1
        assert (covered > 0).all()


def test_a_view_of_the_paper_takes_less_than_5_megabytes() -> None:
    boxes = crop_boxes(378, 504)
    view = CropFeatures(tuple(torch.zeros(len(b), 512, dtype=torch.float16) for b in boxes), tuple(boxes), 378, 504)
    assert view.bytes < 5e6 < 378 * 504 * 3 * 512 * 4 / 200


def test_crops_are_cut_where_their_boxes_are() -> None:
    image = torch.arange(6 * 8 * 3, dtype=torch.uint8).view(6, 8, 3)
    boxes = torch.tensor([[0, 0, 4, 4], [3, 1, 7, 5], [0, 0, 8, 6]], dtype=torch.int32)
    first, second = crops_of(image, boxes, size=4, batch=2)
    torch.testing.assert_close((first[1] * 255).round().byte(), image[1:5, 3:7].permute(2, 0, 1))
    torch.testing.assert_close((first[0] * 255).round().byte(), image[:4, :4].permute(2, 0, 1))
    assert second.shape == (1, 3, 4, 4)


def test_features_are_read_again_from_the_cache_if_nothing_changed(tmp_path: Path) -> None:
    images = torch.randint(256, (2, 24, 20, 3), dtype=torch.uint8)
    model = MeanColours()
    first = features_of(images, model, parts=(2, 4), cache=tmp_path)
    crops = model.crops
    assert crops == sum(len(boxes) for view in first for boxes in view.boxes)
    second = features_of(images, model, parts=(2, 4), cache=tmp_path)
    assert model.crops == crops
    for one, two in zip(first, second):
        assert all(map(torch.equal, one.embeddings, two.embeddings)) and all(map(torch.equal, one.boxes, two.boxes))
    images[1, 3, 3, 0] += 1
    features_of(images, model, parts=(2, 4), cache=tmp_path)
    assert model.crops == crops + sum(map(len, first[1].boxes))  # the second view alone
    model.fingerprint = "others"
    features_of(images, model, parts=(2, 4), cache=tmp_path)
    assert model.crops == 2 * crops + sum(map(len, first[1].boxes))


def test_a_damaged_file_in_the_cache_is_refused(tmp_path: Path) -> None:
    images = torch.randint(256, (1, 24, 20, 3), dtype=torch.uint8)
    features_of(images, MeanColours(), parts=(2,), cache=tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        features_of(images, MeanColours(), parts=(2,), cache=tmp_path)


def test_relevancies_are_stretched_per_view_or_over_all() -> None:
    views, text = [random_view(seed=0), random_view(seed=1)], F.normalize(torch.randn(2, 40), dim=1)
    scores = torch.stack([view.scores(text) for view in views])
    per_view, over_all = relevancies(views, text), relevancies(views, text, over="all")
    assert per_view.shape == (2, 2, 2, 23, 31)
    for scale in range(2):
        for word in range(2):
            low, high = scores[:, scale, word].min(), scores[:, scale, word].max()
            torch.testing.assert_close(over_all[:, scale, word], (scores[:, scale, word] - low) / (high - low))
            for view in range(2):
                values = per_view[view, scale, word]
                assert values.min() == 0 and values.max() == 1
                assert torch.equal(values.flatten().argsort(), scores[view, scale, word].flatten().argsort())


def test_a_quantile_is_stretched_from_and_the_rest_is_cut() -> None:
    views, text = [random_view(seed=0)], F.normalize(torch.randn(2, 40), dim=1)
    mask = torch.rand(1, 23, 31, generator=torch.Generator().manual_seed(2)) < 0.6
    stretched, scores = relevancies(views, text, mask=mask, quantile=0.1)[0], views[0].scores(text)
    for scale in range(2):
        for word in range(2):
            inside = np.sort(scores[scale, word][mask[0]].numpy())
            low, high = inside[len(inside) // 10], inside[-1 - len(inside) // 10]
            expected = np.clip((scores[scale, word].numpy() - low) / (high - low), 0, 1)
            np.testing.assert_allclose(stretched[scale, word], expected, atol=1e-5)
    with pytest.raises(InputError, match=r"quantile=0\.5"):
        relevancies(views, text, quantile=0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least two"),
        (["lamp"], "at least two"),
        (["lamp", " "], "word 2 is empty"),
        (["red lamp", "sofa", "Red  lamp"], "twice"),
        (["sofa", "a b c d e f g h i"], "has 9 tokens, the text encoder reads 8"),
        ("lamp", "give a list"),
    ],
)
def test_words_that_make_no_query_are_refused(words: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_words(words, MeanColours())


def test_words_lose_white_space_around_them() -> None:
    assert checked_words([" red   lamp ", "sofa\n"]) == ["red lamp", "sofa"]


def test_a_view_too_small_for_a_scale_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 pixels"):
        crop_boxes(12, 30, parts=(10,))
