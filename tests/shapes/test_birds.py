"""Made-up birds: their mesh, and pictures whose truth agrees with itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.errors import InputError
from mvdecor.made_up.birds import (
    KEYPOINTS,
    PARAMETERS,
    bird_mesh,
    keypoint_vertices,
    keypoints,
    mean_bird,
    random_bird,
    surface_points,
)
from mvdecor.made_up.generate import write_birds


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return write_birds(tmp_path_factory.mktemp("birds") / "set", count=6, seed=3, test_fraction=0.34, size=48)


def test_every_bird_is_watertight_symmetric_and_of_the_same_points() -> None:
    rng = np.random.default_rng(0)
    extremes = [{name: limits[i] for name, limits in PARAMETERS.items()} for i in (0, 1)]
    assert len(PARAMETERS) == 14 and len(KEYPOINTS) == 15
    for bird in (mean_bird(), *extremes, *(random_bird(rng) for _ in range(5))):
        for rings, sides, vertices in ((40, 16, 642), (60, 40, 2402)):
            mesh = bird_mesh(bird, rings, sides)
            solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
            assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0.03
            assert len(mesh.vertices) == vertices == solid.vertices.shape[0] and solid.body_count == 1
            np.testing.assert_allclose(mesh.vertices[mesh.mirror] * [-1, 1, 1], mesh.vertices, atol=1e-12)
            turned = {tuple(sorted(face)) for face in mesh.mirror[mesh.faces].tolist()}
            assert turned == {tuple(sorted(face)) for face in mesh.faces.tolist()}
            np.testing.assert_allclose(surface_points(bird, mesh.coordinates), mesh.vertices, atol=1e-12)
            assert set(mesh.face_labels.tolist()) == set(range(6))


def test_keypoints_of_the_template_are_near_those_of_the_bird() -> None:
    mesh = bird_mesh(mean_bird(), 60, 40)
    nearest = keypoint_vertices(mesh)
    offsets = np.linalg.norm(mesh.vertices[list(nearest.values())] - keypoints(mean_bird()), axis=1)
    assert list(nearest) == list(KEYPOINTS) and offsets.max() < 0.06
    for name in KEYPOINTS:
        if name.startswith("left_"):
            assert mesh.mirror[nearest[name]] == nearest[name.replace("left", "right")]


def test_pictures_agree_with_their_truth(birds) -> None:
    """The mask is that of the projected triangles, one by one; visible keypoints lie in it, where the camera puts them."""
    cameras, shapes = (json.loads((birds / name).read_text()) for name in ("cameras.json", "birds.json"))
    written = json.loads((birds / "keypoints.json").read_text())
    assert written["names"] == list(KEYPOINTS)
    assert [written["mirror"][i] for i in written["mirror"]] == list(range(15))
    for id, camera in cameras.items():
        rotation = np.array(camera["rotation"])
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) > 0
        mask = np.asarray(Image.open(birds / "masks" / f"{id}.png")) > 127
        image = np.asarray(Image.open(birds / "images" / f"{id}.png"))
        assert image.shape == (48, 48, 3) and mask.shape == (48, 48)
        mesh = bird_mesh(shapes[id], 60, 40)
        xy = camera["scale"] * (mesh.vertices @ rotation.T)[:, :2] + camera["shift"]
        corners = xy[mesh.faces]
        centres = np.stack(np.meshgrid(np.arange(48) + 0.5, np.arange(48) + 0.5), axis=-1).reshape(-1, 2)
        covered = np.zeros(len(centres), dtype=bool)
        for a, b, c in corners:
            sides = [
                (q - p)[0] * (centres - p)[:, 1] - (q - p)[1] * (centres - p)[:, 0] for p, q in ((a, b), (b, c), (c, a))
            ]
            covered |= np.all(np.stack(sides) >= 0, axis=0)
        assert (covered.reshape(48, 48) != mask).mean() < 0.03
        points = np.array(written["keypoints"][id])
        projected = camera["scale"] * (keypoints(shapes[id]) @ rotation.T)[:, :2] + camera["shift"]
        np.testing.assert_allclose(points[:, :2], projected, atol=1e-3)
        visible = points[points[:, 2] > 0]
        assert len(visible) >= 4
        near = [mask[max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3].any() for x, y, _ in visible]
        assert all(near)


def test_eyes_are_hidden_behind_the_head(birds) -> None:
    """From a side, only the eye of that side is seen."""
    cameras, written = (json.loads((birds / name).read_text()) for name in ("cameras.json", "keypoints.json"))
    for id, camera in cameras.items():
        left, right = (written["keypoints"][id][written["names"].index(f"{side}_eye")][2] for side in ("left", "right"))
        towards_camera = -np.array(camera["rotation"])[2] @ [1, 0, 0]  # of the left
        if abs(towards_camera) > 0.5:
            assert (left, right) == (towards_camera > 0, towards_camera < 0)


def test_the_same_seed_gives_the_same_files(birds, tmp_path) -> None:
    again = write_birds(tmp_path / "again", count=6, seed=3, test_fraction=0.34, size=48)
    for file in birds.rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (again / file.relative_to(birds)).read_bytes()
    split = json.loads((birds / "split.json").read_text())
    assert [len(split[name]) for name in ("train", "test")] == [4, 2]
    with pytest.raises(InputError, match="is not this set"):
        write_birds(birds, count=7)
    with pytest.raises(InputError, match="leaves none"):
        write_birds(tmp_path / "none", count=2, test_fraction=0.9)


def test_template_files(birds) -> None:
    solid = trimesh.load(birds / "template" / "template.obj", process=False)
    about = json.loads((birds / "template" / "template.json").read_text())
    assert solid.is_watertight and len(solid.vertices) == len(about["mirror"]) == 642
    assert len(about["face_labels"]) == len(solid.faces)
    assert max(about["face_labels"]) < len(about["label_names"])
    mirrored = torch.from_numpy(solid.vertices[about["mirror"]] * [-1, 1, 1])
    torch.testing.assert_close(mirrored, torch.from_numpy(np.array(solid.vertices)), atol=1e-6, rtol=0)
