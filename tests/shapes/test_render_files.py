"""Renders of a template as a folder of photographs: cameras, keypoints and masks are those of the mesh in the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.captures import PhotographFolder, load_photographs
from mvdecor.captures.template_renders import RenderSettings
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_template_renders
from mvdecor.seeds import seed_of
from mvdecor.shapes.deformations import Deformations
from mvdecor.shapes.template import read_template
from tests.calls import call

SIZE, SEED = 32, 4
KEYPOINTS = {"left_tip": 20, "right_tip": 33, "bottom": 7}
SHARP = RenderSettings(deformations=Deformations(0.0, 0.0, 0.0), noise=0.0)
BENT = replace(SHARP, deformations=Deformations(0.2, 0.4, 0.05))


@pytest.fixture(scope="module")
def egg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template of 162 vertices with three keypoints."""
    folder = tmp_path_factory.mktemp("egg")
    mesh = trimesh.creation.icosphere(2)
    mesh.vertices *= [0.5, 0.7, 1.0]
    mesh.vertices[:, 1] += 0.3 * mesh.vertices[:, 2] ** 2
    mesh.export(folder / "egg.obj")
    (folder / "egg.json").write_text(json.dumps({"keypoints": KEYPOINTS}))
    return folder / "egg.obj"


def frontmost_faces(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """int [SIZE, SIZE], triangle by triangle: the nearest face at the centre of each pixel; -1 = none."""
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    nearest, seen = np.full((SIZE, SIZE), np.inf), np.full((SIZE, SIZE), -1)
    for number, face in enumerate(faces):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = xyz[face]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        depth = (1 - v - w) * az + v * bz + w * cz
        is_in_front = (v >= 0) & (w >= 0) & (v + w <= 1) & (depth < nearest)
        nearest[is_in_front], seen[is_in_front] = depth[is_in_front], number
    return seen


@pytest.mark.parametrize("settings", [SHARP, BENT], ids=["as it is", "deformed"])
def test_everything_written_is_of_the_mesh_in_the_picture(egg, tmp_path, settings) -> None:
    root = write_template_renders(tmp_path / "set", egg, None, 5, SEED, 0.4, SIZE, settings)
    source = PhotographFolder(root)
    assert source.keypoint_names == tuple(KEYPOINTS) and source.mirror == (1, 0, 2)
    assert [len(source.ids(split)) for split in ("train", "test", "all")] == [3, 2, 5]
    photographs, refused = load_photographs(source, source.ids("all"))
    assert not refused
    cameras = json.loads((root / "cameras.json").read_text())
    template, shown = read_template(egg), set()
    copy = read_template(root / "template" / "template.obj")
    torch.testing.assert_close(copy.shape.vertices, template.shape.vertices, atol=1e-6, rtol=0)
    assert torch.equal(copy.shape.faces, template.shape.faces) and copy.keypoints == KEYPOINTS
    for number, photograph in enumerate(photographs):
        generator = torch.Generator().manual_seed(seed_of(seed_of(SEED, "renders"), "render", number, 0))
        vertices = settings.deformations(template, [generator])[0].double().numpy()
        moved = np.abs(vertices - template.shape.vertices.numpy()).max()
        assert moved > 0.05 if settings is BENT else moved < 1e-6
        np.testing.assert_allclose(np.load(root / "vertices" / f"{photograph.id}.npy"), vertices, atol=1e-6)
        camera = cameras[photograph.id]
        rotation = np.array(camera["rotation"])
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
        xyz = camera["scale"] * vertices @ rotation.T + [*camera["shift"], 0]
        np.testing.assert_allclose(photograph.keypoints[:, :2], xyz[list(KEYPOINTS.values()), :2], atol=1e-3)
        by_reader = photograph.cameras.project(torch.from_numpy(vertices)[None].float())[0][0]
        np.testing.assert_allclose(by_reader.numpy(), xyz[:, :2], atol=1e-3)
        seen = frontmost_faces(xyz, template.shape.faces.numpy())
        assert ((seen >= 0) != photograph.mask).sum() <= 1, "the mask is the silhouette, but for a pixel on an edge"
        corners = set(template.shape.faces.numpy()[np.unique(seen[seen >= 0])].ravel().tolist())
        for vertex, (x, y, visible) in zip(KEYPOINTS.values(), photograph.keypoints, strict=True):
            assert bool(visible) == (vertex in corners and 0 <= x <= SIZE and 0 <= y <= SIZE)
            shown.add(bool(visible))
    assert shown == {True, False}


def test_a_render_depends_on_seed_and_number_alone(egg, tmp_path) -> None:
    few, many = (
        write_template_renders(tmp_path / str(count), egg, None, count, SEED, 0.3, SIZE, BENT) for count in (3, 5)
    )
    assert write_template_renders(few, egg, None, 3, SEED, 0.3, SIZE, BENT) == few, "what is there is left as it is"
    other = write_template_renders(tmp_path / "other", egg, None, 3, SEED + 1, 0.3, SIZE, BENT)
    for number in range(3):
        name = f"images/render_{number:05d}.png"
        assert (few / name).read_bytes() == (many / name).read_bytes() != (other / name).read_bytes()
        assert np.asarray(Image.open(few / name)).shape == (SIZE, SIZE, 3)
    with pytest.raises(InputError, match="is not this set"):
        write_template_renders(few, egg, None, 3, SEED, 0.3, SIZE, SHARP)


def test_the_command_writes_a_folder_of_photographs(egg, tmp_path) -> None:
    trimesh.load(egg, process=False).export(tmp_path / "bare.obj")
    words = ["format=renders", f"template.file={tmp_path / 'bare.obj'}", "count=3", f"size={SIZE}", "renders.noise=0"]
    done = call("generate", *words, f"out={tmp_path / 'set'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 renders of" in done.stdout
    files = {path.name for path in (tmp_path / "set").iterdir()}
    assert files == {*("images", "masks", "vertices", "template", "cameras.json", "split.json", "generated.json")}, (
        "no keypoints, no file of them"
    )
    assert len(PhotographFolder(tmp_path / "set").ids("train")) == 2


def test_what_is_refused_leaves_nothing(egg, tmp_path) -> None:
    mesh = trimesh.load(egg, process=False)
    trimesh.Trimesh(mesh.vertices, mesh.faces[1:], process=False).export(tmp_path / "open.obj")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="is not closed"):
        write_template_renders(tmp_path / "set", tmp_path / "open.obj")
    with pytest.raises(InputError, match="no such file"):
        write_template_renders(tmp_path / "set", tmp_path / "none.obj")
    with pytest.raises(InputError, match="leaves none to train on"):
        write_template_renders(tmp_path / "set", egg, count=2, test_fraction=0.9)
    assert sorted(tmp_path.iterdir()) == before
