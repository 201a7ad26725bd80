"""Initial weights from a local file in timm's format: they arrive, are adapted to the channels, and bad files are named."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from mvdecor.errors import InputError
from mvdecor.networks import DeepLabV3Plus, UNet, build_model, load_checkpoint, load_pretrained, save_checkpoint

ENCODER = "resnet10t"
UNET = {"encoder": ENCODER, "decoder_channels": [16, 16, 8]}


def source(encoder: str = ENCODER) -> nn.Module:
    """A timm model with a classifier whose weights and running statistics are unlike a new one's."""
    torch.manual_seed(3)
    model = timm.create_model(encoder)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand_like(tensor) * 0.1 + 0.01
    return model.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    save_file(source().state_dict(), path)
    return path


def stages(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """A timm ResNet's features at strides 2, 4 and 8, layer by layer."""
    x = model.act1(model.bn1(model.conv1(images)))
    first = model.layer1(model.maxpool(x))
    return [x, first, model.layer2(first)]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_features_of_rgb_are_exactly_the_encoders(suffix: str, file: Path, tmp_path: Path) -> None:
    model, images = source(), torch.rand(2, 3, 40, 32)
    if suffix != ".safetensors":
        file = tmp_path / f"weights{suffix}"
        state = model.state_dict()
        torch.save(state if suffix == ".bin" else {"epoch": 3, "state_dict": state}, file)
    with torch.no_grad():
        got = UNet(3, **UNET, weights=str(file)).eval().unet.encoder(images)[1:]
        expected = stages(model, images)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_deeplab_takes_the_same_file(file: Path) -> None:
    own = DeepLabV3Plus(3, ENCODER, weights=str(file)).encoder.model.state_dict()
    expected = {k: v for k, v in source().state_dict().items() if not k.startswith("fc.")}
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[k], v) for k, v in expected.items())


@pytest.mark.parametrize("channels", [1, 3, 7, 9])
def test_first_convolution_is_repeated_in_turn_and_scaled(channels: int, file: Path) -> None:
    encoder = UNet(channels, **UNET, weights=str(file)).unet.encoder.model
    rgb = source().conv1[0].weight
    got = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d)).weight
    assert got.shape[1] == channels
    for c in range(channels):
        expected = rgb.sum(1) if channels == 1 else rgb[:, c % 3] * 3 / channels
        torch.testing.assert_close(got[:, c], expected)
    torch.testing.assert_close(encoder.state_dict()["conv1.1.weight"], source().conv1[1].weight)


def test_adapted_network_takes_any_size(file: Path) -> None:
    """The network stays fully convolutional: away from the borders, a shift of the image shifts the embeddings."""
    network = UNet(7, **UNET, weights=str(file)).eval()
    images = torch.rand(1, 7, 136, 128)
    with torch.no_grad():
        whole, shifted = network(images), network(images[:, :, 8:])
    assert whole.shape == (1, 64, 136, 128)
    torch.testing.assert_close(whole[:, :, 64:88, 56:72], shifted[:, :, 56:80, 56:72], rtol=1e-4, atol=1e-5)


def test_bad_files_are_named(file: Path, tmp_path: Path) -> None:
    state = source().state_dict()
    data = file.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "junk.pth").write_bytes(b"junk")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.txt").write_text("weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"conv1": 3}, tmp_path / "numbers.pt")
    torch.save(source(), tmp_path / "module.pth")  # a pickled object: weights_only refuses it
    save_file({k: v for k, v in state.items() if k != "layer2.0.conv1.weight"}, tmp_path / "less.safetensors")
    save_file(timm.create_model("resnet14t").state_dict(), tmp_path / "resnet14t.safetensors")
    for name, message in [
        ("none.safetensors", r"none\.safetensors is unknown: it is no file"),
        ("text.txt", r"must end in \.safetensors"),
        ("half.safetensors", "damaged"),
        ("junk.pth", "damaged"),
        ("empty.pth", "damaged"),
        ("module.pth", "damaged"),
        ("list.pt", "no state dict"),
        ("numbers.pt", "no state dict"),
        ("less.safetensors", r"not of encoder resnet10t: 1 tensors differ \(first: layer2\.0\.conv1\.weight.*none in"),
        ("resnet14t.safetensors", r"not of encoder resnet10t.*set network\.encoder"),
    ]:
        for network in (UNet, DeepLabV3Plus):
            with pytest.raises(InputError, match=message) as caught:
                network(3, encoder=ENCODER, weights=str(tmp_path / name))
            assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_encoder_that_begins_like_the_files_is_another(tmp_path: Path) -> None:
    """Every tensor of ResNet-18 is in ResNet-34 too, in the same shape."""
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(InputError, match="not of encoder resnet18"):
        UNet(3, weights=str(tmp_path / "resnet34.pth"))


def test_checkpoints_need_no_file_of_initial_weights(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(file.read_bytes())
    config = {"_target_": "mvdecor.networks.UNet", **UNET, "weights": str(copy)}
    model = build_model(config, ["rgb"], None)
    save_checkpoint(tmp_path / "model", model, {"kind": "pretrained"})
    copy.unlink()
    loaded, info = load_checkpoint(tmp_path / "model")
    assert loaded.config["weights"] == info["network"]["weights"] == str(copy)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    into = build_model(config, ["rgb"], 3, initial_weights=False)
    load_pretrained(into, tmp_path / "model")
    assert torch.equal(into.network.unet.encoder.model.state_dict()["layer1.0.conv1.weight"],
                       source().state_dict()["layer1.0.conv1.weight"])  # fmt: skip
    load_pretrained(build_model({**config, "weights": None}, ["rgb"], None), tmp_path / "model")
    with pytest.raises(InputError, match="no file"):
        build_model(config, ["rgb"], None)
