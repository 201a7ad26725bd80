"""UNet and DeepLabV3Plus: sizes, padding, gradients, settings that are refused."""

import pytest
import timm
import torch
from torch import nn

from mvdecor.errors import InputError
from mvdecor.networks import DeepLabV3Plus, UNet
from mvdecor.networks.encoders import pad_to_multiple

SMALL = {"encoder": "resnet10t", "decoder_channels": [16, 16, 8]}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (1, 9)])
@pytest.mark.parametrize("channels", [1, 7])
def test_unet_gives_one_embedding_a_pixel(size: tuple[int, int], channels: int) -> None:
    network = UNet(channels, **SMALL, embedding_dim=12)
    assert network(torch.rand(2, channels, *size)).shape == (2, 12, *size)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_unet_depth_follows_the_decoder(depth: int) -> None:
    network = UNet(3, decoder_channels=[8] * depth)
    assert network.stride == 2**depth
    assert network(torch.rand(2, 3, 40, 41)).shape == (2, 64, 40, 41)


@pytest.mark.parametrize("encoder", ["convnext_atto", "vgg11", "mobilenetv3_small_050"])
def test_unet_takes_encoders_of_other_families(encoder: str) -> None:
    network = UNet(4, encoder=encoder, decoder_channels=[16, 16, 8, 8])
    assert network(torch.rand(2, 4, 48, 40)).shape == (2, 64, 48, 40)


@pytest.mark.parametrize("size", [(32, 32), (41, 50)])
def test_deeplab_gives_one_embedding_a_pixel(size: tuple[int, int]) -> None:
    network = DeepLabV3Plus(5, encoder="resnet18", embedding_dim=24)
    assert network(torch.rand(2, 5, *size)).shape == (2, 24, *size)


def test_deeplab_is_the_recipe() -> None:
    network = DeepLabV3Plus(3).eval()
    with torch.no_grad():
        features = network.encoder(torch.rand(1, 3, 64, 64))
        decoded = network.decoder(features)
    assert features[-1].shape == (1, 2048, 8, 8), "output stride 8"
    assert decoded.shape == (1, 256, 16, 16), "256 channels at 1/4"
    rates = {m.dilation[0] for m in network.decoder.modules() if isinstance(m, nn.Conv2d)} - {1}
    assert rates == {12, 24, 36}
    kinds = [type(m) for m in network.upsampling]
    assert kinds == [nn.BatchNorm2d, nn.ReLU, nn.Upsample, nn.Conv2d] * 2
    convolutions = [m for m in network.upsampling if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in convolutions] == [
        (256, 128, (3, 3)),
        (128, 64, (3, 3)),
    ]


@pytest.mark.parametrize("network", [UNet(4, **SMALL), DeepLabV3Plus(4, encoder="resnet18")])
def test_gradient_reaches_every_weight(network: nn.Module) -> None:
    for module in network.modules():  # timm starts residual branches at 0, behind which there is no gradient yet
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    embeddings = network(torch.rand(2, 4, 24, 24))
    (embeddings * torch.randn_like(embeddings)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 4
    assert (first.weight.grad.abs().amax(dim=(0, 2, 3)) > 0).all(), "each input channel counts"


def test_padding_repeats_the_border_and_nothing_else() -> None:
    images = torch.rand(2, 3, 5, 8)
    padded = pad_to_multiple(images, 4)
    assert padded.shape == (2, 3, 8, 8)
    assert torch.equal(padded[:, :, :5], images)
    assert torch.equal(padded[:, :, 5:], images[:, :, 4:5].expand(-1, -1, 3, -1))
    assert pad_to_multiple(padded, 4) is padded


def test_an_image_of_full_stride_is_seen_as_it_is() -> None:
    network = UNet(3, **SMALL).eval()
    images = torch.rand(1, 3, 32, 24)
    with torch.no_grad():
        assert torch.equal(network(images), network.unet(images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet81"}, "resnet18"),
        ({"encoder": "qqqqqqqqqq"}, "list_models"),
        ({"encoder": "vit_tiny_patch16_224"}, "cannot be the encoder"),
        ({"weights": "coco"}, "weights=coco is unknown: .* give null, imagenet"),
        ({"decoder_channels": []}, "1 to 5"),
        ({"decoder_channels": [8] * 6}, "1 to 5"),
        ({"decoder_channels": [8, 0]}, "positive"),
        ({"embedding_dim": 0}, "embedding_dim"),
    ],
)
def test_impossible_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        UNet(3, **settings)


def test_deeplab_refuses_an_encoder_without_dilation() -> None:
    with pytest.raises(InputError, match=r"network\.encoder: vgg11 cannot be"):
        DeepLabV3Plus(3, encoder="vgg11")


def test_deeplab_trains_on_two_images_or_more() -> None:
    network = DeepLabV3Plus(3, encoder="resnet18")
    with pytest.raises(InputError, match="2 images"):
        network(torch.rand(1, 3, 16, 16))
    assert network.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 64, 16, 16)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, **settings: object) -> nn.Module:
        if settings.get("pretrained"):
            raise OSError("no route to host\nsecond line")
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"imagenet weights of encoder resnet18.*no route to host\).*weights=null"):
        UNet(3, weights="imagenet")
