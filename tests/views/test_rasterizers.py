"""Both rasterizers: against brute force, on nested shapes, twins and edges, and against each other on real meshes."""

from pathlib import Path

import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.embree import EmbreeRasterizer
from mvdecor.views.placement import look_at, pinhole, place_cameras, sphere_cameras
from mvdecor.views.rasterizers import GAP, NEAR, Rasterizer, make_rasterizer, rasterized_faces, shape_radius
from mvdecor.views.views import surface_of


@pytest.fixture(params=["embree", "pytorch3d"])
def rasterizer(request: pytest.FixtureRequest) -> Rasterizer:
    if request.param == "pytorch3d":
        pytest.importorskip("pytorch3d")
    return make_rasterizer(request.param)


def camera_at(x: float, y: float, z: float, size: int = 32) -> Cameras:
    """A camera that looks at the origin."""
    rotation, translation = look_at(torch.tensor([[float(x), float(y), float(z)]]), torch.zeros(1, 3))
    return Cameras(rotation, translation, pinhole(1, size, 60.0), size, size)


def joined(*meshes: trimesh.Trimesh) -> Shape:
    return Shape.from_trimesh(trimesh.util.concatenate(meshes))


def soup(faces: int, seed: int) -> Shape:
    """Random triangles that cross each other."""
    rng = torch.Generator().manual_seed(seed)
    vertices = torch.rand(3 * faces, 3, generator=rng) * 1.2 - 0.6
    return Shape(f"soup {seed}", vertices, torch.arange(3 * faces).reshape(faces, 3))


def brute_force(shape: Shape, cameras: Cameras, layers: int) -> torch.Tensor:
    """Every ray against every face in float64 (Moeller-Trumbore), then the rule of layers, ray by ray."""
    corners = shape.vertices.double()[shape.faces]
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rays = cameras.rays().double().reshape(-1, 1, 3)
    pixels = cameras.height * cameras.width
    origins = cameras.centers.double().repeat_interleave(pixels, dim=0)[:, None]
    p = torch.linalg.cross(rays.expand(-1, len(a), -1), ac.expand(len(rays), -1, -1))
    det = (ab * p).sum(-1)
    u = ((origins - a) * p).sum(-1) / det
    q = torch.linalg.cross(origins - a, ab.expand(len(rays), -1, -1))
    v = (rays * q).sum(-1) / det
    t = (ac * q).sum(-1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1)
    near, gap = NEAR * shape_radius(shape), GAP * shape_radius(shape)
    ids = torch.full((len(rays), layers), -1, dtype=torch.int32)
    for ray in range(len(rays)):
        layer, last = 0, near - gap
        for depth, face in sorted((float(t[ray, f]), int(f)) for f in hit[ray].nonzero()[:, 0]):
            if layer < layers and depth > last + gap:
                ids[ray, layer] = face
                layer, last = layer + 1, depth
    return ids.reshape(len(cameras), cameras.height, cameras.width, layers).permute(0, 3, 1, 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_layers_are_those_of_brute_force(rasterizer: Rasterizer, seed: int) -> None:
    shape = soup(40, seed)
    cameras = place_cameras(shape, 4, 24, seed=seed, close_ups=2)  # close-ups stand amid the triangles
    views = rasterizer([shape], [cameras], layers=4)[0]
    expected = brute_force(shape, cameras, layers=4)
    assert views.face_ids.shape == expected.shape and views.face_ids.dtype == torch.int32
    assert (expected[:, 3] >= 0).any()
    assert (views.face_ids != expected).float().mean() < 0.002  # float32 at the edges of faces


def test_one_layer_is_the_first_of_many(rasterizer: Rasterizer) -> None:
    shape, cameras = soup(30, 3), sphere_cameras(2, 32, seed=1)
    one, three = (rasterizer([shape], [cameras], layers=n)[0].face_ids for n in (1, 3))
    assert torch.equal(one, three[:, :1])
    # a ray that has run out of surfaces stays out
    assert (three[:, 1:][three[:, :-1] < 0] == -1).all()


def test_square_covers_exactly_its_pixels(rasterizer: Rasterizer) -> None:
    corners = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    square = Shape("square", corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    cameras = camera_at(0, 0, 2, size=64)
    rays = cameras.rays()[0]
    inside = (2 * rays[..., :2]).abs().amax(dim=-1) < 0.5
    ids = rasterizer([square], [cameras], layers=2)[0].face_ids[0]
    # the diagonal runs through pixel centres: no holes along it, and not two layers either
    assert torch.equal(ids[0] >= 0, inside)
    assert (ids[1] == -1).all()


def test_nested_boxes_come_in_order(rasterizer: Rasterizer) -> None:
    shape = joined(*(trimesh.creation.box((s, s, s)) for s in (1.0, 0.6, 0.3)))
    cameras = camera_at(0.02, 0.01, 2.0)
    views = rasterizer([shape], [cameras], layers=8)[0]
    middle = views.face_ids[0, :, 16, 16]
    assert (middle[:6] // 12).tolist() == [0, 1, 2, 2, 1, 0]  # 12 faces a box
    assert (middle[6:] == -1).all()
    depth = surface_of(shape, views).depth[0, :6, 16, 16]
    expected = torch.tensor([1.5, 1.7, 1.85, 2.15, 2.3, 2.5])
    torch.testing.assert_close(depth, expected, atol=0.02, rtol=0)


def test_nested_spheres_fill_their_discs(rasterizer: Rasterizer) -> None:
    shape = joined(*(trimesh.creation.icosphere(3, radius=r) for r in (1.0, 0.5)))
    cameras = camera_at(0.3, 0.2, 2.5, size=48)
    views = rasterizer([shape], [cameras], layers=5)[0]
    seen = (views.face_ids >= 0)[0].sum(dim=(1, 2)).float()
    tangent = cameras.intrinsics[0, 0, 0] ** 2 * torch.pi
    far = float((cameras.centers[0] ** 2).sum())
    big, small = (float(tangent * r**2 / (far - r**2)) for r in (1.0, 0.5))
    torch.testing.assert_close(seen, torch.tensor([big, big, small, small, 0.0]), rtol=0.05, atol=0)


def test_twins_are_reported_by_their_lowest_face_only(rasterizer: Rasterizer) -> None:
    ball = trimesh.creation.icosphere(2)
    vertices = torch.tensor(ball.vertices, dtype=torch.float32)
    faces = torch.tensor(ball.faces)
    n = len(faces)
    # a degenerate face first, then each face turned around, then the faces, with corners of their own
    doubled = torch.cat([torch.tensor([[0, 0, 1]]), faces.flip(1), faces + len(vertices)])
    shape = Shape("doubled", torch.cat([vertices, vertices]), doubled)
    single = Shape("single", vertices, faces)
    cameras = sphere_cameras(2, 48)
    twins = rasterizer([shape], [cameras], layers=3)[0].face_ids
    once = rasterizer([single], [cameras], layers=3)[0].face_ids
    assert rasterized_faces(shape).tolist() == list(range(1, n + 1))
    assert torch.equal(twins, torch.where(once >= 0, once + 1, -1))
    assert (twins[:, 2] == -1).all()


def test_touching_surfaces_are_one_layer(rasterizer: Rasterizer) -> None:
    upper = trimesh.creation.box((0.8, 0.8, 0.4))
    lower = trimesh.creation.box((1.0, 1.0, 0.4))
    upper.apply_translation([0, 0, 0.2])
    lower.apply_translation([0, 0, -0.2])  # faces of both on z = 0, cut into different triangles
    views = rasterizer([joined(upper, lower)], [camera_at(0.03, 0.02, 2.0)], layers=5)[0]
    depth = surface_of(joined(upper, lower), views).depth[0, :, 16, 16]
    torch.testing.assert_close(depth, torch.tensor([1.6, 2.0, 2.4, 0.0, 0.0]), atol=0.02, rtol=0)


def test_camera_inside_sees_only_what_is_ahead(rasterizer: Rasterizer) -> None:
    rotation, translation = look_at(torch.tensor([[0.0, 0.0, 0.3]]), torch.tensor([[0.0, 0.1, -1.0]]))
    cameras = Cameras(rotation, translation, pinhole(1, 32, 60.0), 32, 32)
    room = joined(trimesh.creation.box((2, 2, 2)))
    views = rasterizer([room], [cameras], layers=2)[0]
    assert (views.face_ids[:, 0] >= 0).all() and (views.face_ids[:, 1] == -1).all()
    assert (surface_of(room, views).points[0, 0, ..., 2] < 0.3).all()


def test_wide_image_and_image_sizes_that_differ(rasterizer: Rasterizer) -> None:
    square = joined(trimesh.creation.box((0.8, 0.4, 0.1)))
    narrow = camera_at(0, 0, 2, size=40)
    wide = Cameras(narrow.rotation, narrow.translation, narrow.intrinsics.clone(), height=24, width=56)
    wide.intrinsics[:, 0, 2], wide.intrinsics[:, 1, 2] = 28.0, 12.0
    first, second = rasterizer([square, square], [narrow, wide])
    # the same focal length: the narrow image cut at the top and padded at the sides
    assert torch.equal(second.face_ids[0, 0, :, 8:48], first.face_ids[0, 0, 8:32])
    assert (second.face_ids[0, 0, :, :8] == -1).all()


def test_batch_of_unequal_shapes_gives_what_each_alone_gives(rasterizer: Rasterizer) -> None:
    shapes = [soup(5, 1), joined(trimesh.creation.icosphere(3)), soup(60, 2)]
    cameras = [sphere_cameras(n, 32, seed=n) for n in (2, 1, 3)]
    together = rasterizer(shapes, cameras, layers=2)
    for shape, own, views in zip(shapes, cameras, together, strict=True):
        assert torch.equal(views.face_ids, rasterizer([shape], [own], layers=2)[0].face_ids)
        assert views.face_ids.max() < shape.num_faces


def test_size_of_the_shape_does_not_matter(rasterizer: Rasterizer) -> None:
    small, factor = joined(trimesh.creation.icosphere(2), trimesh.creation.box((0.6, 0.6, 0.6))), 250.0
    large = Shape("large", small.vertices * factor, small.faces)
    cameras = sphere_cameras(2, 40, seed=8)
    far = Cameras(cameras.rotation, cameras.translation * factor, cameras.intrinsics, 40, 40)
    same = rasterizer([small], [cameras], 4)[0].face_ids == rasterizer([large], [far], 4)[0].face_ids
    assert same.float().mean() > 0.999


def test_grazing_rays_never_see_a_face_twice_in_a_row(rasterizer: Rasterizer) -> None:
    plate = trimesh.creation.box((1.6, 0.02, 1.6)).subdivide().subdivide()
    views = rasterizer([joined(plate)], [camera_at(0.0, 0.0101, 1.8, size=65)], layers=6)[0]
    ids = views.face_ids
    assert not ((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] >= 0)).any()


def assert_agree(shapes: list[Shape], cameras: list[Cameras], layers: int = 1) -> None:
    """The bounds on disagreement: points within 1e-3 on 99.5 % of what both see, silhouettes within 0.2 % of pixels."""
    pytest.importorskip("pytorch3d")
    embree = make_rasterizer("embree")(shapes, cameras, layers)
    pytorch3d = make_rasterizer("pytorch3d")(shapes, cameras, layers)
    for shape, one, other in zip(shapes, embree, pytorch3d, strict=True):
        a, b = surface_of(shape, one), surface_of(shape, other)
        for layer in range(layers):
            both = (a.mask & b.mask)[:, layer]
            apart = (a.points - b.points).norm(dim=-1)[:, layer][both]
            where = f"shape {shape.id}, layer {layer}"
            assert len(apart) > 100, where
            assert (apart < 1e-3).float().mean() >= 0.995, where
            assert (a.mask != b.mask)[:, layer].float().mean() < 0.002, where


def test_rasterizers_agree_on_made_up_meshes_in_two_layers() -> None:
    torus = trimesh.creation.torus(0.6, 0.3, major_sections=24, minor_sections=12)
    shapes = [joined(torus, trimesh.creation.icosphere(2, radius=0.5)), soup(80, 7), joined(trimesh.creation.capsule())]
    cameras = [place_cameras(shape, 3, 96, seed=i, close_ups=1) for i, shape in enumerate(shapes)]
    assert_agree(shapes, cameras, layers=2)


def test_rasterizers_agree_on_real_meshes(partnet_root: Path, people_root: Path) -> None:
    from mvdecor.shapes.partnet import PartNet
    from mvdecor.shapes.people import RenderPeople

    bottles = PartNet(partnet_root, "Bottle", 3, splits="splits_local.json")
    people = RenderPeople(people_root, texture_size=64)
    # few small views: on the CPU PyTorch3D looks at every face for every pixel
    shapes = [bottles.load(id) for id in ("3616", "4043", "3517")]
    shapes += [people.load(id) for id in ("person_000", "person_017")]
    shapes = [shape.normalized() for shape in shapes]
    cameras = [sphere_cameras(1, 128, seed=seed) for seed in range(len(shapes))]
    assert_agree(shapes, cameras)


def test_rasterizers_agree_on_the_layers_of_a_real_mesh(partnet_root: Path) -> None:
    from mvdecor.shapes.partnet import PartNet

    bottles = PartNet(partnet_root, "Bottle", 3, splits="splits_local.json")
    shapes = [bottles.load(id).normalized() for id in ("3616", "4043")]
    assert_agree(shapes, [sphere_cameras(2, 256, seed=seed) for seed in (5, 6)], layers=3)


def test_scenes_are_kept_and_let_go() -> None:
    rasterizer = EmbreeRasterizer()
    cameras = sphere_cameras(1, 16)
    shapes = [soup(4, seed) for seed in range(12)]
    first = rasterizer(shapes, [cameras] * 12)
    assert len(rasterizer._scenes) == 8
    again = rasterizer(shapes, [cameras] * 12)
    assert all(torch.equal(a.face_ids, b.face_ids) for a, b in zip(first, again, strict=True))


def test_auto_picks_by_device() -> None:
    assert isinstance(make_rasterizer("auto", "cpu"), EmbreeRasterizer)
    pytest.importorskip("pytorch3d")
    from mvdecor.views.pytorch3d import PyTorch3DRasterizer

    assert isinstance(make_rasterizer("auto", "cuda"), PyTorch3DRasterizer)  # nothing runs yet


def test_bad_requests_are_named(rasterizer: Rasterizer) -> None:
    shape, cameras = soup(3, 0), sphere_cameras(1, 8)
    with pytest.raises(InputError, match="auto, embree or pytorch3d"):
        make_rasterizer("opengl")
    with pytest.raises(InputError, match="2 shapes but 1 sets"):
        rasterizer([shape, shape], [cameras])
    with pytest.raises(InputError, match=r"views\.layers=0"):
        rasterizer([shape], [cameras], layers=0)
    line = Shape("line", torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]]))
    with pytest.raises(InputError, match="shape line: all its faces are degenerate"):
        rasterizer([line], [cameras])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_bins_never_overflow() -> None:
    from mvdecor.views.pytorch3d import PyTorch3DRasterizer

    # 80 000 faces, nearly all within a few bins: PyTorch3D's own bin size would drop most of them
    crowd = joined(trimesh.creation.icosphere(6, radius=0.05), trimesh.creation.icosphere(3, radius=1.0))
    cameras = sphere_cameras(4, 256, seed=3)
    ours = PyTorch3DRasterizer("cuda")([crowd], [cameras.to("cuda")], layers=2)[0]
    theirs = EmbreeRasterizer()([crowd], [cameras], layers=2)[0]
    assert ours.face_ids.device.type == "cuda"
    assert ((ours.face_ids.cpu() >= 0) != (theirs.face_ids >= 0)).float().mean() < 0.002
