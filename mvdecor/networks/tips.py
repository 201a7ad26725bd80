"""TIPSv2 (CVPR 2026; Apache-2.0) of the library transformers: patches aligned with text, so that one pass serves a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks.open_clip_model import weights_fingerprint
from mvdecor.networks.sentences import import_transformers


class Tips:
    """TIPSv2 as a `TextImage` and a `DenseImage`: its patches and its words lie in one space.

    Args:
        name: repository of the Hugging Face hub such as google/tipsv2-b14, downloaded once, or a folder with its files
            (config.json, model.safetensors, tokenizer files).
        scale: pictures are enlarged by about this factor for `dense_features`, so that small objects get patches of their own.
        device: where it runs; answers are on the CPU.

    Raises:
        InputError: the library or the files are missing; the message says where to get them and where to put them.
    """

    def __init__(self, name: str = "google/tipsv2-b14", scale: float = 1.0, device: str = "cpu") -> None:
        transformers = import_transformers()
        if not isinstance(scale, int | float) or not 0 < scale < math.inf:
            raise InputError(f"scale={scale} of TIPSv2: must be a number above 0")
        if Path(name).is_dir():
            for file in ("config.json", "model.safetensors"):
                if not (Path(name) / file).is_file():
                    raise InputError(
                        f"{name}: no {file} here; give the folder of a TIPSv2 model, or its name on the hub"
                    )
        transformers.logging.disable_progress_bar()
        try:
            model: Any = transformers.Tipsv2Model.from_pretrained(name)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
        except (
            Exception
        ) as error:  # transformers and the download client raise anything from OSError to their own types
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"TIPSv2 {name} cannot be loaded ({reason}): connect to the internet once so that it is cached, or copy its "
                "files (config.json, model.safetensors, tokenizer.json, tokenizer_config.json) here and name their folder"
            ) from error
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self.device, self.scale = torch.device(device), scale
        vision = model.config.vision_config
        self.dimension, self.crop_size = int(vision.hidden_size), int(vision.image_size)
        self._patch, self._prefix = int(vision.patch_size), 1 + int(vision.num_register_tokens)
        self.context = int(model.config.text_config.max_position_embeddings)
        self.fingerprint = weights_fingerprint(model, ["TIPSv2", scale])

    @torch.no_grad()
    def image_features(self, patches: Tensor) -> Tensor:
        """See `TextImage`."""
        output = self._model.get_image_features(pixel_values=patches.to(self.device))
        return F.normalize(output.pooler_output.float(), dim=1).cpu()

    @torch.no_grad()
    def text_features(self, words: Sequence[str]) -> Tensor:
        """See `TextImage`."""
        tokens = self._tokenizer(
            [*words], padding="max_length", truncation=True, max_length=self.context, return_tensors="pt"
        )
        inputs = {key: tokens[key].to(self.device) for key in ("input_ids", "attention_mask")}
        return F.normalize(self._model.get_text_features(**inputs).pooler_output.float(), dim=1).cpu()

    def tokens(self, words: str) -> int:
        """See `TextImage`."""
        return len(self._tokenizer(words)["input_ids"])

    @torch.no_grad()
    def dense_features(self, image: Tensor) -> Tensor:
        """See `DenseImage`; the picture is resized to whole patches."""
        rows, columns = (max(1, round(self.scale * side / self._patch)) for side in image.shape[1:])
        size = (rows * self._patch, columns * self._patch)
        picture = F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)
        output = self._model.get_image_features(pixel_values=picture.to(self.device))
        patches = output.last_hidden_state[0, self._prefix :].float()
        return F.normalize(patches, dim=1).T.unflatten(1, (rows, columns)).cpu()
