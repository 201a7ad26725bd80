"""One loss a file, each a function or module of tensors. Knows no trainer and no config."""

from mvdecor.losses.infonce import InfoNCE

__all__ = ["InfoNCE"]
