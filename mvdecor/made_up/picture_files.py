"""Pictures of which everything is known, as a folder of photographs (`mvdecor.captures.PhotographFolder`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdecor.captures.photographs import mirror_by_name

DECIMALS = 4


@dataclass(frozen=True)
class KnownPicture:
    """One picture and what is known of it.

    Attributes:
        image: uint8 [H, W, 3].
        mask: bool [H, W].
        keypoints: float64 [K, 3], pixels and 1 where visible, else 0.
        rotation: float64 [3, 3], object to camera (OpenCV axes).
        scale: pixels per unit of the object's frame.
        shift: float64 [2], pixels: image position = scale (rotation point)_xy + shift.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    keypoints: NDArray[np.float64]
    rotation: NDArray[np.float64]
    scale: float
    shift: NDArray[np.float64]


def write_pictures(
    folder: Path,
    splits: Mapping[str, Sequence[str]],
    names: Sequence[str],
    pictures: Iterable[tuple[str, KnownPicture]],
) -> None:
    """`images/ID.png`, `masks/ID.png`, `cameras.json`, `split.json` and, if there are any keypoints, `keypoints.json`.

    Args:
        folder: an empty folder.
        splits: names of the pictures of each split.
        names: of the K keypoints; those that differ by left and right are each other's mirror image.
        pictures: with their names; one is held at a time.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir()
    keypoints, cameras = {}, {}
    for id, picture in pictures:
        Image.fromarray(picture.image).save(folder / "images" / f"{id}.png")
        Image.fromarray(255 * picture.mask.astype(np.uint8)).save(folder / "masks" / f"{id}.png")
        keypoints[id] = picture.keypoints.round(DECIMALS).tolist()
        cameras[id] = {
            "rotation": picture.rotation.tolist(),
            "scale": picture.scale,
            "shift": picture.shift.tolist(),
        }
    if names:
        write_plain(
            folder / "keypoints.json",
            {"names": list(names), "mirror": list(mirror_by_name(names)), "keypoints": keypoints},
        )
    write_plain(folder / "split.json", splits)
    write_plain(folder / "cameras.json", cameras)


def write_template_files(
    folder: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64], annotations: Mapping[str, object]
) -> None:
    """`template.obj`, vertices [V, 3] and faces [F, 3], and `template.json`, what else is known of it, for `read_template`."""
    lines = "".join(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in vertices)
    lines += "".join(f"f {a} {b} {c}\n" for a, b, c in faces + 1)
    (folder / "template.obj").write_text(lines)
    write_plain(folder / "template.json", annotations)


def write_plain(path: Path, content: object) -> None:
    """Plain values as JSON on one line."""
    path.write_text(json.dumps(content) + "\n")
