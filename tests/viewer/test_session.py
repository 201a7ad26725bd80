"""Labelling through the session: what is on disk after every change, what is predicted, what is refused."""

import json
import os

import numpy as np
import pytest
import trimesh
from octants import NAMES, octants, save_octants

from mvdecor.apps.viewer.colours import MODES, corner_colours, legend
from mvdecor.apps.viewer.predictions import Prediction
from mvdecor.apps.viewer.selection import Settings
from mvdecor.errors import InputError
from mvdecor.shapes import MeshFolder, Shape

LABELS = "labels=[low,high]"


@pytest.fixture
def boxes(tmp_path):
    """Two shapes of two boxes each, one above the other."""
    root = tmp_path / "boxes"
    root.mkdir()
    for name, gap in (("near", 1.5), ("far", 2.5)):
        parts = [trimesh.creation.box().apply_translation([0, y, 0]) for y in (0, gap)]
        trimesh.util.concatenate(parts).export(root / f"{name}.ply")
    return root


@pytest.fixture
def balls(tmp_path):
    root = tmp_path / "balls"
    root.mkdir()
    for name in ("a", "b"):
        trimesh.creation.icosphere(2).export(root / f"{name}.ply")
    return root


def click(session, id, origin, tool, label, unlabelled=False, **settings):
    hit = session.tools(id).pick(origin, [0, 0, -1])
    return session.paint(id, hit.face, hit.point, tool, label, Settings(**settings), unlabelled)


def test_every_change_is_on_disk_at_once(make_session, boxes):
    session = make_session("data=folder", f"data.root={boxes}", LABELS)
    assert session.labels_of("near").tolist() == [-1] * 24
    height = session.shape("near").face_centers[:, 1].numpy()

    def on_disk():
        labels = MeshFolder(boxes).load("near").face_labels.numpy()
        np.testing.assert_array_equal(labels, session.labels_of("near"))
        return labels

    assert click(session, "near", [0.1, 0.5, 5], "component", 1)
    np.testing.assert_array_equal(on_disk(), np.where(height > 0, 1, -1))
    assert click(session, "near", [0.1, -0.5, 5], "crease", 0, degrees=30)
    assert (on_disk() == 0).sum() == 2
    assert click(session, "near", [0.1, -0.5, 5], "brush", -1, radius=0.0)
    assert (on_disk() == 0).sum() == 1
    assert not click(session, "near", [0.1, 0.5, 5], "component", 1), "they have it already"
    assert session.undo("near")
    assert (on_disk() == 0).sum() == 2
    assert session.undo("near") and session.undo("near") and not session.undo("near")
    assert (on_disk() == -1).all()
    assert json.loads((boxes / "split.json").read_text())["train"] == []
    assert session.redo("near")
    assert (on_disk() == 1).sum() == 12
    assert json.loads((boxes / "split.json").read_text())["train"] == ["near"]
    again = make_session("data=folder", f"data.root={boxes}")
    assert again.label_names == ("low", "high")
    np.testing.assert_array_equal(again.labels_of("near"), on_disk())


def test_corrected_labels_are_exported_and_replaced_by_later_ones(make_session, boxes, tmp_path):
    session = make_session("data=folder", f"data.root={boxes}", LABELS)
    with pytest.raises(InputError, match="shape near has no label yet"):
        session.export("near")
    folder = tmp_path / "view" / "export" / "near"
    for label in (1, 0):
        click(session, "near", [0.1, 0.5, 5], "component", label)
        assert f"exported 1 part of 24 triangles with your labels: {folder} (50.0" in session.export("near")
        np.testing.assert_array_equal(np.load(folder / "labels.npy"), session.labels_of("near"))
    scene = trimesh.load_scene(folder / "original.glb")  # in the frame of the file, not that of the viewer
    np.testing.assert_allclose(scene.bounds, trimesh.load(boxes / "near.ply").bounds, atol=1e-6)


def test_what_cannot_be_saved_does_not_change(make_session, boxes, monkeypatch):
    session = make_session("data=folder", f"data.root={boxes}", LABELS)
    click(session, "near", [0.1, 0.5, 5], "component", 1)
    before = session.labels_of("near")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written to"):
        click(session, "near", [0.1, -0.5, 5], "component", 0)
    with pytest.raises(InputError, match="cannot be written to"):
        session.undo("near")
    np.testing.assert_array_equal(session.labels_of("near"), before)


def test_labels_that_another_program_changed_are_kept(make_session, boxes):
    session = make_session("data=folder", f"data.root={boxes}", LABELS)
    click(session, "near", [0.1, 0.5, 5], "component", 1)
    other = np.zeros(24, dtype=int)
    np.save(boxes / "near_labels.npy", other)
    with pytest.raises(InputError, match="another program changed it"):
        session.undo("near")
    np.testing.assert_array_equal(np.load(boxes / "near_labels.npy"), other)
    np.testing.assert_array_equal(session.labels_of("near"), other)
    assert click(session, "near", [0.1, 0.5, 5], "component", 1)
    assert (np.load(boxes / "near_labels.npy") == 0).sum() == 12


def test_predictions_and_accepting_them(make_session, balls, tmp_path):
    model = save_octants(tmp_path / "model")
    session = make_session("data=folder", f"data.root={balls}", f"checkpoint={model}")
    assert session.label_names == tuple(NAMES), "a folder without names takes the model's"
    corners = session.shape("a").vertices[session.shape("a").faces].numpy()
    known = octants(corners) >= 0
    found = session.prediction("a")
    assert (found.labels == octants(corners))[known].mean() > 0.95
    assert 0 <= found.expected_error(session.shape("a")) < 0.5
    click(session, "a", [0.1, 0.1, 5], "brush", 0, radius=0.2)
    own = session.labels_of("a") == 0
    assert session.predicts and session.unlabelled("a") == (~own).sum()
    least = float(np.median(found.confidence))
    assert session.accept("a", least)
    sure = ~own & (found.confidence >= least)
    assert 0 < sure.sum() < (~own).sum()
    np.testing.assert_array_equal(session.labels_of("a"), np.where(own, 0, np.where(sure, found.labels, -1)))
    assert not session.accept("a", least) and session.accept("a")
    np.testing.assert_array_equal(session.labels_of("a"), np.where(own, 0, found.labels))
    assert not session.accept("a") and session.unlabelled("a") == 0
    for shown in MODES:
        colours = corner_colours(session, "a", shown, ("b", 3))
        assert colours.shape == (320, 3, 3) and colours.dtype == np.uint8
        legend(session, session.ids[0], shown)
    wrong = corner_colours(session, "a", "error")[:, 0, 0] == 214
    np.testing.assert_array_equal(wrong, found.labels != session.labels_of("a"))


def test_only_sure_faces_are_accepted_and_only_similar_ones_painted(make_session, balls, tmp_path):
    session = make_session("data=folder", f"data.root={balls}", f"checkpoint={save_octants(tmp_path / 'model')}")
    found = session.prediction("a")
    limit = float(np.median(found.confidence))
    assert session.accept("a", limit)
    np.testing.assert_array_equal(session.labels_of("a"), np.where(found.confidence >= limit, found.labels, -1))
    assert session.undo("a")

    shape = session.shape("a")
    face = session.tools("a").pick([0.3, 0.3, 5], [0, 0, -1]).face
    similar = session.embedder().similarity(shape, face, shape).numpy() >= 0.9
    assert 1 < similar.sum() < shape.num_faces
    click(session, "a", [0.3, 0.3, 5], "brush", 1, radius=0.2)
    brushed = session.labels_of("a") == 1
    assert click(session, "a", [0.3, 0.3, 5], "similar", 0, cosine=0.9, unlabelled=True)
    np.testing.assert_array_equal(session.labels_of("a"), np.where(brushed, 1, np.where(similar, 0, -1)))
    unlabelled = session.largest_unlabelled("a")
    assert session.labels_of("a")[unlabelled] == -1
    session.label("a", np.ones(shape.num_faces, dtype=bool), 0)
    assert session.largest_unlabelled("a") is None


def test_similarity_follows_the_embedding(make_session, balls, tmp_path):
    """The octants' embedding is the position: what is similar to a point lies in its direction."""
    session = make_session("data=folder", f"data.root={balls}", f"checkpoint={save_octants(tmp_path / 'model')}")
    face = session.tools("a").pick([0.3, 0.3, 5], [0, 0, -1]).face
    values = session.embedder().similarity(session.shape("a"), face, session.shape("b")).numpy()
    centers = session.shape("b").face_centers.numpy()
    split = np.concatenate([centers.clip(0), (-centers).clip(0)], axis=1)
    split /= np.linalg.norm(split, axis=1, keepdims=True)
    np.testing.assert_allclose(values, split @ split[face], atol=0.1)


def test_the_expected_error_weighs_by_area():
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0]], [[0, 1, 2], [1, 3, 2]], process=False)
    found = Prediction(np.array([0, 1]), np.array([0.9, 0.3], dtype=np.float32))
    assert found.expected_error(Shape.from_trimesh(mesh)) == pytest.approx((0.1 + 2 * 0.7) / 3)


def test_uncertain_regions_are_visited_in_turn(make_session, balls, tmp_path):
    session = make_session("data=folder", f"data.root={balls}", f"checkpoint={save_octants(tmp_path / 'model')}")
    regions = session.prediction("a").uncertain_regions(session.shape("a"))
    assert len(regions) > 1
    for number, region in enumerate([*regions[:3], regions[0]]):
        face, words = session.uncertain_region("a", number if number < 3 else len(regions))
        assert face in region.faces
        assert f"region {number % 3 + 1} of {len(regions)}: " in words


def test_saved_predictions(tmp_path):
    confidence = np.array([0.5, 1.0, 0.25], dtype=np.float32)
    Prediction(np.array([0, 3, 1]), confidence).save(tmp_path / "x" / "a.npz")
    again = Prediction.load(tmp_path / "x" / "a.npz")
    assert again.labels.tolist() == [0, 3, 1]
    np.testing.assert_array_equal(again.confidence, confidence)
    (tmp_path / "b.npz").write_bytes(b"no")
    with pytest.raises(InputError, match=r"b\.npz"):
        Prediction.load(tmp_path / "b.npz")


def test_refused(make_session, boxes, tmp_path, made_up_people):
    folder = ["data=folder", f"data.root={boxes}"]
    session = make_session(*folder, LABELS)
    with pytest.raises(InputError, match="label 2 is unknown: there are 2: low, high"):
        click(session, "near", [0.1, 0.5, 5], "component", 2)
    with pytest.raises(InputError, match="tool 'lasso' is unknown"):
        click(session, "near", [0.1, 0.5, 5], "lasso", 1)
    with pytest.raises(InputError, match="no prediction yet"):
        session.prediction("near")
    with pytest.raises(InputError, match="no embeddings without a model"):
        session.embedder()
    with pytest.raises(InputError, match="no labels that a prediction"):
        corner_colours(session, "near", "error")
    with pytest.raises(InputError, match="label one or more"):
        session.new_round()
    nameless = make_session(*folder)
    with pytest.raises(InputError, match=r"labels=\[foot,pole,shade\]"):
        click(nameless, "near", [0.1, 0.5, 5], "component", 0)
    with pytest.raises(InputError, match="data=folder"):
        make_session("data=renderpeople", f"data.root={made_up_people}", LABELS)
    people = make_session("data=renderpeople", f"data.root={made_up_people}")
    with pytest.raises(InputError, match="data=folder"):
        people.undo(people.ids[0])
    model = save_octants(tmp_path / "model")
    with pytest.raises(InputError, match="are not those of the data"):
        make_session(*folder, LABELS, f"checkpoint={model}").prediction("near")
    with pytest.raises(InputError, match="no shapes in split 'val'"):
        (boxes / "split.json").write_text('{"val": []}')
        make_session(*folder, LABELS, "split=val")


def test_label_file_of_another_mesh(make_session, boxes):
    session = make_session("data=folder", f"data.root={boxes}", LABELS)
    click(session, "near", [0.1, 0.5, 5], "component", 1)
    np.save(boxes / "far_labels.npy", np.zeros(7, dtype=int))
    with pytest.raises(InputError, match=r"far_labels\.npy: 7 labels for a mesh of 24 faces"):
        session.shape("far")
