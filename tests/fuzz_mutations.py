"""Random damage to files."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (
    b"nan",
    b"-inf",
    b"-1",
    b"0",
    b"1e400",
    b"4294967296",
    b"99999999999999999999",
    b"-2147483649",
    b"1e-320",
    b"0.5",
)
WORDS = (
    b"../../../../etc/passwd",
    b"/dev/zero",
    b"/dev/stdin",
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"%00",
    b"con",
)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few random changes, of bytes or of what looks like text."""
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        data = rng.choice((_flip, _cut, _repeat, _truncate, _insert, _number, _word, _swap_lines))(data, rng)
    return data


def _place(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + int(2 ** rng.uniform(0, 8)))


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.choice((data[at] ^ (1 << rng.randrange(8)), 0, 255, 10, 32))]) + data[at + 1 :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    start, end = _place(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _place(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 50)) + data[end:]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)[0]]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)[0]
    return data[:at] + rng.randbytes(rng.choice((1, 4, 64))) + data[at:]


def _replace(pattern: bytes, by: Sequence[bytes], data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(by) + data[one.end() :]


def _number(data: bytes, rng: random.Random) -> bytes:
    return _replace(rb"-?\d+(\.\d+)?(e-?\d+)?", NUMBERS, data, rng)


def _word(data: bytes, rng: random.Random) -> bytes:
    return _replace(rb"[A-Za-z_][\w./-]+", WORDS, data, rng)


def _swap_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)
