"""Templates: closed meshes, their mirror against known symmetries, their keypoints."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.made_up.bird_files import write_template
from mvdecor.made_up.birds import KEYPOINTS, LABELS
from mvdecor.shapes import Shape
from mvdecor.shapes.template import check_closed, closest_points, find_mirror, read_template

TEMPLATES = Path(os.environ.get("MVDECOR_DATA", "../shared/data")) / "templates"


def test_the_template_of_the_birds(tmp_path: Path) -> None:
    write_template(tmp_path)
    template = read_template(tmp_path / "template.obj")
    assert set(template.keypoints) == set(KEYPOINTS) and template.shape.label_names == LABELS
    mirror, vertices = template.mirror, template.shape.vertices
    assert mirror.axis == 0 and mirror.error < 1e-5
    torch.testing.assert_close(mirror.of(vertices), vertices * torch.tensor([-1.0, 1, 1]), atol=1e-5, rtol=0)
    other_side = json.loads((tmp_path / "template.json").read_text())["mirror"]
    values = torch.randn(len(vertices), 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirror.of(values), values[other_side], atol=1e-3, rtol=0)


def test_a_mirror_between_vertices() -> None:
    """An ellipsoid whose vertices are turned about its long axis: symmetric, but no vertex lies opposite another."""
    sphere = trimesh.creation.icosphere(4)
    turned = trimesh.transform_points(sphere.vertices, trimesh.transformations.rotation_matrix(0.1, (0, 1, 1)))
    shape = Shape.from_trimesh(trimesh.Trimesh(turned * [0.5, 0.8, 1.0], sphere.faces, process=False))
    mirror = find_mirror(shape)
    assert mirror is not None and 0 < mirror.error < 0.01
    signs = torch.ones(3)
    signs[mirror.axis] = -1
    torch.testing.assert_close(mirror.of(shape.vertices), shape.vertices * signs, atol=0.02, rtol=0)
    lopsided = Shape.from_trimesh(trimesh.Trimesh(turned * (1 + 0.5 * (turned > 0.3)), sphere.faces, process=False))
    assert find_mirror(lopsided) is None


def test_nearest_points_are_those_of_a_fine_search() -> None:
    rng = np.random.default_rng(0)
    triangles, points = rng.normal(size=(7, 3, 3)), rng.normal(size=(40, 3))
    face, weights, distance = closest_points(points, triangles)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights >= -1e-12).all()
    nearest = np.einsum("pc,pci->pi", weights, triangles[face])
    np.testing.assert_allclose(np.linalg.norm(nearest - points, axis=1), distance)
    grid = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    fine = np.linalg.norm(np.einsum("gc,fci->fgi", grid, triangles)[None] - points[:, None, None], axis=-1).min(
        axis=(1, 2)
    )
    assert (distance <= fine + 1e-12).all() and (distance >= fine - 0.08).all()


def test_open_meshes_and_several_pieces_are_refused() -> None:
    sphere = trimesh.creation.icosphere(2)
    check_closed(Shape.from_trimesh(sphere))
    faulty = {
        "3 edges": trimesh.Trimesh(sphere.vertices, sphere.faces[1:], process=False),
        "edges do not belong": trimesh.Trimesh(
            sphere.vertices, np.concatenate([sphere.faces[:1, ::-1], sphere.faces[1:]]), process=False
        ),
        "2 pieces": trimesh.util.concatenate([sphere, sphere.copy().apply_translation((3, 0, 0))]),
        "1 vertices without a face": trimesh.Trimesh([*sphere.vertices, (0, 0, 0)], sphere.faces, process=False),
        "at most 20000": trimesh.creation.icosphere(6),
    }
    for message, mesh in faulty.items():
        with pytest.raises(InputError, match=message):
            check_closed(Shape.from_trimesh(mesh))


def test_keypoints_and_labels_must_fit(tmp_path: Path) -> None:
    mesh = tmp_path / "ball.obj"
    trimesh.creation.icosphere(1).export(mesh)
    faulty = {
        '{"keypoints": {"nose": 42}}': "vertices 0 to 41",
        '{"keypoints": {"nose": "a"}}': "vertices 0 to 41",
        '{"keypoints": [1]}': "must be {name: vertex}",
        '{"face_labels": [0], "label_names": ["a"]}': "1 face labels for 80 faces",
        '{"face_labels": "a"}': "must be whole numbers",
        "[1]": "should be an object",
    }
    for content, message in faulty.items():
        (tmp_path / "ball.json").write_text(content)
        with pytest.raises(InputError, match=message):
            read_template(mesh)
    (tmp_path / "ball.json").unlink()
    assert read_template(mesh).keypoints == {}
    (tmp_path / "points.pkl").write_bytes(pickle.dumps({"nose": 3}))
    assert read_template(mesh, tmp_path / "points.pkl").keypoints == {"nose": 3}
    (tmp_path / "points.pkl").write_bytes(pickle.dumps({"nose": Path("/")}))
    with pytest.raises(InputError, match="not a pickled dictionary"):
        read_template(mesh, tmp_path / "points.pkl")


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"no templates in {TEMPLATES}")
def test_real_templates() -> None:
    folder = TEMPLATES / "multiframe" / "meshes"
    found = {
        path.stem: read_template(path) for path in (folder / "horse.obj", folder / "zebra.obj", folder / "tiger.obj")
    }
    for template in found.values():
        assert len(template.shape.vertices) == 642 and template.mirror.axis == 2
    horse = read_template(folder / "horse.obj", folder / "horse_kp_dictionary.pkl")
    left, right = (horse.shape.vertices[horse.keypoints[f"{side}Eye"]] for side in ("left", "right"))
    assert torch.linalg.norm(left * torch.tensor([1, 1, -1]) - right) < 0.05, "the eyes mirror each other"
