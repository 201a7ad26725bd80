"""Matches against an independent ray caster and nearest neighbours, on solids, thin walls, nested boxes and real shapes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.correspondences import Matches, match_views, matching_loop
from mvdecor.correspondences.matching import match_by_tensors
from mvdecor.shapes import PartNet, RenderPeople, Shape
from mvdecor.views import Cameras, Surface, look_at, make_rasterizer, surface_of
from tests.readers import as_trimesh

SIZE = 48


@pytest.fixture(scope="module", params=["loop", "tensors"], autouse=True)
def implementation(request):
    """All tests hold for the loop of the CPU and for the tensor operations of a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "tensors":
            patch.setattr(matching_loop, "match_by_loop", match_by_tensors)
        yield


def from_trimesh(*meshes: trimesh.Trimesh) -> Shape:
    return Shape.from_trimesh(trimesh.util.concatenate(list(meshes)))


def box(x: float, y: float, z: float) -> trimesh.Trimesh:
    return trimesh.creation.box((x, y, z))


def sheet() -> Shape:
    """A square of no thickness in the plane z = 0, each face once."""
    corners = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    return Shape("sheet", corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))


def cameras_at(centers: list, size: int = SIZE) -> Cameras:
    """Cameras of 60 degrees that look at the origin."""
    rotation, translation = look_at(torch.tensor(centers, dtype=torch.float32), torch.zeros(len(centers), 3))
    focal = size / 2 / np.tan(np.pi / 6)
    k = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]], dtype=torch.float32)
    return Cameras(rotation, translation, k.expand(len(centers), 3, 3), size, size)


def look(shape: Shape, centers: list, layers: int = 1, size: int = SIZE) -> SimpleNamespace:
    """Views and surface of a shape from camera positions."""
    views = make_rasterizer("embree")([shape], [cameras_at(centers, size)], layers=layers)[0]
    return SimpleNamespace(views=views, surface=surface_of(shape, views))


def ray_hits(shape: Shape, center: Tensor, points: Tensor) -> np.ndarray:
    """float64 [M, F]: distance from `center` along the ray to each point at which each face is hit (inf if it is not).

    Moeller and Trumbore's test of every ray with every face.
    """
    o, p = center.double().numpy(), points.double().numpy()
    a, b, c = shape.vertices.double().numpy()[shape.faces.numpy()].transpose(1, 0, 2)
    d = (p - o) / np.linalg.norm(p - o, axis=1, keepdims=True)
    e1, e2, s = b - a, c - a, o - a
    h = np.cross(d[:, None], e2[None])
    det = (h * e1).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (h * s).sum(-1) / det
        q = np.cross(s, e1)
        v = d @ q.T / det
        t = (q * e2).sum(-1) / det
        ok = (np.abs(det) > 1e-12) & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-6)
    return np.where(ok, t, np.inf)


def distance_to_first_hit(shape: Shape, center: Tensor, points: Tensor) -> np.ndarray:
    """How far behind (+) or before (-) the first hit each point lies on its ray from `center`."""
    return (points - center).double().norm(dim=-1).numpy() - ray_hits(shape, center, points).min(axis=1)


def pixel_b(matches: Matches, width: int = SIZE) -> Tensor:
    """The pixel of B that each match falls into, [M], counted within its layer."""
    column, row = matches.xy_b.floor().long().unbind(-1)
    return row * width + column


def check_invariants(matches: Matches, a: Surface, b: Surface) -> None:
    """What holds for all matches: unique pixels, points of A, projections in B, and overlap."""
    pairs, layers, _, width = b.mask.shape
    assert bool((matches.pair.diff() >= 0).all())
    assert len({*zip(matches.pair.tolist(), matches.pixel_a.tolist(), strict=True)}) == len(matches)
    target = torch.stack([matches.pair, matches.layer_b, pixel_b(matches, width)], dim=1)
    assert len(target.unique(dim=0)) == len(matches)
    assert bool(a.mask.reshape(pairs, -1)[matches.pair, matches.pixel_a].all())
    assert bool(b.mask.reshape(pairs, layers, -1)[matches.pair, matches.layer_b, pixel_b(matches, width)].all())
    assert torch.equal(matches.points, a.points.reshape(pairs, -1, 3)[matches.pair, matches.pixel_a])
    for p in range(pairs):
        mine = matches.pair == p
        x = matches.points[mine].double() @ b.cameras.rotation[p].double().T + b.cameras.translation[p].double()
        xy = (x @ b.cameras.intrinsics[p].double().T)[:, :2] / x[:, 2:]
        torch.testing.assert_close(matches.xy_b[mine].double(), xy, rtol=0, atol=1e-3)
        smaller = min(int(a.mask[p].sum()), int(b.mask[p].sum()))
        assert float(matches.overlap[p]) == pytest.approx(int(mine.sum()) / max(1, smaller))


def random_direction(seed: int) -> Tensor:
    return F.normalize(torch.randn(3, generator=torch.Generator().manual_seed(seed)), dim=0)


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 10_000), second=st.integers(0, 10_000), reach=st.floats(1.2, 2.2), layers=st.integers(1, 2))
def test_from_all_sides_matches_are_unique_and_what_b_sees(first, second, reach, layers):
    shape = from_trimesh(box(0.9, 0.6, 0.3), box(0.2, 0.2, 1.2))
    a = look(shape, [(1.6 * random_direction(first)).tolist()], layers).surface
    b = look(shape, [(reach * random_direction(second)).tolist()], layers).surface
    matches = match_views(a, b)
    check_invariants(matches, a, b)
    if layers == 1 and len(matches):
        check_pixel_shows_point(shape, matches, b)


def check_pixel_shows_point(shape: Shape, matches: Matches, b: Surface) -> None:
    """The ray through the centre of B's pixel hits the plane of the point, within what a pixel reaches, before all else."""
    center, rays = b.cameras.centers[0], b.cameras.rays()[0].reshape(-1, 3)[pixel_b(matches)]
    hits = ray_hits(shape, center, center + rays)
    face, distance = hits.argmin(axis=1), torch.from_numpy(hits.min(axis=1))
    seen = center + distance[:, None] * F.normalize(rays.double(), dim=1)
    normals = shape.face_normals[torch.from_numpy(face)].double()
    assert float(((seen - matches.points) * normals).sum(-1).abs().max()) < 5e-3
    slant = (F.normalize(rays.double(), dim=1) * normals).sum(-1).abs().clamp_min(0.1)
    farther = torch.maximum(distance, (matches.points - center).double().norm(dim=1))
    footprint = farther / b.cameras.intrinsics[0, 0, 0] / slant  # of a pixel on the plane, at most ten times its width
    assert bool(((seen - matches.points).norm(dim=1) < 5e-3 + 1.5 * footprint).all())


def test_b_sees_the_points_at_their_subpixel_positions():
    """All but the few that an edge hides which crosses their pixel of B."""
    shape = from_trimesh(box(0.9, 0.6, 0.3), box(0.2, 0.2, 1.2))
    hidden = []
    for seed in range(20):
        a = look(shape, [(1.6 * random_direction(seed)).tolist()]).surface
        b = look(shape, [((1.2 + seed / 20) * random_direction(seed + 100)).tolist()]).surface
        matches = match_views(a, b)
        if len(matches):
            hidden.append(distance_to_first_hit(shape, b.cameras.centers[0], matches.points))
    assert sum(map(len, hidden)) > 500
    assert (np.abs(np.concatenate(hidden)) < 1e-4).mean() > 0.98


@pytest.mark.parametrize("move", [0.1, 0.4, 0.8])
def test_every_point_that_b_sees_is_found(move):
    """The other direction: where brute force says B sees a point of A, the pixel it falls into is matched."""
    shape = from_trimesh(box(0.9, 0.6, 0.3), box(0.2, 0.2, 1.2), trimesh.creation.icosphere(1, 0.4))
    a = look(shape, [[0.7, 0.9, 1.2]]).surface
    b = look(shape, [[0.7 + move, 0.9 - move, 1.2]]).surface
    matches = match_views(a, b)
    pixels = a.mask.flatten().nonzero()[:, 0]
    points = a.points.reshape(-1, 3)[pixels]
    seen = np.abs(distance_to_first_hit(shape, b.cameras.centers[0], points)) < 1e-4
    xy = b.cameras.project(points[None])[0][0]
    target = xy[:, 1].floor().long() * SIZE + xy[:, 0].floor().long()
    found = torch.isin(target, pixel_b(matches)).numpy()
    assert seen.mean() > 0.7  # there is something to find
    assert found[seen].mean() > 0.92  # at 48 pixels every tenth lies on an edge, ...
    same = (points - b.points.reshape(-1, 3)[target])[:, None] @ a.normals.reshape(-1, 3)[pixels][..., None]
    same = (same[:, 0, 0].abs() < 1e-4) & b.mask.flatten()[target]
    same &= (a.normals.reshape(-1, 3)[pixels] * b.normals.reshape(-1, 3)[target]).sum(-1) > 0.99
    assert found[
        seen & same.numpy()
    ].all()  # ... and away from edges, where the pixel shows the same plane, all are found


def test_the_nearest_to_the_centre_stands_for_all_that_fall_into_a_pixel():
    near, far = look(sheet(), [[0.2, 0.1, 1.0]]).surface, look(sheet(), [[0, 0, 2.0]]).surface
    matches = match_views(near, far)
    pixels = near.mask.flatten().nonzero()[:, 0]
    xy = far.cameras.project(near.points.reshape(1, -1, 3)[:, pixels])[0][0]
    target = xy[:, 1].floor().long() * SIZE + xy[:, 0].floor().long()
    off = (xy - xy.floor() - 0.5).norm(dim=-1)
    assert len(matches) < 0.5 * len(pixels)
    for pixel, into in zip(matches.pixel_a.tolist(), pixel_b(matches).tolist(), strict=True):
        assert float(off[pixels == pixel]) <= float(off[target == into].min()) + 1e-5


@pytest.mark.parametrize("layers", [1, 3])
def test_a_view_matches_itself_everywhere_at_pixel_centres(layers):
    shape = from_trimesh(box(1, 1, 1), box(0.5, 0.5, 0.5))
    surface = look(shape, [[0.7, 0.9, 1.5], [-1.4, 0.8, 0.3]], layers).surface
    matches = match_views(surface, surface)
    assert len(matches) == int(surface.mask.sum())
    torch.testing.assert_close(matches.overlap, torch.ones(2))
    assert torch.equal(matches.pixel_a, matches.layer_b * SIZE * SIZE + pixel_b(matches))
    torch.testing.assert_close(
        matches.xy_b - matches.xy_b.floor(), torch.full_like(matches.xy_b, 0.5), rtol=0, atol=1e-3
    )


def test_overlap_is_about_the_same_both_ways():
    shape = from_trimesh(trimesh.creation.icosphere(3, 0.7))
    centers = [[0, 0, 1.7], [0.5, 0.3, 1.6], [1.2, -0.4, 1.1], [1.7, 0.2, 0.2]]
    a, b = look(shape, [centers[0]] * 3, size=96).surface, look(shape, centers[1:], size=96).surface
    forth, back = match_views(a, b).overlap, match_views(b, a).overlap
    torch.testing.assert_close(forth, back, rtol=0.1, atol=0.03)
    assert forth[0] > forth[1] > forth[2] > 0


@pytest.mark.parametrize("thickness", [0.0, 1e-3, 4e-3])
def test_the_two_sides_of_a_thin_wall_never_match(thickness):
    """Nearest neighbours without normals match front to back; reprojection with normals must not."""
    shape = from_trimesh(box(1, 1, thickness)) if thickness else sheet()
    front = look(shape, [[0, 0, 1.5], [0.3, 0.2, 1.4]]).surface
    back = look(shape, [[0, 0, -1.5], [0.3, 0.2, -1.4]]).surface
    neighbours = cKDTree(back.points[0][back.mask[0]]).query(front.points[0][front.mask[0]])[0]
    assert (neighbours < 5e-3).mean() > 0.5  # what the paper's matching alone would take
    flat = front.points[..., :2].abs().amax(-1) < 0.499  # without the rim, which both may see
    matches = match_views(front, back)
    assert not bool(flat.reshape(2, -1)[matches.pair, matches.pixel_a].any())
    same_side = match_views(front[[0]], front[[1]])
    assert float(same_side.overlap[0]) > 0.8


@pytest.mark.parametrize("thickness", [0.0, 4e-3])
def test_a_least_cosine_of_minus_1_ignores_the_normals(thickness):
    """The two sides of a thin wall then match wherever they are near enough, also where they look in opposite directions."""
    shape = from_trimesh(box(1, 1, thickness)) if thickness else sheet()
    front, back = (look(shape, [[0.1, 0.2, z]]).surface for z in (1.5, -1.5))
    assert len(match_views(front, back, min_cosine=-0.999)) < 0.1 * int(front.mask.sum())  # the rim at most
    matches = match_views(front, back, min_cosine=-1)
    check_invariants(matches, front, back)
    assert float(matches.overlap[0]) > 0.8
    assert len(match_views(front, back, tolerance=0.5 * thickness, min_cosine=-1)) < 0.1 * int(front.mask.sum())


def test_matches_that_need_not_be_unique_are_all_pixels_that_see_what_b_sees():
    """On a sheet seen whole by both, each pixel of A whose point falls on a foreground pixel of B is a match."""
    near, far = look(sheet(), [[0.2, 0.1, 1.2], [0, 0, 2.0]]).surface, look(sheet(), [[0, 0, 2.0], [0, 0, 1.3]]).surface
    matches = match_views(near, far, unique=False)
    expected = []
    for p in range(2):
        for pixel in near.mask[p].flatten().nonzero()[:, 0].tolist():
            (x, y), _ = (v[0, 0] for v in far[[p]].cameras.project(near.points[p].reshape(1, -1, 3)[:, [pixel]]))
            if 0 <= x < SIZE and 0 <= y < SIZE and bool(far.mask[p, 0, int(y), int(x)]):
                expected.append((p, pixel))
    assert list(zip(matches.pair.tolist(), matches.pixel_a.tolist(), strict=True)) == expected
    assert float(matches.overlap[0]) > 1.5  # the far view has fewer pixels
    unique = match_views(near, far)
    assert {*zip(unique.pair.tolist(), unique.pixel_a.tolist(), strict=True)} < set(expected)


@pytest.mark.parametrize("gap", [0.02, 0.2])
def test_parallel_walls_one_behind_another_are_told_apart_by_layer(gap):
    shapes = [box(1, 1, 0.001).apply_translation([0, 0, -z]) for z in (0, gap)]
    shape = from_trimesh(*shapes)
    a, b = (look(shape, [c], layers=4) for c in ([0.1, 0, 1.5], [-0.3, 0.2, 1.4]))
    matches = match_views(a.surface, b.surface)
    check_invariants(matches, a.surface, b.surface)
    face_a = a.views.face_ids[0].flatten()[matches.pixel_a]
    face_b = b.views.face_ids[0].flatten(1)[matches.layer_b, pixel_b(matches)]
    assert torch.equal(face_a >= 12, face_b >= 12)  # a box has 12 faces: the same wall in both
    assert set(matches.layer_b.tolist()) == {0, 1, 2, 3}  # front and back of both walls
    assert float(matches.overlap[0]) > 0.7


def test_what_is_inside_a_box_matches_in_the_layer_that_shows_it():
    shape = from_trimesh(box(1, 1, 1), box(0.5, 0.5, 0.5))
    a, b = (look(shape, [c], layers=2) for c in ([0.3, 0.4, 1.9], [0.8, 0.3, 1.7]))
    matches = match_views(a.surface, b.surface)
    check_invariants(matches, a.surface, b.surface)
    inner_a = a.views.face_ids[0].flatten()[matches.pixel_a] >= 12
    inner_b = b.views.face_ids[0].flatten(1)[matches.layer_b, pixel_b(matches)] >= 12
    assert torch.equal(inner_a, inner_b)
    assert int(inner_a.sum()) > 100 and bool((matches.layer_b[inner_a] == 1).all())
    hits = ray_hits(shape, b.surface.cameras.centers[0], matches.points)
    distance = (matches.points - b.surface.cameras.centers[0]).double().norm(dim=-1).numpy()
    before = [len(np.unique(h[h < d - 1e-3].round(4))) for h, d in zip(hits, distance, strict=True)]
    assert np.mean(np.array(before) == matches.layer_b.numpy()) > 0.97  # surfaces in front = the layer
    one_layer = match_views(*(look(shape, [c]).surface for c in ([0.3, 0.4, 1.9], [0.8, 0.3, 1.7])))
    assert bool((one_layer.points.abs().amax(-1) > 0.49).all())


def test_behind_the_camera_outside_the_image_and_empty_views_give_nothing():
    a = look(sheet(), [[0, 0, 1.0]]).surface
    away = cameras_at([[0, 0, 1.0]])
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # stands at the same place and looks the other way
    turned = Cameras(half_turn @ away.rotation, away.translation @ half_turn, away.intrinsics, SIZE, SIZE)
    views = make_rasterizer("embree")([sheet()], [turned])[0]
    empty = surface_of(sheet(), views)
    assert not bool(empty.mask.any())
    for x, y in ((a, empty), (empty, a), (empty, empty)):
        matches = match_views(x, y)
        assert len(matches) == 0 and matches.overlap.tolist() == [0.0]


def agreed_neighbours(a: Surface, b: Surface, mesh: trimesh.Trimesh) -> Tensor:
    """Pixels of A that the paper's search matches (3D neighbour within 5e-3) on the same side, where B sees the point."""
    pixels = a.mask.flatten().nonzero()[:, 0]
    points, normals = (x.reshape(-1, 3)[pixels].double().numpy() for x in (a.points, a.normals))
    distance, neighbour = cKDTree(b.points[b.mask].numpy()).query(points)
    agree = (normals * b.normals[b.mask].double().numpy()[neighbour]).sum(-1) > 0.5
    center = b.cameras.centers[0].double().numpy()
    hit, ray, _ = mesh.ray.intersects_location(np.tile(center, (len(points), 1)), points - center, multiple_hits=False)
    seen = np.zeros(len(points), dtype=bool)
    seen[ray] = np.linalg.norm(hit - points[ray], axis=1) < 1e-3
    return pixels[torch.from_numpy((distance < 5e-3) & agree & seen)]


def check_real(shape: Shape) -> None:
    size = 128
    a = look(shape, [[0.9, 0.5, 1.3], [0.9, 0.5, 1.3]], size=size).surface
    b = look(shape, [[1.2, 0.4, 1.0], [1.5, 0.9, 0.2]], size=size).surface
    matches = match_views(a, b)
    check_invariants(matches, a, b)
    for p in range(2):
        expected = agreed_neighbours(a[[p]], b[[p]], as_trimesh(shape))
        mine = matches.select(matches.pair == p)
        xy = b.cameras[[p]].project(a.points[p].reshape(1, -1, 3)[:, expected])[0][0]
        target = xy[:, 1].floor().long() * size + xy[:, 0].floor().long()
        # where a pixel of B has taken another pixel of A, the neighbour is found too, through that one
        found = torch.isin(expected, mine.pixel_a) | torch.isin(target, pixel_b(mine, size))
        assert len(expected) > 300
        assert float(found.float().mean()) > 0.95


def test_nearest_neighbours_on_a_real_person_are_found(people_root):
    people = RenderPeople(people_root, texture_size=64)
    check_real(people.load(people.ids("train")[0]))


def test_nearest_neighbours_on_a_real_refrigerator_are_found(partnet_root):
    shapes = PartNet(partnet_root, "Refrigerator", splits="splits_local.json")
    check_real(shapes.load(shapes.ids("train")[0]))
