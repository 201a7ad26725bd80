"""Made-up birds on disk: a folder of pictures with masks and keypoints, their template, and the truth about each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mvdecor.made_up.bird_pictures import BirdPicture, take_picture
from mvdecor.made_up.birds import KEYPOINTS, LABELS, bird_mesh, keypoint_vertices, mean_bird
from mvdecor.views import make_rasterizer

DECIMALS = 4


def write_bird_pictures(folder: Path, ids: dict[str, list[str]], seed: int, size: int) -> None:
    """`images/`, `masks/`, `keypoints.json`, `split.json`, `cameras.json`, `birds.json` and `template/`.

    Args:
        folder: an empty folder.
        ids: names of the pictures of each split; a picture depends on the seed and its number in all splits together.
        seed: of everything.
        size: pixels per side.
    """
    rasterizer = make_rasterizer("embree")
    for name in ("images", "masks", "template"):
        (folder / name).mkdir()
    pictures: dict[str, BirdPicture] = {}
    for number, id in enumerate(id for part in ids.values() for id in part):
        picture = take_picture(np.random.default_rng([seed, number, 13]), size, rasterizer)
        Image.fromarray(picture.image).save(folder / "images" / f"{id}.png")
        Image.fromarray(255 * picture.mask.astype(np.uint8)).save(folder / "masks" / f"{id}.png")
        pictures[id] = picture
    names = list(KEYPOINTS)
    _write(
        folder / "keypoints.json",
        {
            "names": names,
            "mirror": [names.index(_other_side(name)) for name in names],
            "keypoints": {id: picture.keypoints.round(DECIMALS).tolist() for id, picture in pictures.items()},
        },
    )
    _write(folder / "split.json", ids)
    cameras = {
        id: {"rotation": p.rotation.tolist(), "scale": p.scale, "shift": p.shift.tolist()} for id, p in pictures.items()
    }
    _write(folder / "cameras.json", cameras)
    _write(folder / "birds.json", {id: picture.bird for id, picture in pictures.items()})
    write_template(folder / "template")


def write_template(folder: Path, rings: int = 40, sides: int = 16) -> None:
    """`template.obj`, the mean bird, and `template.json`: its mirror map, keypoints, and a label per face."""
    mesh = bird_mesh(mean_bird(), rings, sides)
    vertices = "".join(f"v {x:.7f} {y:.7f} {z:.7f}\n" for x, y, z in mesh.vertices)
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in mesh.faces + 1)
    (folder / "template.obj").write_text(vertices + faces)
    _write(
        folder / "template.json",
        {
            "mirror": mesh.mirror.tolist(),
            "keypoints": keypoint_vertices(mesh),
            "label_names": list(LABELS),
            "face_labels": mesh.face_labels.tolist(),
        },
    )


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return f"right_{name.removeprefix('left_')}"
    return f"left_{name.removeprefix('right_')}" if name.startswith("right_") else name


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content) + "\n")
