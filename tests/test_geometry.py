"""Geometry that CAD programs and scanners write, through the whole path: read, views, matches, embeddings, vote, metric.

The model answers with the octant that a surface point lies in, so that the right labels are known by construction. Each case
gives the right answer, or is refused with one clear message.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from lightning_fabric import Fabric
from octants import NAMES, octants, save_octants
from PIL import Image

from mvdecor.correspondences import Matching
from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics
from mvdecor.losses import InfoNCE
from mvdecor.networks import load_checkpoint
from mvdecor.shapes import MeshFolder, RenderPeople, Shape
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.predict import predict_faces
from mvdecor.systems.mvdecor.pretrain import contrast
from mvdecor.views import Rendering, make_rasterizer, place_cameras
from mvdecor.views.shape_views import ShapeViews


@pytest.fixture(scope="module")
def octant_model(tmp_path_factory):
    return load_checkpoint(save_octants(tmp_path_factory.mktemp("octants") / "model"))[0]


@pytest.fixture
def whole_path(octant_model, tmp_path):
    """Writes a mesh with its octants as labels, and takes it from the file to the metric."""

    def go(vertices, faces, labels=None, close_ups: int = 0, name: str = "mesh.ply", matches: bool = True):
        vertices, faces = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
        folder = tmp_path / "meshes"
        folder.mkdir(exist_ok=True)
        (folder / "labels.json").write_text(json.dumps({"labels": NAMES}))
        trimesh.Trimesh(vertices, faces, process=False).export(str(folder / name))
        labels = octants(vertices[faces]) if labels is None else np.asarray(labels)
        np.save(folder / f"{Path(name).stem}_labels.npy", labels)
        shape = MeshFolder(folder).load(Path(name).stem)
        assert shape.num_faces == len(faces)
        shape_views = ShapeViews([shape], lambda s: place_cameras(s, 8, 64, 0, close_ups), make_rasterizer("embree"))
        rendering, fabric = Rendering(("points",)), Fabric(accelerator="cpu", devices=1, precision="32-true")
        if matches:
            source = PairSource(shape_views, rendering, 2, 50, Matching(min_overlap=0.05))
            loss, accuracy = contrast(open_device("cpu", "32-true"), octant_model, source.sample(0, 0), InfoNCE())
            assert bool(torch.isfinite(loss)) and 0 <= float(accuracy) <= 1
        found = predict_faces(fabric, octant_model, shape_views, shape_views[0], rendering)
        assert found.labels.shape == (len(faces),) and bool(((found.labels >= 0) & (found.labels < 8)).all())
        metrics = PartMetrics(NAMES, "mvdecor", 500, 0)
        metrics.add(shape, found.labels)
        return found, metrics.result()

    return go


def right(found, result, vertices, faces, least: float = 0.3) -> None:
    """Every face that was seen and lies in one octant has that octant's label."""
    expected = octants(np.asarray(vertices, dtype=np.float64)[np.asarray(faces)])
    known = (expected >= 0) & ~found.filled.numpy()
    assert known.mean() > least
    np.testing.assert_array_equal(found.labels.numpy()[known], expected[known])
    assert result["part_miou"] > 99


def ball(subdivisions: int = 3):
    mesh = trimesh.creation.icosphere(subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)


def boxes(*offsets, size=0.4):
    """Small boxes, each in one octant if its offset keeps it there."""
    parts = [trimesh.creation.box((size,) * 3).apply_translation(x) for x in offsets]
    mesh = trimesh.util.concatenate(parts)
    return np.array(mesh.vertices), np.array(mesh.faces)


CORNERS = [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]


def test_degenerate_faces(whole_path):
    vertices, faces = ball()
    flat = np.stack([faces[:50, 0], faces[:50, 0], faces[:50, 1]], axis=1)  # two corners are one
    faces = np.concatenate([flat, faces, flat[:, [1, 2, 2]]])
    found, result = whole_path(vertices, faces)
    assert bool(found.filled[:50].all()), "what has no area is never seen"
    right(found, result, vertices, faces)


def test_duplicate_faces(whole_path):
    vertices, faces = ball()
    faces = np.concatenate([faces, faces[::-1], faces])
    found, result = whole_path(vertices, faces)
    third = len(faces) // 3
    assert torch.equal(found.labels[:third], found.labels[2 * third :]), "copies of a face have one label"
    assert torch.equal(found.labels[:third], found.labels[third : 2 * third].flip(0))
    right(found, result, vertices, faces)


def test_back_facing_and_mixed_windings(whole_path):
    vertices, faces = ball()
    faces[::2] = faces[::2, ::-1]
    right(*whole_path(vertices, faces), vertices, faces)


def test_coincident_two_sided_walls(whole_path):
    vertices, faces = boxes(*CORNERS)
    faces = np.concatenate([faces, faces[:, ::-1]])
    found, result = whole_path(vertices, faces)
    half = len(faces) // 2
    assert torch.equal(found.labels[:half], found.labels[half:])
    right(found, result, vertices, faces)


def test_non_manifold_edges(whole_path):
    vertices, faces = boxes(*CORNERS)
    fins = np.stack([faces[:, 0], faces[:, 1], np.roll(faces[:, 2], 6)], axis=1)  # a third face on each first edge
    faces = np.concatenate([faces, fins])
    right(*whole_path(vertices, faces), vertices, faces)


def test_faces_that_cut_each_other(whole_path):
    vertices, faces = boxes(*CORNERS, *(np.array(c) * 0.8 for c in CORNERS))
    right(*whole_path(vertices, faces), vertices, faces)


def test_unreferenced_vertices(whole_path):
    vertices, faces = ball()
    stray = np.concatenate([vertices, [[50.0, 0, 0], [0, -70, 3]]])  # would make the rest a dot if they counted
    found, result = whole_path(stray, faces, labels=octants(vertices[faces]))
    right(found, result, vertices, faces)


def test_thousands_of_components(whole_path):
    rng = np.random.default_rng(0)
    corner = trimesh.creation.icosahedron()
    centres = rng.uniform(0.15, 0.95, (2000, 3)) * rng.choice([-1, 1], (2000, 3))
    vertices = (centres[:, None] + 0.02 * corner.vertices).reshape(-1, 3)
    faces = (np.arange(2000)[:, None, None] * len(corner.vertices) + corner.faces).reshape(-1, 3)
    found, _ = whole_path(vertices, faces)
    expected = octants(vertices[faces])
    seen = ~found.filled.numpy() & (expected >= 0)
    assert seen.mean() > 0.1
    np.testing.assert_array_equal(found.labels.numpy()[seen], expected[seen])


def test_a_single_triangle(whole_path):
    vertices, faces = [[-1, -0.5, 0], [1, -0.5, 0], [0, 1, 0]], [[0, 1, 2]]
    found, result = whole_path(vertices, faces, labels=[3], matches=False)
    assert not bool(found.filled.any()) and found.coverage == pytest.approx(1)
    assert result["accuracy"] in (0, 100)


def test_a_million_faces(whole_path):
    vertices, faces = ball(8)
    assert len(faces) > 1_000_000
    found, _ = whole_path(vertices, faces, name="mesh.stl", labels=octants(vertices[faces]))
    expected = octants(vertices[faces])
    seen = ~found.filled.numpy() & (expected >= 0)
    np.testing.assert_array_equal(found.labels.numpy()[seen], expected[seen])


@pytest.mark.parametrize(("scale", "offset"), [(1e6, 0), (1e-6, 0), (1e3, 1e6), (1e-2, 10)])
def test_far_away_huge_and_tiny(whole_path, scale, offset):
    vertices, faces = ball()
    placed = (vertices * scale + offset).astype(np.float32).astype(np.float64)  # as files hold them
    found, result = whole_path(placed, faces, labels=octants(vertices[faces]))
    right(found, result, placed, faces)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vertices_that_are_no_numbers_are_refused(whole_path, value):
    vertices, faces = ball(1)
    vertices[7, 1] = value
    with pytest.raises(InputError, match=r"mesh\.ply: .*1 vertices are NaN or infinite"):
        whole_path(vertices, faces, labels=np.zeros(len(faces), int))


def test_faces_that_are_never_seen(whole_path):
    outer, faces = ball(4)
    inner = 0.3 * outer
    vertices, faces = np.concatenate([outer, inner]), np.concatenate([faces, faces + len(outer)])
    found, result = whole_path(vertices, faces)
    half = len(faces) // 2
    assert bool(found.filled[half:].all()), "inside the outer ball nothing is seen"
    assert found.coverage < 0.95
    right(found, result, vertices, faces)


def test_nothing_has_a_known_part(whole_path):
    vertices, faces = ball(2)
    _, result = whole_path(vertices, faces, labels=np.full(len(faces), -1))
    assert result["part_miou"] is None and result["undetermined_shapes"] == ["mesh"]


def test_a_part_that_one_shape_only_has():
    metrics = PartMetrics(["body", "knob"], "mvdecor", 2000, 0)
    vertices, faces = boxes((0, 0, 0), (1, 0, 0))
    shape = trimesh.Trimesh(vertices, faces, process=False)
    truth = torch.tensor([0] * 12 + [1] * 12)
    metrics.add(Shape.from_trimesh(shape, "both", face_labels=truth, label_names=("body", "knob")), truth)
    metrics.add(
        Shape.from_trimesh(
            shape, "plain", face_labels=torch.zeros(24, dtype=torch.int64), label_names=("body", "knob")
        ),
        torch.zeros(24, dtype=torch.int64),
    )
    assert metrics.result()["part_miou"] == 100


def test_a_part_that_one_of_two_shapes_has(whole_path, tmp_path):
    """Pooled over both shapes each part is right; the shape that lacks parts is not punished for them."""
    metrics = PartMetrics(NAMES, "mvdecor", 2000, 0)
    for name, corners in (("some", [CORNERS[i] for i in (0, 3, 5, 6)]), ("every", CORNERS)):
        found, result = whole_path(*boxes(*corners), name=f"{name}.ply")
        metrics.add(MeshFolder(tmp_path / "meshes").load(name), found.labels)
        assert result["shape_miou"] > 99
    pooled = metrics.result()
    assert all(iou > 99 for iou in pooled["parts"].values()) and pooled["shape_miou"] > 99


def test_twins_of_different_parts(whole_path, tmp_path):
    """Both faces of a wall take one label, and each is measured by its own truth: here half of them are wrong."""
    vertices, faces = boxes(*CORNERS)
    own = octants(vertices[faces])
    found, result = whole_path(
        vertices, np.concatenate([faces, faces[:, ::-1]]), labels=np.concatenate([own, (own + 1) % 8])
    )
    assert found.labels.tolist() == [*own, *own]
    shape = MeshFolder(tmp_path / "meshes").load("mesh")
    assert shape.face_labels is not None and shape.face_labels.tolist() == [*own, *((own + 1) % 8)]
    assert result["accuracy"] == pytest.approx(50, abs=7)


def test_points_without_faces_are_refused(tmp_path):
    trimesh.PointCloud(np.random.default_rng(0).random((5, 3))).export(str(tmp_path / "cloud.ply"))
    (tmp_path / "empty.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    for name, file in (("cloud", r"cloud\.ply"), ("empty", r"empty\.obj")):
        with pytest.raises(InputError, match=rf"{file}.*no faces"):
            MeshFolder(tmp_path).load(name)


def test_a_mesh_of_one_point_is_refused(whole_path):
    with pytest.raises(InputError, match="shape mesh: all its corners are one point"):
        whole_path([[1, 1, 1]] * 3, [[0, 1, 2]], labels=[0], name="mesh.obj")


@pytest.mark.parametrize("close_ups", [0, 3])
def test_a_mesh_without_area_is_refused(whole_path, close_ups):
    """Faces on one line: nothing of them is in any view."""
    line = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
    with pytest.raises(InputError, match=r"shape mesh: .*no area"):
        whole_path(line, [[0, 1, 2], [1, 2, 3]], labels=[0, 1], close_ups=close_ups)


def test_views_that_show_nothing(whole_path):
    """A sheet seen from its edge is in no pixel of those views; the others label it."""
    grid = np.linspace(-1, 1, 9)
    x, z = np.meshgrid(grid, grid)
    vertices = np.stack([x.ravel(), np.zeros(81), z.ravel()], axis=1)
    quads = np.array([[i, i + 1, i + 10, i + 9] for i in range(72) if i % 9 != 8])
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    labels = np.where(vertices[faces].mean(1)[:, 0] > 0, 4, 0) + np.where(vertices[faces].mean(1)[:, 2] > 0, 1, 0)
    found, _ = whole_path(vertices, faces, labels=labels)
    seen = ~found.filled.numpy()
    assert seen.mean() > 0.9
    ours = found.labels.numpy() & 5  # whether the sheet itself is above or below is anyone's guess
    assert (ours[seen] == labels[seen]).mean() > 0.95


def textured_person(root: Path, image: Image.Image | None, uv_scale: float = 1.0, suffix: str = "png") -> Path:
    """A textured ball in the layout of a delivery; without an image its file is missing."""
    folder = root / "ball"
    folder.mkdir(parents=True)
    vertices, faces = ball(1)
    uv = (vertices[:, :2] + 1) / 2 * uv_scale - (uv_scale - 1) / 2
    lines = [
        "mtllib ball.mtl",
        *(f"v {x} {y} {z}" for x, y, z in vertices),
        *(f"vt {u} {v}" for u, v in uv),
        "usemtl skin",
    ]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in faces + 1]
    (folder / "ball.obj").write_text("\n".join(lines) + "\n")
    (folder / "ball.mtl").write_text(f"newmtl skin\nmap_Kd skin.{suffix}\n")
    if image is not None:
        image.save(folder / f"skin.{suffix}")
    return root


def seen_colours(root: Path) -> torch.Tensor:
    """float32 [N, 3], the colours of the foreground of a few views."""
    shape = RenderPeople(root).load("ball")
    shape_views = ShapeViews([shape], lambda s: place_cameras(s, 4, 48, 0), make_rasterizer("embree"))
    views, surface = shape_views.views(shape), shape_views.surface(shape, range(4))
    images = Rendering(("rgb",))(shape, views, surface)
    return images.permute(0, 1, 3, 4, 2)[surface.mask]


@pytest.mark.parametrize(
    ("mode", "value", "suffix", "expected"),
    [
        ("RGB", (255, 51, 0), "png", (1.0, 0.2, 0.0)),
        ("RGBA", (255, 51, 0, 0), "png", (1.0, 0.2, 0.0)),  # alpha says how clear it is, not which colour
        ("L", 51, "png", (0.2, 0.2, 0.2)),
        ("1", 1, "png", (1.0, 1.0, 1.0)),
        ("P", 0, "png", None),
        ("CMYK", (0, 0, 0, 0), "jpg", (1.0, 1.0, 1.0)),
        ("I;16", 13107, "png", (0.2, 0.2, 0.2)),
    ],
)
def test_kinds_of_images(tmp_path, mode, value, suffix, expected):
    colours = seen_colours(textured_person(tmp_path, Image.new(mode, (8, 8), value), suffix=suffix))
    assert bool(((colours >= 0) & (colours <= 1)).all())
    if expected is not None:
        torch.testing.assert_close(colours, torch.tensor(expected).expand_as(colours), atol=0.01, rtol=0)


def test_texture_coordinates_outside_of_the_image_repeat_it(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    image = Image.fromarray(pixels)
    inside = seen_colours(textured_person(tmp_path / "one", image))
    outside = seen_colours(textured_person(tmp_path / "three", image, uv_scale=3.0))
    assert bool(((inside == 0) | (inside == 1)).float().mean() > 0.5)
    assert 0.3 < float(outside.mean()) < 0.7 and bool(((outside >= 0) & (outside <= 1)).all())


def test_texture_coordinates_that_are_no_numbers_are_refused(tmp_path):
    root = textured_person(tmp_path, Image.new("RGB", (8, 8)))
    file = root / "ball" / "ball.obj"
    file.write_text(re.sub(r"^vt .*$", "vt nan 0", file.read_text(), count=1, flags=re.MULTILINE))
    with pytest.raises(InputError, match=r"ball.*the texture coordinates of \d+ faces are NaN or infinite"):
        RenderPeople(root).load("ball")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_colours_that_are_no_numbers_are_refused(tmp_path, number):
    root = textured_person(tmp_path, None)
    (root / "ball" / "ball.mtl").write_text(f"newmtl skin\nKd {number} 0 0\n")
    with pytest.raises(InputError, match=rf"ball\.mtl: 'Kd {number} 0 0' is no colour"):
        RenderPeople(root).load("ball")


def test_images_without_a_range_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"skin\.tif: texture image cannot be read .*floating-point"):
        RenderPeople(textured_person(tmp_path, Image.new("F", (8, 8), 0.5), suffix="tif")).load("ball")


def test_a_missing_texture_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"skin\.png: texture image is missing"):
        RenderPeople(textured_person(tmp_path, None)).load("ball")
