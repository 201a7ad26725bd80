"""Pictures, masks and MATLAB structures for tests of photographs, written by code of their own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = Path(os.environ.get("MVDECOR_DATA", "../shared/data")) / "photos"
HEIGHT, WIDTH = 12, 16
SAMPLES = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real photographs in {DATA}")


def mask() -> np.ndarray:
    """A rectangle without its first pixel."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[3:9, 4:11] = True
    pixels[3, 4] = False
    return pixels


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def struct_array(rows: list[dict]) -> np.ndarray:
    """As MATLAB's struct array."""
    array = np.zeros(len(rows), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[name][i] = value
    return array


# --- masks ---------------------------------------------------------------------------------------------------------


def compressed(runs: list[int]) -> str:
    """COCO's compressed text, number by number."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            more = not ((value == 0 and not bits & 16) or (value == -1 and bits & 16))
            text += chr((bits | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def runs_of(pixels: np.ndarray) -> list[int]:
    flat = pixels.T.ravel()
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1), len(flat)]
    runs = np.diff(edges).tolist()
    return [0, *runs] if flat[0] else runs
