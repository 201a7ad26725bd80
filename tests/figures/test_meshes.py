from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.figures import label_palette, render_mesh_comparison, render_segmentation, render_shape, turntable_cameras
from mvdecor.figures.layout import GAP, TEXT_HEIGHT
from mvdecor.shapes.people import RenderPeople
from mvdecor.shapes.shape import Shape


def _box() -> Shape:
    """A cube whose six sides are the labels: -x +x -y +y -z +z by the sides' normals."""
    mesh = Shape.from_trimesh(trimesh.creation.box())
    axis = mesh.face_normals.abs().argmax(dim=1)
    side = 2 * axis + (mesh.face_normals.gather(1, axis[:, None])[:, 0] > 0)
    return Shape("box", mesh.vertices, mesh.faces, side, ("-x", "+x", "-y", "+y", "-z", "+z"))


def _hues(picture: np.ndarray, palette: np.ndarray) -> set[int]:
    """Palette colours that occur in a picture, up to shading."""
    pixels = picture.reshape(-1, 3).astype(float)
    pixels = pixels[(pixels < 250).any(axis=1) & (pixels > 0).any(axis=1)]
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    colours = palette / np.linalg.norm(palette.astype(float), axis=1, keepdims=True)
    return {k for k, count in enumerate((pixels @ colours.T > 0.9999).sum(axis=0)) if count > 20}


@pytest.mark.parametrize(("scale", "at"), [((1, 1, 1), 0.0), ((1, 0.1, 0.1), 0.0), ((0.1, 0.6, 0.2), 0.3)])
def test_turntable_cameras_stand_around_y_and_see_the_whole_shape_as_large_as_fits(scale, at) -> None:
    mesh = trimesh.creation.icosphere(2)
    mesh.vertices = mesh.vertices * scale + (0, at, 0)
    mesh.vertices *= 0.999 / np.linalg.norm(mesh.vertices, axis=1).max()
    cameras = turntable_cameras(Shape.from_trimesh(mesh), 5, 100)
    assert torch.allclose(cameras.centers.norm(dim=-1), cameras.centers.norm(dim=-1)[:1].expand(5), atol=1e-4)
    assert float(cameras.centers[:, 1].max() - cameras.centers[:, 1].min()) < 1e-4
    xy, depth = cameras.project(torch.from_numpy(mesh.vertices).float().expand(5, -1, -1))
    low, high = xy.amin(dim=(0, 1)), xy.amax(dim=(0, 1))
    assert bool((depth > 0).all()) and float((high - low).max()) == pytest.approx(94, abs=0.1)
    torch.testing.assert_close(low + high, torch.full((2,), 100.0), atol=0.1, rtol=0)


def test_no_pixel_of_a_thin_tall_shape_touches_the_edge_and_unused_vertices_do_not_count() -> None:
    mesh = trimesh.creation.cylinder(0.05, 2.0).apply_transform(
        trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
    )
    pole = Shape.from_trimesh(mesh)
    far = Shape("far", torch.cat([pole.vertices, torch.tensor([[9.0, 9.0, 9.0]])]), pole.faces)
    for shape in (pole, far):
        seen = (render_shape(shape, np.full((shape.num_faces, 3), 60, np.uint8), size=64, views=1) < 255).any(axis=2)
        rows = np.flatnonzero(seen.any(axis=1))
        assert 1 <= rows[0] <= 4 and 59 <= rows[-1] <= 62


@pytest.mark.parametrize(("azimuth", "front"), [(0, "+z"), (90, "+x"), (180, "-z"), (270, "-x")])
def test_each_side_of_a_box_shows_from_its_side(azimuth: float, front: str) -> None:
    box, palette = _box(), label_palette(6)
    picture = render_shape(box, palette[box.face_labels], size=64, views=1, elevation=0, azimuth=azimuth)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert _hues(picture, palette) == {box.label_names.index(front)}
    assert (picture[0] == 255).all() and (picture[:, 0] == 255).all()


def test_views_stand_side_by_side_and_size_and_place_of_the_shape_do_not_matter() -> None:
    box, palette = _box(), label_palette(6)
    colours = torch.from_numpy(palette[box.face_labels])
    picture = render_shape(box, colours, size=48, views=4)
    assert picture.shape == (48, 4 * 48, 3)
    assert [_hues(picture[:, k * 48 : k * 48 + 48], palette) for k in range(4)] == [
        {1, 3, 5},
        {1, 3, 4},
        {0, 3, 4},
        {0, 3, 5},
    ]
    moved = Shape("moved", box.vertices * 8 + 64, box.faces)  # powers of two: the same numbers after normalisation
    np.testing.assert_array_equal(render_shape(moved, colours, size=48, views=4), picture)


def test_comparison_has_a_row_a_shape_a_column_a_labelling_and_a_legend() -> None:
    box, palette = _box(), label_palette(6)
    other = torch.full_like(box.face_labels, -1)
    picture = render_mesh_comparison(
        [box, box], {"truth": [box.face_labels] * 2, "none": [other.numpy().astype(np.int16)] * 2}, size=64
    )
    assert picture.shape[1] >= 2 * 64 + GAP and picture.shape[0] > TEXT_HEIGHT + 2 * 64 + GAP
    truth, none = picture[TEXT_HEIGHT : TEXT_HEIGHT + 64, :64], picture[TEXT_HEIGHT : TEXT_HEIGHT + 64, 64 + GAP : 132]
    assert _hues(truth, palette) == {1, 3, 5} and _hues(none, palette) == set()
    np.testing.assert_array_equal(picture[TEXT_HEIGHT + 64 + GAP : TEXT_HEIGHT + 128 + GAP, :64], truth)
    below = picture[TEXT_HEIGHT + 2 * 64 + GAP :]
    assert _hues(below, palette) == {0, 1, 2, 3, 4, 5}
    assert int((below == 205).all(-1).sum()) >= 12 * 12  # the square of "undetermined"


def test_segmentation_shows_parts_above_their_confidence() -> None:
    box, palette = _box(), label_palette(6)
    confidence = torch.where(box.face_labels == 5, 0.0, 1.0)
    picture = render_segmentation(box, box.face_labels, confidence, size=64, views=4)
    parts, below = picture[:64], picture[64 + GAP : 128 + GAP]
    assert _hues(parts, palette) >= {0, 1, 3, 4, 5}
    unsure = np.array([[214, 32, 32], [214, 228, 214]])
    assert _hues(below, unsure) == {0, 1}
    assert _hues(render_segmentation(box, box.face_labels, torch.ones(12), size=64)[64 + GAP :][:64], unsure) == {1}
    assert picture.shape[1] >= 4 * 64 and picture.shape[0] == 128 + GAP + GAP + TEXT_HEIGHT


def test_what_does_not_fit_is_refused() -> None:
    box = _box()
    relabelled = Shape("relabelled", box.vertices, box.faces, box.face_labels, tuple("abcdef"))
    with pytest.raises(InputError, match=r"box: colours \[3, 3\] for 12 faces"):
        render_shape(box, np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match="at least one shape"):
        render_mesh_comparison([], {"truth": []})
    with pytest.raises(InputError, match="'truth' has 2 labellings for 1 shapes"):
        render_mesh_comparison([box], {"truth": [box.face_labels] * 2})
    with pytest.raises(InputError, match="box and relabelled have different label names"):
        render_mesh_comparison([box, relabelled], {"truth": [box.face_labels] * 2})


def test_a_real_person_shows_its_parts(people_root: Path) -> None:
    people = RenderPeople(people_root)
    shape = people.load(people.ids("train")[0])
    palette = label_palette(len(shape.label_names))
    picture = render_shape(shape, palette[shape.face_labels], size=128, views=2)
    names = {shape.label_names[k] for k in _hues(picture, palette)}
    assert {"head", "torso", "forearm", "upper_leg", "lower_leg"} <= names
