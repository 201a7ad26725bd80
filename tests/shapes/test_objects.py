"""Which object of its file each face belongs to."""

import numpy as np
import pytest
import trimesh

from mvdecor.shapes import read_mesh
from mvdecor.shapes.objects import read_objects

CORNERS = "".join(f"v {x} {y} 0\n" for x in range(3) for y in range(3))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("f 1 2 5\nf 1 5 4\n", [0, 0]),
        ("o a\nf 1 2 5\no b\nf 1 5 4\no a\nf 2 3 6\n", [1, 2, 1]),
        ("g left side\nf 1 2 5 4\ng\nf 2 3 6\n", [1, 1, 0]),  # the quad is cut in two
        ("f 1 2 5\no a\ng x\nf 1 5 4\ng y\nf 2 3 6\n", [0, 1, 1]),  # o lines go before g lines
    ],
)
def test_obj(tmp_path, lines, expected):
    (tmp_path / "a.obj").write_text(CORNERS + lines)
    assert read_objects(tmp_path / "a.obj").tolist() == expected
    assert read_mesh(tmp_path / "a.obj").num_faces == len(expected)


def test_gltf_nodes(tmp_path):
    scene, box = trimesh.Scene(), trimesh.creation.box()
    for number in range(3):
        scene.add_geometry(
            box, geom_name="box", transform=trimesh.transformations.translation_matrix([3 * number, 0, 0])
        )
    scene.export(tmp_path / "a.glb")
    objects, centers = read_objects(tmp_path / "a.glb"), read_mesh(tmp_path / "a.glb").face_centers.numpy()
    places = (centers[:, 0] / 3).round().astype(int)
    assert len(np.unique(objects)) == 3
    assert all(len(np.unique(objects[places == place])) == 1 for place in range(3))


def test_formats_without_objects(tmp_path):
    trimesh.creation.box().export(tmp_path / "a.ply")
    assert read_objects(tmp_path / "a.ply") is None
