"""The head of a field: linear or with hidden layers, kept in its checkpoint."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mvdecor.fields import ConditionalField, FieldSettings, Hits, load_field, save_field

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


@pytest.mark.parametrize("layers", [0, 3])
def test_logits_and_checkpoint(layers, tmp_path):
    field = ConditionalField(SETTINGS, 2, labels=3, points_to_head=True, head_layers=layers)
    save_field(tmp_path, field, {"ids": ["a", "b"], "label_names": ["x", "y", "z"]})
    loaded, record = load_field(tmp_path)
    assert record["head_layers"] == loaded.head_layers == layers
    hits = Hits(torch.rand(2, 5, 3), torch.rand(2, 5), torch.randn(2, 5, 6))
    logits = loaded.label_logits(hits).detach().numpy()
    weights = {name: x.numpy() for name, x in load_file(tmp_path / "model.safetensors").items() if "head" in name}
    assert len(weights) == 2 + 4 * layers
    seen = torch.cat([hits.features, hits.points], dim=-1).numpy()
    np.testing.assert_allclose(logits, logits_of(weights, seen), atol=1e-5)
