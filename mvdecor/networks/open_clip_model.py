"""CLIP and its kin (SigLIP 2, MobileCLIP, ...) of the library open_clip, as text-image models."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.errors import InputError

HUB, FOLDER = "hf-hub:", "local-dir:"
"""open_clip's marks of a repository of the Hugging Face hub and of a folder with its files."""


class OpenClip:
    """A model of open_clip, as a `TextImage`.

    Args:
        name: a model such as ViT-B-16, ViT-B-16-SigLIP2 or MobileCLIP-S2 (`open_clip.list_models()`), the JSON file of a
            configuration of your own, hf-hub:OWNER/REPOSITORY, or local-dir:FOLDER with open_clip_config.json, weights and
            tokenizer.
        weights: a tag of the model's published weights, which are downloaded once (openai, laion2b_s34b_b88k, webli, ...:
            `open_clip.list_pretrained()`), or a file of them. null for hf-hub and local-dir, which hold theirs.
        device: where it runs; answers are on the CPU.

    Raises:
        InputError: the library, the model or its weights are missing; the message says where to get them and where to put them.
    """

    def __init__(self, name: str = "ViT-B-16", weights: str | None = "openai", device: str = "cpu") -> None:
        open_clip = _library()
        within = name.startswith((HUB, FOLDER))
        if within != (weights is None):
            advice = "set text_image.weights=null" if within else "give a tag of published weights or a file"
            raise InputError(f"text_image.name={name} with weights={weights}: {advice}")
        if not within:
            name = _known_model(open_clip, name)
            _check_weights(open_clip, name, str(weights))
        try:
            model = open_clip.create_model(name, pretrained=weights, require_pretrained=True)
            self._tokenizer: Any = open_clip.get_tokenizer(name)
        except (
            Exception
        ) as error:  # open_clip and the download client raise anything from RuntimeError to their own types
            raise InputError(_cannot_load(name, weights, error)) from error
        self._model: Any = model.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        preparation = model.visual.preprocess_cfg
        size = preparation["size"]
        self.crop_size = int(size if isinstance(size, int) else size[0])
        self._mean, self._std = (torch.tensor(preparation[key]).view(3, 1, 1) for key in ("mean", "std"))
        self.context = int(self._tokenizer.context_length)
        self.fingerprint = weights_fingerprint(model, [name, preparation["mean"], preparation["std"], self.crop_size])
        self.dimension = int(self.text_features(["a"]).shape[1])

    @torch.no_grad()
    def image_features(self, patches: Tensor) -> Tensor:
        """See `TextImage`."""
        images = ((patches - self._mean) / self._std).to(self.device)
        return F.normalize(self._model.encode_image(images).float(), dim=1).cpu()

    @torch.no_grad()
    def text_features(self, words: Sequence[str]) -> Tensor:
        """See `TextImage`."""
        tokens = self._tokenizer(list(words)).to(self.device)
        return F.normalize(self._model.encode_text(tokens).float(), dim=1).cpu()

    def tokens(self, words: str) -> int:
        """See `TextImage`."""
        if hasattr(self._tokenizer, "encode"):  # CLIP's own; marks of begin and end are added when it is called
            return len(self._tokenizer.encode(words)) + 2
        return len(self._tokenizer.tokenizer(words)["input_ids"])


def weights_fingerprint(model: nn.Module, settings: Sequence[Any]) -> str:
    """SHA-256 of the weights of a model and of some settings."""
    digest = hashlib.sha256(repr(list(settings)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _library() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise InputError(
            "the library open_clip is not installed: pip install 'mvdecor[words]', or pip install open-clip-torch"
        ) from error
    return open_clip


def _known_model(open_clip: Any, name: str) -> str:
    """The name of a model; that of a configuration file is made known to the library."""
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise InputError(
                f"text_image.name={name}: no such file; give a configuration of open_clip, or a model's name"
            )
        open_clip.add_model_config(Path(name))
        name = Path(name).stem
    if name not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "open_clip.list_models() lists them"
        raise InputError(f"text_image.name: open_clip has no model {name!r}; {hint}")
    return name


def _check_weights(open_clip: Any, name: str, weights: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if weights not in tags and not Path(weights).is_file():
        published = f"published are {', '.join(tags)}" if tags else "none are published"
        raise InputError(f"text_image.weights={weights} of {name}: no such file, and {published}")


def _cannot_load(name: str, weights: str | None, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if weights is None:
        remedy = "check the name, or copy its files here and give local-dir:FOLDER"
        return f"text_image.name={name} cannot be loaded ({reason}): {remedy}"
    if Path(weights).is_file():
        remedy = "copy it again, or correct text_image.name"
        return f"text_image.weights: {weights} cannot be the weights of {name} ({reason}): {remedy}"
    return (
        f"text_image.weights: the {weights} weights of {name} cannot be had ({reason}): connect to the internet once so that "
        "they are cached, or copy a file of them here and give text_image.weights=FILE"
    )
