"""`Reconstructor`: image -> positions and visibilities of the template's vertices -> camera and deformation, solved for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mvdecor.losses.meshes import cotangents, mesh_edges
from mvdecor.networks.regressor import VertexRegressor
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.template import Mirror, Template
from mvdecor.solvers import Fit, deform, solve_camera, solve_deformation, solve_released
from mvdecor.systems.to_the_point.settings import ReconstructorSettings
from mvdecor.weights import WEIGHTS, find_weights, is_of_kind, open_weights, write_weights

KIND = "mvdecor reconstructor 2"


class Solved(NamedTuple):
    """What the network says of B images, and what the solver says of the first S of them.

    Attributes:
        positions: float [B, V, 2], image positions in [-1, 1], x right, y down.
        logits: float [B, V], of the visibilities.
        rotation, scale, shift, coefficients, cost, status: [S, ...], fields of `Fit`.
    """

    positions: Tensor
    logits: Tensor
    rotation: Tensor
    scale: Tensor
    shift: Tensor
    coefficients: Tensor
    cost: Tensor
    status: Tensor

    @property
    def fit(self) -> Fit:
        """The solver's answer as it gave it."""
        return Fit(*self[2:])


class Reconstructor(nn.Module):
    """The network with the solver inside (To The Point, figure 2).

    Args:
        settings: the group `reconstructor`.
        template: on the CPU.
        basis: float32 [K, V, 3], initial deformation vectors.
    """

    vertices: Tensor
    faces: Tensor
    edges: Tensor
    cotangents: Tensor
    keypoint_vertices: Tensor
    mirror_vertices: Tensor | None
    mirror_weights: Tensor | None

    def __init__(self, settings: ReconstructorSettings, template: Template, basis: Tensor) -> None:
        super().__init__()
        self.settings, self.template = settings, template
        layers = settings.model_dump(include={"encoder", "weights", "stage", "width", "grid", "hidden"})
        self.regressor = VertexRegressor(len(template.shape.vertices), **layers)
        self.basis = nn.Parameter(basis.clone())
        vertices, faces = template.shape.vertices, template.shape.faces
        edges = mesh_edges(faces)
        constants = {"vertices": vertices, "faces": faces, "edges": edges}
        constants["cotangents"] = cotangents(vertices, faces, edges)
        constants["keypoint_vertices"] = torch.tensor(list(template.keypoints.values()), dtype=torch.int64)
        for name, values in constants.items():
            self.register_buffer(name, values, persistent=False)
        mirror = template.mirror
        self.register_buffer("mirror_vertices", None if mirror is None else mirror.vertices, persistent=False)
        self.register_buffer("mirror_weights", None if mirror is None else mirror.weights, persistent=False)

    def forward(self, images: Tensor, solved: int | None = None) -> Solved:
        """The network on float [B, 3, H, W] in [0, 1], and the solver on the first `solved` images (all if None)."""
        positions, logits = self.regressor(images)
        count = len(images) if solved is None else solved
        with torch.autocast(images.device.type, enabled=False):
            return self._solved(positions, logits, count)

    @torch.no_grad()
    def reconstruct(self, images: Tensor, mirror: bool = True) -> Solved:
        """What is said and solved of unseen images, float [B, 3, H, W] in [0, 1].

        Args:
            images: of unseen photographs.
            mirror: take the mean of what the network says of an image and of its mirror image, if the template is symmetric.
        """
        positions, logits = self.regressor(images)
        if mirror and self.mirror is not None:
            flipped, flipped_logits = self.regressor(images.flip(-1))
            opposite = self.opposite(flipped)
            opposite[..., 0] *= -1
            positions = (positions + opposite) / 2
            logits = (logits + self.opposite(flipped_logits[..., None])[..., 0]) / 2
        return self._solved(positions, logits, len(images))

    def _solved(self, positions: Tensor, logits: Tensor, count: int) -> Solved:
        fit = self.solve(positions[:count], logits[:count].sigmoid())
        return Solved(positions, logits, fit.rotation, fit.scale, fit.shift, fit.coefficients, fit.cost, fit.status)

    def opposite(self, values: Tensor) -> Tensor:
        """[B, V, D] values of the vertices of a symmetric template, as each vertex's mirror image has them."""
        assert self.mirror is not None, "asked for only of a symmetric template"
        vertices, weights = self.mirror
        return (weights[..., None] * values[:, vertices]).sum(dim=2)

    def solve(self, positions: Tensor, weights: Tensor) -> Fit:
        """Camera and coefficients of correspondences [S, V, 2] with weights [S, V]."""
        solver, vertices = self.settings.solver, self.vertices
        if solver.kind == "rigid" or len(positions) == 0:
            return solve_camera(positions, weights, vertices, solver.steps, solver.damping)
        if solver.kind == "joint":
            return solve_deformation(
                positions, weights, vertices, self.basis, solver.gamma, solver.steps, solver.damping
            )
        return solve_released(positions, weights, vertices, self.basis, 1.0, solver.rounds, solver.scale, solver.start)

    @property
    def mirror(self) -> tuple[Tensor, Tensor] | None:
        """Where each vertex lies in the mirror image, see `Mirror`; None if the template is not symmetric."""
        if self.mirror_vertices is None or self.mirror_weights is None:
            return None
        return self.mirror_vertices, self.mirror_weights

    def deformed(self, fit: Fit) -> Tensor:
        """float [S, V, 3], the template's vertices, deformed; in the template's frame."""
        basis = self.basis if fit.coefficients.shape[1] else None
        return deform(self.vertices, basis, fit.coefficients)


def save_model(folder: Path, model: Reconstructor, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`: weights and template, with the settings in its header.

    Args:
        folder: made if it is not there.
        model: on any device.
        record: plain values to go along.
    """
    template, shape = model.template, model.template.shape
    mesh = {"vertices": shape.vertices, "faces": shape.faces}
    if shape.face_labels is not None:
        mesh["face_labels"] = shape.face_labels
    if (mirror := template.mirror) is not None:
        mesh |= {"mirror_vertices": mirror.vertices, "mirror_weights": mirror.weights}
    state = model.state_dict() | {f"template.{name}": values for name, values in mesh.items()}
    settings = model.settings.model_dump() | {"weights": None}  # the file has the weights
    text: dict[str, Any] = {"reconstructor": settings, "template": shape.id, "keypoints": template.keypoints}
    text["mirror"] = None if mirror is None else {"axis": mirror.axis, "error": mirror.error}
    text |= {"label_names": list(shape.label_names), **record}
    write_weights(folder / WEIGHTS, state, KIND, text)


def load_model(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Reconstructor, dict[str, Any]]:
    """The model in evaluation mode, and its record, with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    expected = "model of To The Point: give the out/model of its stages"
    with open_weights(model_file(folder), KIND, expected) as (record, state):
        mesh = {name.removeprefix("template."): state.pop(name) for name in list(state) if name.startswith("template.")}
        names = tuple(record["label_names"])
        shape = Shape(record["template"], mesh["vertices"], mesh["faces"], mesh.get("face_labels"), names)
        mirror = None
        if (about := record["mirror"]) is not None:
            mirror = Mirror(about["axis"], mesh["mirror_vertices"], mesh["mirror_weights"], about["error"])
        template = Template(shape, record["keypoints"], mirror)
        model = Reconstructor(ReconstructorSettings.of(record["reconstructor"]), template, state["basis"])
        model.load_state_dict(state)
    return model.to(device).eval(), record


def is_model(folder: Path | str) -> bool:
    """Whether a checkpoint is one of To The Point; False for one that cannot be read."""
    return is_of_kind(Path(folder) / WEIGHTS, KIND)


def model_file(folder: Path | str) -> Path:
    """The file of a checkpoint. Raises InputError if there is none."""
    return find_weights(folder, "the out/model of a stage of To The Point")
