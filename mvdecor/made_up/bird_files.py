"""Made-up birds on disk: a folder of pictures with masks and keypoints, their template, and the truth about each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mvdecor.made_up.bird_pictures import BirdPicture, take_picture
from mvdecor.made_up.birds import KEYPOINTS, LABELS, bird_mesh, keypoint_vertices, mean_bird
from mvdecor.made_up.picture_files import write_pictures, write_plain, write_template_files
from mvdecor.views import make_rasterizer


def write_bird_pictures(folder: Path, ids: dict[str, list[str]], seed: int, size: int) -> None:
    """`images/`, `masks/`, `keypoints.json`, `split.json`, `cameras.json`, `birds.json` and `template/`.

    Args:
        folder: an empty folder.
        ids: names of the pictures of each split; a picture depends on the seed and its number in all splits together.
        seed: of everything.
        size: pixels per side.
    """
    rasterizer = make_rasterizer("embree")
    birds: dict[str, dict[str, float]] = {}

    def take_all() -> Iterator[tuple[str, BirdPicture]]:
        """All pictures with their names."""
        for number, id in enumerate(id for part in ids.values() for id in part):
            picture = take_picture(np.random.default_rng([seed, number, 13]), size, rasterizer)
            birds[id] = picture.bird
            yield id, picture

    write_pictures(folder, ids, list(KEYPOINTS), take_all())
    write_plain(folder / "birds.json", birds)
    (folder / "template").mkdir()
    write_template(folder / "template")


def write_template(folder: Path, rings: int = 40, sides: int = 16) -> None:
    """`template.obj`, the mean bird, and `template.json`: its mirror map, keypoints, and a label per face."""
    mesh = bird_mesh(mean_bird(), rings, sides)
    write_template_files(
        folder,
        mesh.vertices,
        mesh.faces,
        {
            "mirror": mesh.mirror.tolist(),
            "keypoints": keypoint_vertices(mesh),
            "label_names": list(LABELS),
            "face_labels": mesh.face_labels.tolist(),
        },
    )
