"""LERF-OVS's annotations beside a model of COLMAP: label maps against matplotlib's test of points in polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from mvdecor.captures import COLMAP
from mvdecor.captures.annotations import read_annotation
from mvdecor.errors import InputError
from tests.capture_files import some_cameras, some_images, write_colmap

WIDTH, HEIGHT = 40, 30
TRIANGLE = [[3.0, 2.0], [30.0, 6.0], [10.0, 25.0]]
SQUARE = [[20.0, 15.0], [36.0, 15.0], [36.0, 28.0], [20.0, 28.0]]


def annotation(*objects: tuple[str, list[list[float]]]) -> dict[str, Any]:
    rows = [{"category": words, "segmentation": polygon, "bbox": [0, 0, 1, 1]} for words, polygon in objects]
    return {"info": {"name": "frame_00001.jpg", "width": WIDTH, "height": HEIGHT}, "objects": rows}


def test_pixels_in_one_polygon_have_its_label(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(
        json.dumps(annotation(("old camera", TRIANGLE), ("toy  elephant", SQUARE), ("old camera", SQUARE[::-1])))
    )
    labels = read_annotation(file, ("old camera", "toy elephant"))
    centers = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).reshape(-1, 2)
    far = np.ones(len(centers), dtype=bool)
    inside = []
    for polygon in (TRIANGLE, SQUARE):
        smaller, larger = (Outline(polygon, closed=False).contains_points(centers, radius=r) for r in (-1.0, 1.0))
        far &= smaller == larger  # not within a pixel of the outline
        inside.append(smaller)
    camera = inside[0] | inside[1]
    expected = np.where(inside[1], -1, np.where(camera, 0, -1))
    np.testing.assert_array_equal(labels.reshape(-1)[far], expected[far])
    assert (expected[far] == 0).sum() > 100


def test_annotated_views_of_a_scene_have_label_maps(tmp_path: Path) -> None:
    scene = tmp_path / "figurines"
    names = [f"frame_{i:05d}.png" for i in range(4)]
    write_colmap(scene, some_cameras(), some_images(), names)
    folder = tmp_path / "label" / "figurines"
    folder.mkdir(parents=True)
    size = COLMAP(scene).load("figurines").cameras
    content = annotation(("toy elephant", [[0, 0], [4, 0], [4, 4], [0, 4]]), ("bag", [[6, 6], [9, 6], [9, 9], [6, 9]]))
    content["info"] |= {"width": size.width, "height": size.height}
    (folder / f"{Path(names[1]).stem}.json").write_text(json.dumps(content))
    capture = COLMAP(scene, annotations="../label/figurines").load("figurines")
    assert capture.labelled == (1,) and capture.label_names == ("bag", "toy elephant")
    labels = capture.labels()[0].numpy()
    assert (labels[:4, :4] == 1).all() and (labels[6:9, 6:9] == 0).all() and labels[11, 11] == -1
    (folder / "frame_99999.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="there is no image frame_99999"):
        COLMAP(scene, annotations="../label/figurines").load("figurines")
    with pytest.raises(InputError, match="no such folder of annotations"):
        COLMAP(scene, annotations="nowhere").load("figurines")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"info": {}, "objects": []}, "no height and width"),
        ({"info": {"width": 10**9, "height": 3}, "objects": []}, "1000000000x3"),
        (annotation(("lamp", TRIANGLE)), "'lamp' is none of the labels"),
        (annotation(("bag", TRIANGLE[:2])), "a polygon of 2 points"),
        ({"info": {"width": 3, "height": 3}, "objects": [{"category": "bag"}]}, "KeyError"),
        (annotation(("bag", [[0, 0], [1, float("inf")], [2, 2]])), "a polygon of 3 points"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / "a.json", ("bag",))
