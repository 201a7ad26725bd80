"""Part substitution on shapes of boxes whose colours say where in the texture they come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, Texture
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.substitution import STRETCH, substitute, substitutes

NAMES = ("seat", "back", "legs")
SIZE = 64


def ramp(blue: int) -> torch.Tensor:
    """An image that is u in red and v in green, and one blue."""
    steps = (255 * (torch.arange(SIZE) + 0.5) / SIZE).round().byte()
    image = torch.full((SIZE, SIZE, 3), blue, dtype=torch.uint8)
    image[..., 0], image[..., 1] = steps[None], steps.flip(0)[:, None]
    return image


def make(id: str, seed: int, labels=(0, 1, 2), textured: bool = True, samplers=None, extents=None) -> Shape:
    """A box for each label at a place of its own, its faces cut and all faces in random order."""
    rng = np.random.default_rng(seed)
    vertices, faces, face_labels = [], [], []
    for label in labels:
        box = trimesh.creation.box(rng.uniform(0.5, 0.9, size=3) if extents is None else extents).subdivide()
        faces.append(box.faces + sum(map(len, vertices)))
        vertices.append(box.vertices + np.array([0, 2 * label, 0]) + rng.uniform(-0.2, 0.2, size=3))
        face_labels.append(np.full(len(box.faces), label))
    order = rng.permutation(sum(map(len, faces)))
    texture = None
    if textured:
        uv = torch.from_numpy(rng.uniform(0.1, 0.9, size=(len(order), 3, 2))).float()
        images = (ramp(10 * seed), ramp(10 * seed + 1))
        texture = Texture(uv, images, torch.from_numpy(rng.integers(0, 2, len(order))), samplers)
    return Shape(
        id,
        torch.from_numpy(np.concatenate(vertices)).float(),
        torch.from_numpy(np.concatenate(faces)[order]),
        torch.from_numpy(np.concatenate(face_labels)[order]),
        NAMES,
        texture,
    )


def corners(shape: Shape, label: int, equal: bool = True) -> np.ndarray:
    """[n, 3, 3], the corners of the faces of a label (or of all others), in the order of the faces."""
    mask = (shape.face_labels == label) == equal
    return shape.vertices[shape.faces[mask]].double().numpy()


def box(points: np.ndarray) -> np.ndarray:
    return np.stack([points.reshape(-1, 3).min(axis=0), points.reshape(-1, 3).max(axis=0)])


@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_part_is_the_donors_in_the_place_of_the_replaced_one_and_the_others_stay(label):
    shape, donor = make("a", 1), make("b", 2)
    new = substitute(shape, donor, label)
    assert new.id == f"a+{label}+b" and new.label_names == NAMES
    np.testing.assert_array_equal(corners(new, label, equal=False), corners(shape, label, equal=False))
    before, after, replaced = corners(donor, label), corners(new, label), corners(shape, label)
    assert len(after) == len(before) and len(new.faces) == len(new.face_labels) == len(new.texture.uv)
    np.testing.assert_allclose(box(after), box(replaced), atol=1e-6)
    (low, high), (new_low, new_high) = box(before), box(replaced)
    expected = (before - low) / (high - low) * (new_high - new_low) + new_low  # each axis by itself
    np.testing.assert_allclose(after, expected, atol=1e-6)
    np.testing.assert_array_equal(
        np.unique(new.face_labels), [0, 1, 2], err_msg="a part that was exchanged is still there"
    )
    assert len(new.faces.unique()) == len(new.vertices), "no vertex is left over"


@pytest.mark.parametrize("samplers", [None, torch.tensor([[2, 2, 1], [0, 1, 0]])])
def test_every_face_keeps_its_colours(samplers):
    """The colour of a point is its texture coordinate and the blue of the image it came from, so it can be looked up."""
    shape, donor = make("a", 1, samplers=samplers), make("b", 2)
    new = substitute(shape, donor, 1)
    weights = torch.from_numpy(np.random.default_rng(0).dirichlet([1, 1, 1], size=len(new.faces))).float()
    uv = (weights[:, :, None] * new.texture.uv).sum(dim=1)
    colours = 255 * sample_texture(new.texture, new.texture.image_ids, uv)
    row = 0
    for source, mask, number in ((shape, shape.face_labels != 1, 1), (donor, donor.face_labels == 1, 2)):
        for face in mask.nonzero()[:, 0].tolist():
            u, v = (weights[row, :, None].numpy() * source.texture.uv[face].numpy()).sum(axis=0)
            blue = 10 * number + int(source.texture.image_ids[face])
            np.testing.assert_allclose(colours[row], [255 * u, 255 * v, blue], atol=255 / SIZE)
            row += 1
    assert row == len(new.faces)


def test_stretching_is_bounded_and_flat_parts_stay_finite():
    shape, donor = make("a", 1, extents=[0.1, 0.3, 1.0]), make("b", 2, extents=[1.0, 0.4, 0.1])
    new, (replaced, before) = substitute(shape, donor, 0), (box(corners(s, 0)) for s in (shape, donor))
    after = box(corners(new, 0))
    np.testing.assert_allclose(after.mean(axis=0), replaced.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(after[1] - after[0], [1.0 / STRETCH, 0.3, 0.1 * STRETCH], atol=1e-6)
    flat = replace(donor, vertices=donor.vertices * torch.tensor([1.0, 0, 1]))
    assert bool(substitute(shape, flat, 0).vertices.isfinite().all()) and len(before) == 2
    assert bool(substitute(flat, shape, 0).vertices.isfinite().all())


def test_undetermined_faces_stay():
    shape = make("a", 1)
    shape = replace(shape, face_labels=torch.where(shape.face_labels == 2, -1, shape.face_labels))
    new = substitute(shape, make("b", 2), 0)
    assert (new.face_labels == -1).sum() == (shape.face_labels == -1).sum() > 0


def test_the_seed_chooses_among_all_ways_and_each_is_taken_once():
    shapes = [make("a", 1), make("b", 2, labels=(0, 1)), make("c", 3, labels=(1, 2))]
    ways = {"a+0+b", "a+1+b", "a+1+c", "a+2+c", "b+0+a", "b+1+a", "b+1+c", "c+1+a", "c+2+a", "c+1+b"}
    chosen = substitutes(shapes, 4, seed=0)
    assert [s.id for s in chosen] == [s.id for s in substitutes(shapes, 4, seed=0)]
    assert {s.id for seed in range(20) for s in substitutes(shapes, 2, seed)} == ways
    everything = substitutes(shapes, 100, seed=1)
    assert {s.id for s in everything} == ways and len(everything) == len(ways)
    for new in everything:
        source = next(s for s in shapes if s.id == new.id[0])
        assert set(new.face_labels.tolist()) == set(source.face_labels.tolist())
        assert float(new.vertices.norm(dim=1).max()) == pytest.approx(1, abs=1e-6)
    assert substitutes(shapes, 0, seed=0) == []


def test_shapes_with_texture_and_without_are_not_mixed():
    shapes = [make("a", 1), make("b", 2, textured=False), make("c", 3, textured=False)]
    assert {s.id[0] + s.id[-1] for s in substitutes(shapes, 99, 0)} == {"bc", "cb"}
    assert all(s.texture is None for s in substitutes(shapes, 99, 0))


@pytest.mark.parametrize(
    "shapes",
    [
        [make("a", 1)],
        [make("a", 1, labels=(0, 1)), make("b", 2, labels=(2,))],
        [make("a", 1, labels=(0,)), make("b", 2, labels=(0,))],
        [make("a", 1), make("b", 2, textured=False)],
    ],
)
def test_where_nothing_can_be_exchanged_it_is_said(shapes):
    with pytest.raises(InputError, match=r"no part can be exchanged .*\(a.*leave out training\.finetune\.substitutes"):
        substitutes(shapes, 1, seed=0)
