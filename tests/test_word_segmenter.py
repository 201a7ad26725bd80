"""Words on a mesh alone: rendered, cropped, voted onto faces; by a text-image model that knows colours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

from mvdecor.apps.segment import run_segment
from mvdecor.errors import InputError
from mvdecor.networks.text_image import TextImage
from mvdecor.shapes.mesh_files import mesh_of
from mvdecor.word_segmenter import CropSettings, WordSegmenter

COLOURS = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0), "green": (0.0, 1.0, 0.0)}


class NamesOfColours:
    """Embeds a picture as its mean colour, less grey; a word as the colour that it names first."""

    dimension, crop_size, context, fingerprint = 3, 6, 4, "names of colours"

    def image_features(self, patches: Tensor) -> Tensor:
        mean = patches.mean(dim=(2, 3))
        return F.normalize(mean - mean.mean(dim=1, keepdim=True) + 1e-4, dim=1)

    def text_features(self, words: Sequence[str]) -> Tensor:
        colours = torch.tensor([COLOURS[name.split()[0]] for name in words])
        return F.normalize(colours - colours.mean(dim=1, keepdim=True), dim=1)

    def tokens(self, words: str) -> int:
        return len(words.split())


@pytest.fixture(scope="module")
def two_balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red and a blue ball beside each other, coloured by vertex."""
    balls = []
    for x, colour in ((-1.2, [255, 0, 0, 255]), (1.2, [0, 0, 255, 255])):
        ball = trimesh.creation.icosphere(2).apply_translation([x, 0, 0])
        ball.visual.vertex_colors = np.tile(np.array(colour, np.uint8), (len(ball.vertices), 1))
        balls.append(ball)
    file = tmp_path_factory.mktemp("meshes") / "balls.ply"
    trimesh.util.concatenate(balls).export(file)
    return file


def settings(**changes: object) -> CropSettings:
    return CropSettings.of(
        {"parts": [4], "stride": 2, "growth": 0.0, "over": "all", "quantile": 0.0, "temperature": 0.1, **changes}
    )


@pytest.mark.parametrize("over", ["all", "view"])
def test_faces_take_the_word_of_their_colour(two_balls: Path, over: str) -> None:
    model: TextImage = NamesOfColours()
    segmenter = WordSegmenter(
        ["red ball", "blue  ball"], model, settings(over=over), device="cpu", views={"count": 8, "size": 48}
    )
    segmentation = segmenter.segment(two_balls)
    expected = (segmentation.shape.vertices[segmentation.shape.faces].mean(dim=1)[:, 0] > 0).long()
    assert segmentation.label_names == ("red ball", "blue ball")
    assert (segmentation.labels == expected).float().mean() > 0.97
    assert segmentation.confidence[~segmentation.filled].median() > 0.9
    again = segmenter.segment(mesh_of(trimesh.load(two_balls)))
    assert torch.equal(segmentation.labels, again.labels)


def test_words_that_no_face_shows_go_to_none(two_balls: Path) -> None:
    model: TextImage = NamesOfColours()
    segmenter = WordSegmenter(["red", "blue", "green"], model, settings(), device="cpu", views={"count": 8, "size": 48})
    labels = segmenter.segment(two_balls).labels
    assert (labels < 2).float().mean() > 0.9


def test_the_script_takes_words_in_the_place_of_a_checkpoint(two_balls: Path, make_config, tmp_path: Path) -> None:
    overrides = [
        f"mesh={two_balls}",
        f"out={tmp_path}",
        "views.count=6",
        "views.size=32",
        "device=cpu",
        "crops.parts=[3]",
    ]
    cfg = make_config(*overrides, "words=[red,blue]", name="segment")
    cfg.text_image = {"_target_": "tests.test_word_segmenter.NamesOfColours"}
    (result,) = run_segment(cfg)
    assert result["label_names"] == ["red", "blue"] and result["weights_sha256"] == NamesOfColours.fingerprint
    assert json.loads((tmp_path / "balls" / "segmentation.json").read_text())["label_names"] == ["red", "blue"]
    assert run_segment(cfg) == [result]  # not made again
    cfg.words = ["red", "green"]
    with pytest.raises(InputError, match="label_names"):
        run_segment(cfg)


@pytest.mark.parametrize(
    ("words", "views", "message"),
    [
        (["red"], {}, "at least two words"),
        (["red a b c d", "blue"], {}, "has 5 tokens, the text encoder reads 4"),
        (["red", "blue"], {"layers": 2}, "views.layers=2"),
    ],
)
def test_bad_words_and_layers_are_refused(words: list[str], views: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        WordSegmenter(words, NamesOfColours(), settings(), device="cpu", views=views)


def test_words_beside_a_checkpoint_are_refused(make_config) -> None:
    with pytest.raises(InputError, match="a fine-tuned model has its own labels"):
        run_segment(make_config("mesh=a.obj", "checkpoint=b", "words=[red,blue]", name="segment"))
