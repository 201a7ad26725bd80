"""A model of To The Point in place of a trained one."""

from pathlib import Path

import torch

from mvdecor.made_up.birds import LABELS, bird_mesh, keypoint_vertices, mean_bird
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.template import Template, find_mirror
from mvdecor.systems.to_the_point.model import Reconstructor, save_model
from mvdecor.systems.to_the_point.settings import ReconstructorSettings

SOLVER = {"kind": "joint", "gamma": 1e-4, "damping": 0.0, "steps": 60, "rounds": 4, "scale": "free", "start": "affine"}
NETWORK = {
    "size": 32,
    "encoder": "test_resnet",
    "weights": None,
    "stage": -1,
    "width": 8,
    "grid": 4,
    "hidden": 8,
    "basis": 2,
}


def bird_template() -> Template:
    """The mean bird with its keypoints and part labels."""
    mesh = bird_mesh(mean_bird())
    vertices, faces, labels = (torch.from_numpy(x) for x in (mesh.vertices, mesh.faces, mesh.face_labels))
    shape = Shape("bird", vertices.float(), faces, labels, LABELS).normalized()
    return Template(shape, keypoint_vertices(mesh), find_mirror(shape))


def save_small_reconstructor(folder: Path) -> None:
    """Write a checkpoint of `small_reconstructor`."""
    save_model(folder, small_reconstructor(), {})


def small_reconstructor() -> Reconstructor:
    """A model that says the same of every image: the template from its left, deformed a little."""
    torch.manual_seed(0)
    template = bird_template()
    vertices = template.shape.vertices
    basis = 0.1 * torch.stack([vertices[:, [2, 0, 1]], vertices**2])
    model = Reconstructor(ReconstructorSettings.of(NETWORK | {"solver": SOLVER}), template, basis)
    rotation = torch.tensor([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    flat = ((vertices + 2 * basis[0]) @ rotation[:2].T) * 0.6 + torch.tensor([0.05, -0.1])
    with torch.no_grad():
        model.regressor.head.weight.zero_()
        numbers = model.regressor.head.bias.view(-1, 3)
        numbers[:, :2] = flat.clamp(-0.99, 0.99).atanh()
        numbers[:, 2] = 4.0
    return model
