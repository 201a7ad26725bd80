"""The ceiling against one-hot votes, on shapes where it is known, and on real ones."""

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, ceiling_labels, ceiling_table
from mvdecor.lifting import fill_unseen, seen_faces, vote
from mvdecor.shapes.shape import Shape
from mvdecor.views import Cameras, Views, face_values_at_pixels, make_rasterizer, sphere_cameras


def sphere(radius: float = 1.0, turns: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices and faces of a sphere of rings, `turns` around and half as many up (its pole faces are degenerate)."""
    up, around = torch.meshgrid(torch.arange(turns // 2 + 1), torch.arange(turns), indexing="ij")
    polar, azimuth = up * (torch.pi / (turns // 2)), around * (2 * torch.pi / turns)
    x, y, z = polar.sin() * azimuth.cos(), polar.cos(), polar.sin() * azimuth.sin()
    a = (up * turns + around)[:-1].reshape(-1)
    b = (up * turns + (around + 1) % turns)[:-1].reshape(-1)
    faces = torch.cat([torch.stack([a, b, a + turns], 1), torch.stack([b, b + turns, a + turns], 1)])
    return radius * torch.stack([x, y, z], -1).reshape(-1, 3).float(), faces


def two_coloured_sphere(id: str = "ball") -> Shape:
    vertices, faces = sphere()
    upper = vertices[faces].mean(1)[:, 1] > 0
    return Shape(id, vertices, faces, upper.long(), ("lower", "upper"), category="Ball")


def nested_spheres(id: str = "nested") -> Shape:
    """A sphere of part 0 that hides one of part 1, whose faces are nearer to each other than to the outer ones."""
    (outer, faces), (inner, _) = sphere(1.0), sphere(0.4)
    labels = torch.arange(2).repeat_interleave(len(faces))
    return Shape(
        id, torch.cat([outer, inner]), torch.cat([faces, faces + len(outer)]), labels, ("shell", "core"), None, "Nut"
    )


def rasterize(shape: Shape, layers: int = 1, count: int = 14, size: int = 64) -> Views:
    return make_rasterizer("embree")([shape], [sphere_cameras(count, size)], layers=layers)[0]


def test_a_sphere_seen_from_all_sides_reaches_100():
    shape = two_coloured_sphere()
    labels = ceiling_labels(shape, rasterize(shape))
    real = shape.face_areas > 1e-6
    assert torch.equal(labels.labels[real], shape.face_labels[real])
    assert torch.equal(labels.filled, ~real)
    assert labels.coverage == pytest.approx(1.0)
    metrics = PartMetrics(shape.label_names)
    metrics.add(shape, labels.labels)
    assert metrics.result()["part_miou"] == pytest.approx(100)


def test_a_hidden_part_needs_the_layer_that_shows_it():
    nested, ball = nested_spheres(), two_coloured_sphere()
    rows = ceiling_table([nested, ball], lambda _: sphere_cameras(14, 64), make_rasterizer("embree"), layers=(1, 2))
    assert [(r["category"], r["layers"], r["shapes"]) for r in rows] == [
        ("Nut", 1, 1),
        ("Nut", 2, 1),
        ("Ball", 1, 1),
        ("Ball", 2, 1),
    ]
    core = 0.4**2 / (1 + 0.4**2)  # share of the area
    assert rows[0]["area_seen"] == pytest.approx(100 * (1 - core))
    assert rows[0]["part_miou"] == pytest.approx(100 * (1 - core) / 2)  # all is shell: the core's IoU is 0
    for row in rows[1:]:
        assert row["area_seen"] == pytest.approx(100)
        assert row["part_miou"] == pytest.approx(100)


def test_it_equals_a_vote_of_one_hot_logits():
    generator = torch.Generator().manual_seed(0)
    shape = nested_spheres()
    half = torch.rand(shape.num_faces, generator=generator) < 0.8
    shape = Shape("cut", shape.vertices, torch.cat([shape.faces, shape.faces[half].flip(1)]))  # most faces have a twin
    truth = torch.randint(-1, 5, (shape.num_faces,), generator=generator)  # twins of other parts among them
    shape = Shape("cut", shape.vertices, shape.faces, truth, tuple("abcde"))
    views = rasterize(shape, layers=2, count=4, size=24)
    pixels = face_values_at_pixels(truth, views)
    known = Views(views.cameras, torch.where(pixels >= 0, views.face_ids, -1))
    one_hot = torch.nn.functional.one_hot(pixels.clamp_min(0), 5).movedim(-1, 2).float()
    expected = fill_unseen(shape, vote(shape, known, 1000 * one_hot, "mean"), "component")
    labels = ceiling_labels(shape, views, "component")
    assert torch.equal(labels.labels, expected.labels)
    assert torch.equal(labels.filled, expected.filled)
    assert bool(labels.filled.any())
    torch.testing.assert_close(labels.confidence, expected.confidence)
    seen = seen_faces(shape, views)
    assert labels.coverage == pytest.approx(float(shape.face_areas[seen].sum() / shape.face_areas.sum()), abs=1e-5)


def test_undetermined_faces_are_filled_but_their_area_counts_as_seen():
    ball = two_coloured_sphere()
    truth = ball.face_labels.clone()
    truth[::3] = -1
    shape = Shape("ball", ball.vertices, ball.faces, truth, ball.label_names)
    labels = ceiling_labels(shape, rasterize(shape))
    assert bool(labels.filled[::3].all())
    assert int(labels.labels.min()) >= 0
    assert labels.coverage == pytest.approx(1.0)


def test_order_of_views_does_not_matter():
    shape = nested_spheres()
    views = rasterize(shape, layers=2, count=6, size=32)
    one, other = ceiling_labels(shape, views), ceiling_labels(shape, views[torch.arange(5, -1, -1)])
    assert torch.equal(one.labels, other.labels) and one.coverage == other.coverage


def test_shapes_without_a_ceiling_are_refused():
    ball = two_coloured_sphere()
    views = rasterize(ball, count=1, size=8)
    with pytest.raises(InputError, match=r"ball.*no face labels"):
        ceiling_labels(Shape("ball", ball.vertices, ball.faces), views)
    unknown = Shape("ball", ball.vertices, ball.faces, torch.full_like(ball.face_labels, -1), ball.label_names)
    with pytest.raises(InputError, match=r"ball.*no pixel"):
        ceiling_labels(unknown, views)
    with pytest.raises(InputError, match="no shape"):
        ceiling_table([], lambda _: sphere_cameras(1, 8), make_rasterizer("embree"))


def test_shapes_of_unknown_parts_are_counted_apart():
    ball = two_coloured_sphere()
    unknown = Shape(
        "x", ball.vertices, ball.faces, torch.full_like(ball.face_labels, -1), ball.label_names, None, "Ball"
    )
    both = table_of([unknown, ball], (1,))
    names = ("undetermined_shapes", "undetermined_faces", "undetermined_area")
    assert [[row.pop(name) for name in names] for row in both] == [[1, 50.0, 50.0]]
    (alone,) = table_of([ball], (1,))
    assert [alone.pop(name) for name in names] == [0, 0.0, 0.0]
    assert both == [alone]
    (row,) = table_of([unknown], (1,))
    assert (row["shapes"], row["area_seen"], row["part_miou"], row["parts_occur"]) == (0, None, None, "0 of 2")
    assert [row[name] for name in names] == [1, 100.0, 100.0]


def test_shares_of_undetermined_faces_are_told_of_shapes_that_are_measured():
    """A table with 46 % of its faces undetermined is not "undetermined 0"."""
    ball = two_coloured_sphere()
    truth = ball.face_labels.clone()
    truth[: len(truth) // 4] = -1
    (row,) = table_of([Shape("ball", ball.vertices, ball.faces, truth, ball.label_names, None, "Ball")], (1,))
    area = 100 * float(ball.face_areas[truth < 0].sum() / ball.face_areas.sum())
    assert (row["shapes"], row["undetermined_shapes"], row["undetermined_faces"]) == (1, 0, 25.0)
    assert row["undetermined_area"] == pytest.approx(area, rel=1e-5) and 1 < area < 24


def test_parts_that_no_shape_shows_are_left_out():
    """The names of a whole category's parts beside shapes that show two of them: 100, not 2/11 of it."""
    ball = two_coloured_sphere()
    names = (*ball.label_names, *(f"other {k}" for k in range(9)))
    (row,) = table_of([Shape("ball", ball.vertices, ball.faces, ball.face_labels, names, None, "Ball")], (1,))
    assert row["part_miou"] == pytest.approx(100)
    assert row["parts_occur"] == "2 of 11"


def table_of(shapes: list[Shape], layers: tuple[int, ...]) -> list[dict]:
    def cameras(_: Shape) -> Cameras:
        return sphere_cameras(24, 128)

    return ceiling_table(shapes, cameras, make_rasterizer("embree"), layers)


def test_layers_raise_the_ceiling_of_real_bottles(partnet_root):
    from mvdecor.shapes.partnet import PartNet

    data = PartNet(partnet_root, "Bottle", level="leaf", splits="splits_local.json")
    one, three = table_of([data.load(id) for id in data.ids("test")[:3]], (1, 3))
    assert three["area_seen"] > one["area_seen"] + 3
    assert three["part_miou"] > one["part_miou"] + 3
    assert three["part_miou"] > 90


def test_layers_raise_the_ceiling_of_real_people(people_root):
    from mvdecor.shapes.people import RenderPeople

    data = RenderPeople(people_root)
    one, two = table_of([data.load(id) for id in data.ids("test")[:2]], (1, 2))
    assert 75 < one["area_seen"] < two["area_seen"] <= 100
    assert 80 < one["part_miou"] < two["part_miou"] <= 100
