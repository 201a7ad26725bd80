"""What the open-vocabulary system asks of pretrained networks: two small interfaces, and the check of a user's words.

A network of your own needs the attributes and methods below and a line in `configs/text_image/` or `configs/dense_image/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.settings import shown


class TextImage(Protocol):
    """Embeds pictures and words into one space, as CLIP does."""

    dimension: int
    """D, length of an embedding."""
    crop_size: int
    """Pixels per side of the square pictures that `image_features` takes."""
    context: int
    """Tokens of the longest words that it takes."""
    fingerprint: str
    """Changes with the weights and with how pictures are prepared: part of the name of cached features."""

    def image_features(self, patches: Tensor) -> Tensor:
        """Pictures float32 [N, 3, crop_size, crop_size] in [0, 1] to float32 [N, D] of unit length, without gradient."""
        ...

    def text_features(self, words: Sequence[str]) -> Tensor:
        """Each of C words or phrases to a row of float32 [C, D] of unit length, without gradient."""
        ...

    def tokens(self, words: str) -> int:
        """How much of the context a word or phrase takes, the marks of begin and end included."""
        ...


class DenseImage(Protocol):
    """Embeds every place of a picture, as DINO does."""

    dimension: int
    """D, length of an embedding."""
    fingerprint: str
    """See `TextImage`."""

    def dense_features(self, image: Tensor) -> Tensor:
        """A picture float32 [3, H, W] in [0, 1], any H and W, to float32 [D, h, w] of unit length at each place, without
        gradient; the h x w places divide the picture evenly."""
        ...


def checked_words(words: Sequence[str], model: TextImage | None = None) -> list[str]:
    """The words of a query without the white space around them.

    Args:
        words: a name or phrase per class.
        model: refuse words that it would cut off; None: any length is taken.

    Raises:
        InputError: fewer than two words (one alone has nothing to be told from), an empty one, one twice (capital letters
            aside), or one longer than the model's context.
    """
    if isinstance(words, str) or not all(isinstance(name, str) for name in words):
        raise InputError(f"words={shown(words)}: give a list of words, as in 'words=[banana,ceramic cup]'")
    names = [" ".join(name.split()) for name in words]
    if "" in names:
        raise InputError(f"words={shown(list(words))}: word {names.index('') + 1} is empty; take it out")
    if len(names) < 2:
        raise InputError(
            f"words={shown(names)}: give at least two words: each pixel gets the one that fits best, so name what else is in "
            "the scene, as in 'words=[banana,table,wall]'"
        )
    folded = [name.casefold() for name in names]
    if repeated := [name for i, name in enumerate(names) if folded[i] in folded[:i]]:
        raise InputError(f"words={shown(names)}: {repeated[0]!r} is there twice; name each class once")
    if model is not None:
        for name in names:
            if (count := model.tokens(name)) > model.context:
                raise InputError(
                    f"words: {name[:60]!r}{'...' if len(name) > 60 else ''} has {count} tokens, the text encoder reads "
                    f"{model.context}; shorten it"
                )
    return names
