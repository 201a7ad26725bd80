"""Seeds of everything random."""

from __future__ import annotations

import hashlib


def seed_of(*keys: object) -> int:
    """A seed in [0, 2**32) that depends on all of `keys`: the seed of the configuration, the run, the purpose, a shape's id.

    Seeds must not be made by addition: seed 0 of run 1 would be seed 1 of run 0. The purpose comes along, so that two choices
    that are sampled with the same settings are independent.
    """
    digest = hashlib.sha256("\0".join(map(str, keys)).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:4], "little")  # PyTorch's generator on the CPU takes 32 bits
