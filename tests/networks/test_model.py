"""Model: normalisation, heads, building from configurations."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mvdecor.channels import CHANNELS
from mvdecor.errors import InputError
from mvdecor.networks import Model, SegmentationHead, build_model
from mvdecor.networks.model import complete_config

UNET = {"_target_": "mvdecor.networks.UNet", "encoder": "resnet10t", "decoder_channels": [16, 8]}


class Echo(nn.Module):
    """Embeddings that are the normalised images."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.embedding_dim = in_channels

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_every_channel_has_a_normalisation_of_its_width() -> None:
    assert all(len(channel.std) == channel.width for channel in CHANNELS.values())


def test_channels_are_normalised_in_their_order() -> None:
    images = torch.rand(2, 5, 4, 3)
    seen = Model(Echo(5), ["depth", "normal", "front_depth"]).embed(images)
    torch.testing.assert_close(seen[:, 0], (images[:, 0] - 0.5) / 0.25)
    torch.testing.assert_close(seen[:, 1:4], images[:, 1:4] / 0.5)
    torch.testing.assert_close(seen[:, 4], images[:, 4] / 0.25)
    rgb = Model(Echo(3), ["rgb"]).embed(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    assert rgb.abs().max() < 1e-6


def test_head_is_the_recipe() -> None:
    head = SegmentationHead(6, 4)
    assert [type(m) for m in head] == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    assert head(torch.rand(2, 6, 5, 7)).shape == (2, 4, 5, 7)


@pytest.mark.parametrize(
    "network", [UNET, {"_target_": "mvdecor.networks.DeepLabV3Plus", "encoder": "resnet18", "embedding_dim": 16}]
)
def test_built_from_a_configuration(network: dict) -> None:
    model = build_model(OmegaConf.create(network), ["rgb", "depth"], num_labels=5).eval()
    images = torch.rand(2, 4, 17, 23)
    with torch.no_grad():
        embeddings, logits = model.embed_and_segment(images)
        assert embeddings.shape == (2, network.get("embedding_dim", 64), 17, 23)
        assert logits.shape == (2, 5, 17, 23)
        assert torch.equal(model(images), logits)
        assert torch.equal(model.embed(images), embeddings)
    assert model.num_labels == 5


def test_without_a_head_there_are_embeddings_but_no_logits() -> None:
    model = build_model(UNET, ["rgb"], num_labels=None)
    assert model.num_labels is None
    assert model.embed(torch.rand(2, 3, 8, 8)).shape == (2, 64, 8, 8)
    for segment in (model, model.embed_and_segment):
        with pytest.raises(InputError, match="fine-tune it first"):
            segment(torch.rand(2, 3, 8, 8))


def test_images_of_other_channels_are_refused() -> None:
    model = build_model(UNET, ["rgb", "depth"], num_labels=None)
    with pytest.raises(InputError, match=r"\[B, 4, H, W\] for the channels rgb\+depth"):
        model.embed(torch.rand(2, 3, 8, 8))


def test_configuration_is_kept_with_its_defaults() -> None:
    config = build_model({"_target_": "mvdecor.networks.UNet"}, ["rgb"], None).config
    assert config == {
        "_target_": "mvdecor.networks.UNet",
        "encoder": "resnet18",
        "decoder_channels": [256, 128, 64, 64, 64],
        "embedding_dim": 64,
        "weights": None,
    }
    assert complete_config(config) == config


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (["rgb", "dept"], "did you mean depth"),
        (["zzz"], "choose one or more of rgb"),
        ([], "at least one"),
        (["rgb"] * 2, "twice"),
    ],
)
def test_bad_channels_are_named(channels: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(UNET, channels, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": None}, "no _target_"),
        ({"_target_": "mvdecor.networks.Unet"}, "no class 'mvdecor.networks.Unet'"),
        ({"_target_": "nowhere.Net"}, "no class 'nowhere.Net'"),
        ({"_target_": "Net"}, "full path"),
        ({"_target_": "os.system"}, "not a torch.nn.Module"),
        ({"encodr": "resnet18"}, "did you mean encoder"),
        ({"encoder": "resnet81"}, "network.encoder: .*resnet18"),
        ({"encoder": {"_target_": "os.system", "command": "true"}}, "os.system is not a torch.nn.Module"),
        ({"encoder": [{"_target_": "os.system", "command": "true"}]}, "os.system is not a torch.nn.Module"),
        ({"decoder_channels": None}, "decoder_channels"),
        ({"embedding_dim": "wide"}, "positive integer, got 'wide'"),
    ],
)
def test_bad_configurations_are_named(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_model({**UNET, **change}, ["rgb"], None)
    assert "\n" not in str(caught.value)


def test_a_head_needs_a_label() -> None:
    with pytest.raises(InputError, match="at least one label"):
        build_model(UNET, ["rgb"], 0)
