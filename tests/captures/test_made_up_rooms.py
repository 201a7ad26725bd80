"""Made-up rooms: what their names say is what their pictures show; held-out compositions stay apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from mvdecor.errors import InputError
from mvdecor.made_up.furnishings import KINDS
from mvdecor.made_up.room_captures import RoomCaptures
from mvdecor.made_up.rooms import COLOURS, HELD_OUT, SURFACES, make_room


@pytest.fixture(scope="module")
def rooms() -> RoomCaptures:
    return RoomCaptures(count=2, held_out=1, views=10, size=48)


def test_each_pixel_of_an_object_has_the_colour_of_its_name(rooms: RoomCaptures) -> None:
    """Plain objects by their mean colour, whose nearest of the eight must be that of the name, by hue."""
    checked = 0
    for number in range(6):
        room = make_room("room", number)
        texture = room.shape.texture
        assert texture is not None
        image, labels = texture.images[0].double(), room.shape.face_labels
        for label, composition in enumerate(room.objects, start=len(SURFACES)):
            if composition.pattern != "plain":
                continue
            assert labels is not None
            uv = texture.uv[labels == label].double().mean(dim=1)
            column, row = (uv[:, 0] * image.shape[1]).long(), ((1 - uv[:, 1]) * image.shape[0]).long()
            colour = image[row, column].mean(dim=0).numpy()
            nearest = min(COLOURS, key=lambda name: float(np.abs(colour - COLOURS[name]).sum()))
            assert nearest == composition.colour
            checked += 1
    assert checked > 3


def test_label_maps_and_depth_are_those_of_rays_cast_at_every_triangle(rooms: RoomCaptures) -> None:
    capture, shape = rooms.load("room_000"), rooms.room("room_000").shape
    single = RoomCaptures(count=2, held_out=1, views=10, size=48, supersample=1).load("room_000")
    assert shape.face_labels is not None
    triangles = shape.vertices[shape.faces].double()
    pixels = torch.arange(0, 48 * 48, 97)
    directions = single.cameras[[2]].rays()[0].view(-1, 3)[pixels].double()
    origin = single.cameras.centers[2].double()
    depth, face = _nearest_hits(origin, directions, triangles)
    image = single.read(2)
    assert image.labels is not None and image.depth is not None
    expected = shape.face_labels[face]
    assert (
        torch.from_numpy(image.labels).view(-1)[pixels] == expected
    ).float().mean() > 0.99  # edges may go either way
    torch.testing.assert_close(torch.from_numpy(image.depth).view(-1)[pixels].double(), depth, atol=2e-3, rtol=0)
    assert capture.label_names == shape.label_names and capture.labelled == (2, 7)


def _nearest_hits(
    origin: torch.Tensor, directions: torch.Tensor, triangles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Along rays [R, 3] from a point: how far, in directions, the nearest triangle [F, 3, 3] is, and which."""
    a, ab, ac = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cross = torch.linalg.cross(directions[:, None], ac[None])
    determinant = (cross * ab).sum(-1)
    to_a = origin - a
    u = (cross * to_a).sum(-1) / determinant
    other = torch.linalg.cross(to_a, ab)
    v = (directions[:, None] * other).sum(-1) / determinant
    distance = (ac * other).sum(-1) / determinant
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 1e-6)
    return torch.where(hit, distance, torch.inf).min(dim=1)


def test_every_pixel_sees_the_room_within_the_bounds_and_every_object_is_seen(rooms: RoomCaptures) -> None:
    for id in rooms.ids("all"):
        capture = rooms.load(id)
        labels = np.stack([capture.read(view).labels for view in range(len(capture))])
        depth = capture.depth()
        assert depth is not None and capture.near is not None and capture.far is not None
        assert set(np.unique(labels)) == set(range(7))
        assert (depth > capture.near[:, None, None]).all() and (depth < capture.far[:, None, None]).all()


def test_held_out_compositions_are_in_rooms_of_the_test_split_alone() -> None:
    assert {kind for kind, _ in HELD_OUT} == set(KINDS)
    for seed in range(6):
        seen, held_out = make_room("a", seed), make_room("b", seed, held_out=True)
        assert not any(each.held_out for each in seen.objects) and all(each.held_out for each in held_out.objects)
        for room in (seen, held_out):
            assert len({each.kind for each in room.objects}) == len(room.objects) == 5
            assert room.shape.label_names[2:] == tuple(each.name for each in room.objects)


def test_objects_stand_apart_on_the_floor() -> None:
    for seed in range(4):
        shape = make_room("room", seed).shape
        assert shape.face_labels is not None
        objects = [shape.vertices[shape.faces[shape.face_labels == label]].reshape(-1, 3) for label in range(2, 7)]
        for i, points in enumerate(objects):
            assert abs(float(points[:, 1].min())) < 1e-6 and float(points[:, [0, 2]].min()) > -1.8
            for other in objects[:i]:
                assert torch.cdist(points, other).min() > 0.02


def test_a_room_follows_from_the_seed_alone() -> None:
    first, second = (RoomCaptures(count=3, views=6, size=16).load("room_001").fingerprint() for _ in range(2))
    assert first == second != RoomCaptures(count=3, views=6, size=16, seed=1).load("room_001").fingerprint()


def test_the_config_makes_rooms_and_bad_settings_are_refused(make_config) -> None:
    rooms = instantiate(make_config("capture=rooms", "seed=3", name="fit").capture)
    assert rooms.ids("train") == ["room_000", "room_001"] and rooms.ids("test") == ["held_out_000", "held_out_001"]
    assert rooms.seed == 3
    with pytest.raises(InputError, match="at least 5 views"):
        RoomCaptures(views=2)
    with pytest.raises(InputError, match="no made-up room 'x'"):
        rooms.load("x")
