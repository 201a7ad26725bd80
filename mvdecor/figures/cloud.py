"""Point clouds as PLY files, labelled or coloured, and the reader of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mvdecor.figures.palette import colours_of, label_palette
from mvdecor.figures.ply import written_name
from mvdecor.files import write_atomically


def write_cloud(
    path: Path | str, points: Tensor, labels: Tensor, confidence: Tensor, label_names: Sequence[str]
) -> None:
    """Write points as a binary PLY: x, y, z, the colour of the label, int `label`, float `confidence`.

    Args:
        path: the file; it appears complete or not at all.
        points: float32 [P, 3].
        labels: int64 [P], in [0, C).
        confidence: float32 [P].
        label_names: names of the C labels, written as lines `comment label 3 = seat`.
    """
    kind = [("position", "<f4", 3), ("colour", "u1", 3), ("label", "<i4"), ("confidence", "<f4")]
    rows = np.zeros(len(points), dtype=kind)
    rows["position"], rows["label"], rows["confidence"] = points.cpu(), labels.cpu(), confidence.cpu()
    rows["colour"] = colours_of(rows["label"], label_palette(len(label_names)))
    lines = ["ply", "format binary_little_endian 1.0", "comment mvdecor labelled points"]
    lines += [f"comment label {k} = {written_name(name)}" for k, name in enumerate(label_names)]
    lines += [f"element vertex {len(rows)}", *(f"property float {axis}" for axis in "xyz")]
    lines += ["property uchar red", "property uchar green", "property uchar blue"]
    lines += ["property int label", "property float confidence", "end_header", ""]
    write_atomically(path, "\n".join(lines).encode() + rows.tobytes())


def write_coloured_points(path: Path | str, points: Tensor, colours: Tensor) -> None:
    """Write points as a binary PLY: x, y, z, red, green, blue; float32 [P, 3] and uint8 [P, 3]."""
    rows = np.zeros(len(points), dtype=[("position", "<f4", 3), ("colour", "u1", 3)])
    rows["position"], rows["colour"] = points.cpu(), colours.cpu()
    lines = ["ply", "format binary_little_endian 1.0", "comment mvdecor points", f"element vertex {len(rows)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    write_atomically(path, "\n".join([*lines, "end_header", ""]).encode() + rows.tobytes())
