"""Calibration after fine-tuning: new views, labels that were given, a temperature that is known."""

import numpy as np
import pytest
import torch
import trimesh
from lightning_fabric import Fabric
from octants import NAMES, VIEWS, octants, save_octants
from omegaconf import OmegaConf

from mvdecor.networks import load_checkpoint
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.batches import LabelledSource
from mvdecor.systems.mvdecor.calibrate import calibrate, labelled_part
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.setup import make_rendering, make_shape_views, seed_of_test_views

CONFIG = OmegaConf.create(
    {"views": {**VIEWS, "size": 32, "cache": None}, "seed": 0, "run": 0, "evaluation": {"batch_size": 8}}
)
FABRIC = Fabric(accelerator="cpu", devices=1, precision="32-true")


def ball(wrong: float = 0.0) -> Shape:
    """Labelled by octants, some of them wrongly."""
    mesh = trimesh.creation.icosphere(3)
    labels = octants(mesh.triangles.astype(np.float32))
    random = np.random.default_rng(0)
    change = (random.random(len(labels)) < wrong) & (labels >= 0)
    labels[change] = random.integers(0, 8, int(change.sum()))
    return Shape.from_trimesh(mesh, "ball", face_labels=torch.as_tensor(labels), label_names=tuple(NAMES))


def source(shape: Shape, views: range) -> LabelledSource:
    shape_views = make_shape_views(CONFIG, [shape], torch.device("cpu"))
    return LabelledSource(shape_views, make_rendering(CONFIG), [list(views)])


@pytest.fixture
def model(tmp_path):
    return load_checkpoint(save_octants(tmp_path / "model"))[0]


def test_a_model_that_states_more_than_it_knows_gets_a_temperature(model):
    """A third of the labels are noise, which no model can know of. Logits twice as large take twice the temperature."""
    labelled = source(ball(wrong=0.33), range(8))
    with torch.no_grad():
        model.head[2].weight.mul_(0.05)
    once = calibrate(CONFIG, FABRIC, model, labelled)
    with torch.no_grad():
        model.head[2].weight.mul_(2)
    twice = calibrate(CONFIG, FABRIC, model, labelled)
    assert 2 < once.temperature < 10
    assert twice.temperature == pytest.approx(2 * once.temperature, rel=0.02)
    assert twice.evidence == pytest.approx(2 * once.evidence, rel=0.1)


def test_a_model_that_is_right_keeps_its_confidence(model):
    """On the labelled shapes it may state less than it knows; on others it will not, so nothing is sharpened."""
    with torch.no_grad():
        model.head[2].weight.mul_(0.05)
    assert calibrate(CONFIG, FABRIC, model, source(ball(), range(8))).temperature == 1.0


def test_it_repeats_itself_and_its_evidence_is_that_of_other_meshes(model):
    labelled = source(ball(), range(8))
    once, again = (calibrate(CONFIG, FABRIC, model, labelled) for _ in range(2))
    assert once == again
    shape_views = make_shape_views(CONFIG, [ball()], torch.device("cpu"), views_seed=seed_of_test_views)
    evidence = predict_faces(FABRIC, model, shape_views, shape_views[0], make_rendering(CONFIG)).evidence
    assert once.familiarity(evidence) == pytest.approx(1, abs=0.05)


def test_only_labels_that_the_labelled_views_show_are_used():
    shape = ball()
    labelled = source(shape, range(1))
    part = labelled_part(labelled, 0)
    ids = labelled.shape_views.views(labelled.shape_views[0], [0]).face_ids
    seen = torch.zeros(shape.num_faces, dtype=torch.bool)
    seen[ids[ids >= 0].long()] = True
    assert 0 < int(seen.sum()) < shape.num_faces
    assert torch.equal(part.face_labels[seen], shape.face_labels[seen])
    assert bool((part.face_labels[~seen] == -1).all())


def test_shapes_without_a_known_face_leave_the_temperature_at_1(model):
    shape = ball()
    unknown = Shape("u", shape.vertices, shape.faces, torch.full((shape.num_faces,), -1), shape.label_names)
    assert calibrate(CONFIG, FABRIC, model, source(unknown, range(8))).temperature == 1.0
