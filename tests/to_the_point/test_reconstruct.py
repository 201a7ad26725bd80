"""From one photograph to a mesh: files that other readers read, labels that travel, a camera that says where the mesh is."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import mvdecor
from mvdecor.errors import InputError
from mvdecor.evaluation.rotations import angle_between, front_back_twin
from mvdecor.image_reconstructor import ImageReconstructor
from mvdecor.shapes import read_mesh
from mvdecor.solvers.minimize import rotations
from mvdecor.systems.to_the_point.finetune import seen_faces
from mvdecor.systems.to_the_point.model import Solved, load_model, save_model
from mvdecor.systems.to_the_point.twins import likelier_twin
from mvdecor.views.visibility import visible_vertices
from tests.calls import call
from tests.small_reconstructor import save_small_reconstructor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that says the same of every image."""
    folder = tmp_path_factory.mktemp("model")
    save_small_reconstructor(folder)
    return folder


@pytest.fixture
def photograph(tmp_path):
    """An image of 50 x 40 pixels with a mask of 20 x 20."""
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8), np.zeros((40, 50), dtype=np.uint8)
    mask[10:30, 22:42] = 255
    Image.fromarray(image).save(tmp_path / "bird.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return image, mask > 0


def test_camera_mesh_and_labels_agree(checkpoint, photograph):
    image, mask = photograph
    assert isinstance(mvdecor.load(checkpoint, device="cpu"), ImageReconstructor)
    reconstructor = ImageReconstructor(checkpoint, "cpu", mirror=False)  # a side view, whose tips are pixels wide
    result = reconstructor.reconstruct(image, mask)
    pixels = result.scale * (result.shape.vertices @ result.rotation.T)[:, :2] + result.shift
    for name, vertex in reconstructor.template.keypoints.items():
        assert result.keypoints[name] == pytest.approx(pixels[vertex].tolist(), abs=1e-3)
    seen = result.labels >= 0
    rows, columns = np.nonzero(seen)
    low, high = pixels.amin(dim=0).tolist(), pixels.amax(dim=0).tolist()
    assert columns.min() == pytest.approx(low[0], abs=1.5) and columns.max() + 1 == pytest.approx(high[0], abs=1.5)
    assert rows.min() == pytest.approx(low[1], abs=1.5) and rows.max() + 1 == pytest.approx(high[1], abs=1.5)
    silhouette = trimesh.Trimesh(result.posed.vertices.numpy(), result.posed.faces.numpy(), process=False)
    for row, column in ((20, 32), (15, 30), (25, 25), (12, 40)):
        x, y = ((np.array([column + 0.5, row + 0.5]) - result.shift.numpy()) / result.scale).tolist()
        hit, _, face = silhouette.ray.intersects_location([[x, -y, 10.0]], [[0.0, 0.0, -1.0]], multiple_hits=False)
        expected = int(result.shape.face_labels[face[0]]) if len(hit) else -1
        around = result.labels[row - 1 : row + 2, column - 1 : column + 2]
        assert expected in around, "a pixel has the label of the face behind it, up to its neighbours"
    with pytest.raises(InputError, match="the mask is empty"):
        reconstructor.reconstruct(image, np.zeros((40, 50), dtype=bool))
    with pytest.raises(InputError, match="give one of its size"):
        reconstructor.reconstruct(image, mask[1:])


def test_the_command_writes_files_that_others_read(checkpoint, photograph, tmp_path):
    words = [
        f"image={tmp_path}/bird.png",
        f"mask={tmp_path}/mask.png",
        f"checkpoint={checkpoint}",
        "count=2",
        "size=32",
    ]
    output = call("reconstruct", *words, f"out={tmp_path}/out", "device=cpu", cwd=tmp_path)
    assert output.returncode == 0, output.stderr
    files = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {"turned.png", "labels.png", "mesh.png"}
    assert files == {"mesh.glb", "mesh.obj", "mesh.mtl", "camera.json", "labels.npy", "labels.json", *pictures}
    camera = json.loads((tmp_path / "out" / "camera.json").read_text())
    glb = trimesh.load(tmp_path / "out" / "mesh.glb", force="mesh", process=False)
    obj = read_mesh(tmp_path / "out" / "mesh.obj")
    np.testing.assert_allclose(glb.vertices.reshape(-1, 3, 3), obj.vertices[obj.faces].numpy(), atol=1e-5)
    beak = np.array(camera["keypoints"]["beak"])
    x, y = ((beak - camera["shift"]) / camera["scale"]).tolist()
    assert np.abs(obj.vertices[:, :2].numpy() - [x, -y]).sum(axis=1).min() < 1e-4, "posed as the camera sees it"
    image = photograph[0]
    colours = np.array(glb.visual.material.baseColorTexture)
    assert (colours == image).all() and torch.equal(obj.texture.images[0], torch.from_numpy(image))
    uv = np.asarray(glb.visual.uv).reshape(-1, 3, 2)
    np.testing.assert_allclose(uv, obj.texture.uv.numpy(), atol=1e-5)
    labels = np.load(tmp_path / "out" / "labels.npy")
    assert labels.shape == (40, 50) and set(np.unique(labels)) > {-1, 1}


def test_the_twin_is_taken_where_its_visible_vertices_are_those_of_the_network(checkpoint):
    model, _ = load_model(checkpoint)
    turn = rotations(torch.tensor([[0.0, 0.7, 0.0]]))[0]  # not from the side, where both twins are one
    vertices, lookup = model.vertices, model.mirror
    with torch.no_grad():
        solved = model(torch.zeros(2, 3, 32, 32))
        positions = (vertices @ (solved.rotation @ turn)[:, :2].transpose(1, 2)) * 0.6
        fit = model.solve(positions, torch.ones(2, len(vertices)))
        mirrored = (lookup[1][..., None] * positions[:, lookup[0]]).sum(dim=2)
        twin = model.solve(mirrored, torch.ones(2, len(vertices)))
        assert bool((angle_between(front_back_twin(fit.rotation), twin.rotation) < 3).all())
        assert bool((angle_between(fit.rotation, twin.rotation) > 40).all())
        seen = [seen_faces(model, model.deformed(x), x, 32) for x in (fit, twin)]
        visible = [visible_vertices(face_ids, model.faces, len(vertices)) for face_ids in seen]
        logits = torch.stack([visible[0][0], visible[1][1]]) * 8.0 - 4.0
        chosen = likelier_twin(model, Solved(positions, logits, *(getattr(fit, f.name) for f in fields(fit))))
    assert float(angle_between(chosen.rotation[:1], fit.rotation[:1])) < 1e-3
    assert float(angle_between(chosen.rotation[1:], twin.rotation[1:])) < 3


def test_an_image_that_nothing_fits_is_refused(checkpoint, photograph, tmp_path):
    model, _ = load_model(checkpoint)
    with torch.no_grad():
        model.regressor.head.weight.zero_()
        model.regressor.head.bias.zero_()
    save_model(tmp_path / "flat", model, {})
    with pytest.raises(InputError, match="COLLAPSED_POSITIONS"):
        mvdecor.load(tmp_path / "flat", device="cpu").reconstruct(photograph[0])


def test_the_mirror_image_cancels_opposite_errors(checkpoint):
    model, _ = load_model(checkpoint)
    generator = torch.Generator().manual_seed(0)
    vertices, weights = model.mirror
    truth = 0.5 * model.vertices[None, :, :2] + 0.1
    error = 0.05 * torch.randn(truth.shape, generator=generator)
    asymmetric = torch.arange(3.0 * 8 * 8).view(1, 3, 8, 8) / 192

    def say(images):
        """The truth with an error of the image, and in its mirror image the error's opposite, vertex by vertex."""
        if torch.equal(images, asymmetric):
            return truth + error, torch.zeros(truth.shape[:2])
        assert torch.equal(images, asymmetric.flip(-1))
        seen = (truth - error) * torch.tensor([-1.0, 1.0])
        said = torch.stack(
            [sum(weights[i, j] * seen[0, vertices[i, j]] for j in range(3)) for i in range(len(vertices))]
        )
        return said[None], torch.zeros(truth.shape[:2])

    model.regressor.forward = say
    assert torch.allclose(
        model.reconstruct(asymmetric).positions, truth, atol=0.02
    )  # vertices of a mirror map may lie between
    assert (model.reconstruct(asymmetric).positions - truth).abs().mean() < 0.1 * error.abs().mean()
    assert torch.equal(model.reconstruct(asymmetric, mirror=False).positions, truth + error)
