"""The head of a field: linear, with hidden layers, or a U-Net on whole views, kept in its checkpoint."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, cross_entropy

from mvdecor.captures import Capture
from mvdecor.fields import ConditionalField, FieldSettings, Hits, UNetHead, load_field, render_views, save_field
from mvdecor.image_segmenter import turntable

SETTINGS = FieldSettings(code_size=4, width=6, hypernetwork_width=6, steps=2, generator_layers=2)


def logits_of(weights: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """The head in NumPy: each hidden layer is linear, normalised over its width, and rectified."""
    names = sorted({name.rpartition(".")[0] for name in weights}, key=lambda name: (len(name), name))
    linear = [name for name in names if weights[f"{name}.weight"].ndim == 2]
    for name in linear:
        values = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        if name != linear[-1]:
            mean, deviation = values.mean(-1, keepdims=True), np.sqrt(values.var(-1, keepdims=True) + 1e-5)
            values = np.maximum((values - mean) / deviation, 0)
    return values


def unet_logits(weights: dict[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """The U-Net step by step from its weights, one view [D, 16 n, 16 m] at a time."""

    def layer(name: str, image: torch.Tensor, stride: int) -> torch.Tensor:
        image = conv2d(image, weights[f"{name}.0.weight"], stride=stride, padding=1)
        mean, variance, scale, shift = (
            weights[f"{name}.1.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((image - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp_min(0)

    levels = [layer("entry", features[None], 1)]
    for i in range(4):
        levels.append(layer(f"downs.{i}", levels[i], 2))
    image = levels[4]
    for i in (3, 2, 1, 0):
        larger = image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        image = layer(f"ups.{i}", torch.cat([levels[i], larger], dim=1), 1)
    return (torch.einsum("cd,dhw->chw", weights["exit.weight"][:, :, 0, 0], image[0])) + weights["exit.bias"][
        :, None, None
    ]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_logits_and_checkpoint(kind, tmp_path):
    field = ConditionalField(SETTINGS, 2, labels=3, points_to_head=True, head_kind=kind)
    save_field(tmp_path, field, {"ids": ["a", "b"], "label_names": ["x", "y", "z"]})
    loaded, record = load_field(tmp_path)
    assert record["head_kind"] == loaded.head_kind == kind
    hits = Hits(torch.rand(2, 5, 3), torch.rand(2, 5), torch.randn(2, 5, 6))
    logits = loaded.label_logits(hits).detach().numpy()
    weights = {name: x.numpy() for name, x in load_file(tmp_path / "model.safetensors").items() if "head" in name}
    assert len(weights) == 2 + 4 * 3 * (kind == "mlp")
    seen = torch.cat([hits.features, hits.points], dim=-1).numpy()
    np.testing.assert_allclose(logits, logits_of(weights, seen), atol=1e-5)


@pytest.mark.parametrize("layers", [0, 3, None])
def test_files_that_count_hidden_layers_are_read(layers, tmp_path):
    field = ConditionalField(SETTINGS, 1, labels=2, head_kind="mlp" if layers else "linear")
    save_field(tmp_path, field, {"ids": ["a"], "label_names": ["x", "y"]})
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as opened:
        record = json.loads(opened.metadata()["record"])
    del record["head_kind"]
    record |= {} if layers is None else {"head_layers": layers}
    save_file(load_file(file), file, {"record": json.dumps(record)})
    loaded = load_field(tmp_path)[0].state_dict()
    assert all(torch.equal(loaded[name], values) for name, values in field.state_dict().items())


def test_a_unet_labels_whole_views_by_the_statistics_of_its_training(tmp_path):
    field = ConditionalField(SETTINGS, 2, labels=3, head_kind="unet")
    field.head(torch.randn(4, 6, 32, 32))  # moves the statistics
    save_field(tmp_path, field, {"ids": ["a", "b"], "label_names": ["x", "y", "z"]})
    loaded, _ = load_field(tmp_path)
    before = {name: values.clone() for name, values in loaded.state_dict().items()}
    features = torch.randn(2, 2, 16, 32, 6)  # objects, views, H, W, D
    hits = Hits(torch.rand(2, 1024, 3), torch.rand(2, 1024), features.view(2, 1024, 6))
    logits = loaded.label_logits(hits, (16, 32)).detach().view(2, 2, 16, 32, 3)
    weights = {name[5:]: x for name, x in load_file(tmp_path / "model.safetensors").items() if name.startswith("head.")}
    for b in range(2):
        for view in range(2):
            expected = unet_logits(weights, features[b, view].permute(2, 0, 1))
            torch.testing.assert_close(logits[b, view].permute(2, 0, 1), expected, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(loaded.state_dict()[name], values) for name, values in before.items())


@pytest.mark.parametrize("size", [(17, 40), (32, 32), (1, 5)])
def test_a_unet_takes_any_size(size):
    assert UNetHead(8, 3).eval()(torch.randn(2, 8, *size)).shape == (2, 3, *size)


def test_labels_of_the_cloud_are_those_of_the_pixels():
    """Also: each view is labelled by itself, whatever stands beside it."""
    field = ConditionalField(SETTINGS, 2, labels=3, head_kind="unet").eval()
    with torch.no_grad():
        field.head.exit.weight.normal_(std=30.0)
    cameras = turntable(3, 20)
    capture = Capture("object", cameras, lambda view: None, near=torch.full((3,), 1.0), far=torch.full((3,), 3.0))
    code = torch.randn(4)
    views = render_views(field, code, capture, range(3), background=0)
    sees_part = views.labels.flatten() != 0
    assert 0 < int(sees_part.sum()) < len(sees_part)
    assert torch.equal(views.point_labels, views.labels.flatten()[sees_part])
    for i in range(3):
        alone = render_views(field, code, capture, [i], background=0)
        torch.testing.assert_close(alone.images[0], views.images[i])
        assert torch.equal(alone.labels[0], views.labels[i])


def test_a_unet_learns_two_bands():
    """Upper and lower half of a ball: what a pixel's feature cannot tell, its place between others does."""
    torch.manual_seed(0)
    head, rows = UNetHead(8, 2), torch.linspace(-1, 1, 32)
    labels = (rows > 0).long()[:, None].expand(32, 32).expand(4, 32, 32)
    features = torch.randn(4, 8, 32, 32) + 0.5 * rows[:, None]
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(head(features), labels).backward()
        optimizer.step()
    unseen = torch.randn(4, 8, 32, 32) + 0.5 * rows[:, None]
    with torch.no_grad():
        answer = head.eval()(unseen).argmax(dim=1)
    assert float((answer == labels).float().mean()) > 0.95
