"""Frozen foundation features: what is trained and what is not, sizes, projection, weights from a file."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mvdecor.errors import InputError
from mvdecor.networks import FoundationFeatures, build_model, load_checkpoint, save_checkpoint

DINO = "vit_small_patch14_dinov2"
TINY = "vit_tiny_patch16_224"  # not normalised as ImageNet's networks are, and with a classifier
EVA = "vit_tiny_patch16_dinov3_qkvb"  # rotary positions, register tokens
CONFIG = {"_target_": "mvdecor.networks.FoundationFeatures", "encoder": TINY, "embedding_dim": 8, "weights": None}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("encoder", "size"), [(TINY, (33, 48)), (EVA, (20, 41)), (DINO, (28, 15))])
def test_one_embedding_a_pixel(encoder: str, size: tuple[int, int]) -> None:
    network = FoundationFeatures(3, encoder, 12, weights=None)
    assert network(torch.rand(2, 3, *size)).shape == (2, 12, *size)


def test_default_encoder_is_dinov2() -> None:
    with torch.device("meta"):
        network = FoundationFeatures(3, weights=None)
    assert network.patch == (14, 14) and network.prefix == 1
    assert network.projection.weight.shape == (64, 384, 1, 1)


def test_only_projection_and_head_are_trained() -> None:
    model = build_model(CONFIG, ["rgb"], 3).train()
    assert not any(m.training for m in model.network.vit.modules())
    assert model.network.projection.training and model.head.training
    frozen = {k: v.clone() for k, v in model.network.vit.state_dict().items()}
    moving = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] + "." + name.split(".")[1] for name in moving} == {
        "network.projection", "head.0", "head.2",
    }  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(model.network.vit.state_dict()[k], v) for k, v in frozen.items())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_features_are_those_of_the_vit_projected_after_upsampling(tmp_path: Path) -> None:
    """The slow order, written out: enlarge, normalise as the ViT wants it, tokens, upsample, project."""
    vit = timm.create_model(TINY).eval()
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    model = build_model({**CONFIG, "weights": str(tmp_path / "vit.safetensors"), "scale": 2}, ["rgb"], None).eval()
    images = torch.rand(2, 3, 112, 112)
    large = F.interpolate(images, (224, 224), mode="bilinear", align_corners=False)
    with torch.no_grad():
        tokens = vit.forward_features((large - 0.5) / 0.5)[:, 1:]
        features = tokens.reshape(2, 14, 14, 192).permute(0, 3, 1, 2)
        features = F.interpolate(features, (112, 112), mode="bilinear", align_corners=False)
        expected = torch.einsum("dc,bchw->bdhw", model.network.projection.weight[:, :, 0, 0], features)
        expected = expected + model.network.projection.bias[:, None, None]
        torch.testing.assert_close(model.embed(images), expected, rtol=1e-3, atol=1e-3)


def test_checkpoint_holds_the_frozen_weights_too(tmp_path: Path) -> None:
    model = build_model(CONFIG, ["rgb"], 2).eval()
    save_checkpoint(tmp_path / "model", model, {"kind": "finetuned", "label_names": ["a", "b"]})
    loaded, _ = load_checkpoint(tmp_path / "model")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    assert not any(p.requires_grad for p in loaded.network.vit.parameters())


@pytest.mark.parametrize("channels", [["rgb", "depth"], ["normal"]])
def test_other_channels_are_refused(channels: list[str]) -> None:
    with pytest.raises(InputError, match=r"rgb alone.*views\.channels=\[rgb\]"):
        build_model(CONFIG, channels, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "resnet10t"}, "cannot be the encoder.*a ViT such as"),
        ({"encoder": "vit_smal_patch14_dinov2"}, "did you mean"),
        ({"weights": "nowhere.pth"}, "is no file"),
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"scale": 0}, r"network\.scale"),
    ],
)
def test_impossible_settings_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model({**CONFIG, **change}, ["rgb"], None)
