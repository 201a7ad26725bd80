"""Which shapes are shown, and what is shown of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.apps.report.shapes import FACES, thin_out, turning_figure, upright_axes, worst_and_best
from mvdecor.errors import InputError
from mvdecor.figures import colours_of, label_palette
from mvdecor.figures.images import RIGHT_COLOUR, WRONG_COLOUR
from mvdecor.figures.meshes import confidence_colours
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.shapes import Shape


def test_worst_first_and_best_first(results, shown):
    miou = {id: shape["miou"] for id, shape in results.of("pretrained")[0].metrics["shapes"].items()}
    assert [one.rank for one in shown] == ["worst", "worst", "best", "best"]
    assert [one.miou["pretrained"] for one in shown[:2]] == sorted(miou.values())[:2]
    assert [one.miou["pretrained"] for one in shown[2:]] == sorted(miou.values())[:-3:-1]
    assert all(one.miou["pretrained"] == miou[one.shape.id] for one in shown)


@pytest.mark.parametrize(("count", "ranks"), [(0, []), (3, ["worst"] * 3 + ["best"] * 2), (9, ["worst"] * 5)])
def test_no_shape_is_shown_twice(results, count, ranks):
    shown = worst_and_best(results, count)
    assert [one.rank for one in shown] == ranks
    assert len({one.shape.id for one in shown}) == len(shown)


def test_labels_are_the_truth_and_those_of_each_first_run(results, shown, run_folder, labelled_meshes):
    for one in shown:
        assert list(one.labels) == ["truth", "scratch", "pretrained"]
        truth = np.load(labelled_meshes / f"{one.shape.id}_labels.npy")
        np.testing.assert_array_equal(one.labels["truth"], truth)
        predicted = np.load(run_folder / "scratch" / "run_0" / "labels" / f"{one.shape.id}.npy")
        np.testing.assert_array_equal(one.labels["scratch"], predicted)


def test_data_that_changed_is_refused(results, labelled_meshes, tmp_path):
    for path in labelled_meshes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for number in range(5):
        trimesh.creation.box().export(tmp_path / f"ball_{number}.ply")
        np.save(tmp_path / f"ball_{number}_labels.npy", np.zeros(12, dtype=np.int64))
    with pytest.raises(InputError, match=r"these labels are of another state of shape ball_\d \(12 faces, 3 parts\)"):
        worst_and_best(results, 1, str(tmp_path))


def test_3d_views_show_each_labelling_the_errors_and_the_confidence(shown):
    figure = turning_figure(shown)
    assert [annotation.text for annotation in figure.layout.annotations] == [*shown[0].labels, "errors", "confidence"]
    assert len(figure.data) == len(shown) * 5
    assert [trace.visible for trace in figure.data] == [True] * 5 + [False] * 15
    assert sum(len(trace.i) for trace in figure.data) <= FACES
    columns = []
    for one in shown:
        columns += [colours_of(labels, label_palette(3)) for labels in one.labels.values()]
        truth, predicted = one.labels["truth"], one.labels["pretrained"]
        errors = [
            LIGHT_GREY if t < 0 else RIGHT_COLOUR if t == p else WRONG_COLOUR
            for t, p in zip(truth, predicted, strict=True)
        ]
        columns += [np.array(errors), confidence_colours(one.confidence)]
    for trace, face_colours in zip(figure.data, columns, strict=True):
        expected = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in face_colours.tolist()]
        assert list(trace.facecolor) == expected, "these meshes are small enough to be shown whole"
        light = trace.lighting
        assert light.ambient + light.diffuse <= 1 and light.specular == light.fresnel == 0, "nothing is overexposed"
        axes = figure.layout[trace.scene]
        assert axes.aspectmode == "cube"
        for axis, points in ((axes.xaxis, trace.x), (axes.yaxis, trace.y), (axes.zaxis, trace.z)):
            low, high = axis.range
            assert low <= min(points) and max(points) <= high, "the camera sees the whole shape"
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == [f"{one.rank}: {one.shape.id}" for one in shown]
    for number, button in enumerate(buttons):
        assert list(button.args[1]) == [k // 5 == number for k in range(20)]


def test_views_turn_about_the_vertical_axis_of_the_shape(shown):
    """Plotly's turntable keeps its third axis upright: that is where y goes, and nothing is mirrored."""
    figure = turning_figure(shown[:1])
    scene, trace = figure.layout.scene, figure.data[0]
    assert scene.dragmode == "turntable" and (scene.camera.up.x, scene.camera.up.y, scene.camera.up.z) == (0, 0, 1)
    vertices = shown[0].shape.normalized().vertices.numpy()
    np.testing.assert_allclose(trace.z, vertices[:, 1], atol=1e-6)
    assert np.linalg.det(upright_axes(np.eye(3))) == pytest.approx(1)


def test_a_run_without_confidence_shows_none_of_it(shown):
    figure = turning_figure([replace(one, confidence=None) for one in shown])
    assert [annotation.text for annotation in figure.layout.annotations] == [*shown[0].labels, "errors"]


def test_a_small_mesh_stays_whole_but_for_its_twins():
    mesh = trimesh.creation.icosphere(1)
    faces = np.concatenate([mesh.faces, mesh.faces[:, ::-1]])
    shape = Shape("ball", torch.tensor(mesh.vertices, dtype=torch.float32), torch.from_numpy(faces))
    vertices, thinned, kept = thin_out(shape, 80)
    np.testing.assert_array_equal(kept, np.arange(80))
    np.testing.assert_allclose(vertices[thinned], shape.normalized().vertices.numpy()[mesh.faces], atol=1e-6)


@pytest.mark.parametrize("limit", [56, 300, 3000])
def test_a_large_mesh_is_thinned_out_and_keeps_its_form(limit):
    mesh = trimesh.creation.icosphere(5)
    shape = Shape.from_trimesh(mesh, "ball")
    vertices, faces, kept = thin_out(shape, limit)
    assert limit / 4 < len(faces) <= limit and len(kept) == len(faces)
    assert len(np.unique(kept)) == len(kept) and faces.max() < len(vertices)
    corners = vertices[faces]
    assert (np.ptp(corners, axis=1).max(axis=1) > 0).all(), "no face is a point"
    # each face lies near the one it stands for
    reach = 4 * np.sqrt(4 * np.pi / len(faces))
    centres = shape.normalized().face_centers.numpy()[kept]
    assert (np.linalg.norm(corners.mean(axis=1) - centres, axis=1) < reach).all()
