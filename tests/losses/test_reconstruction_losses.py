"""Losses of reconstruction against plain loops, SciPy and PyTorch3D."""

import math

import numpy as np
import pytest
import torch
from pytorch3d.loss import mesh_laplacian_smoothing
from pytorch3d.structures import Meshes
from pytorch3d.utils import ico_sphere
from scipy.spatial.transform import Rotation

from mvdecor.captures.mask_geometry import distance_map, mask_points
from mvdecor.losses import masks, meshes, positions, texture


@pytest.fixture(scope="module")
def ball():
    """Vertices and faces of a dented ball, its edges and cotangent weights."""
    sphere = ico_sphere(1)
    vertices = sphere.verts_packed() * torch.tensor([1.0, 0.8, 1.3])
    faces = sphere.faces_packed()
    edges = meshes.mesh_edges(faces)
    return vertices, faces, edges, meshes.cotangents(vertices, faces, edges)


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_mask_loss_is_squared_difference_and_iou():
    silhouette, mask = random(3, 5, 4), (random(3, 5, 4, seed=1) > 0.5).float()
    for b in range(3):
        square = both = either = 0.0
        for s, m in zip(silhouette[b].flatten().tolist(), mask[b].flatten().tolist(), strict=True):
            square, both, either = square + (s - m) ** 2, both + s * m, either + s + m - s * m
        assert float(masks.mask_loss(silhouette, mask)[b]) == pytest.approx(square / 20 + 1 - both / either, rel=1e-5)
    assert masks.mask_loss(mask, mask).abs().max() < 1e-6


def test_coverage_is_the_distance_to_the_nearest_vertex():
    points, vertices = random(2, 7, 2), random(2, 5, 2, seed=1)
    loss = masks.coverage_loss(points, vertices)
    for b in range(2):
        nearest = [min(math.dist(p, v) ** 2 for v in vertices[b].tolist()) for p in points[b].tolist()]
        assert float(loss[b]) == pytest.approx(sum(nearest) / 7, rel=1e-5)


def test_distance_map_and_its_lookup():
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:3, 2:5] = True
    distances = distance_map(mask)
    inside = np.argwhere(mask)
    for i in range(6):
        for j in range(8):
            assert distances[i, j] == pytest.approx(min(math.dist((i, j), pixel) for pixel in inside) / 4, rel=1e-5)
    centres = torch.tensor([[[(2 * j + 1) / 8 - 1, (2 * i + 1) / 6 - 1] for i in range(6) for j in range(8)]])
    stacked = torch.from_numpy(distances)[None]
    for pixel in (0, 10, 47):
        weight = torch.zeros(1, 48)
        weight[0, pixel] = 2.0
        assert float(masks.outside_loss(centres, stacked, weight)) == pytest.approx(
            float(stacked.flatten()[pixel]), abs=1e-6
        )
    points = mask_points(mask, 40, torch.Generator().manual_seed(0))
    assert masks.outside_loss(points[None], stacked, torch.ones(1, 40)) < 1e-6
    assert len({tuple(p) for p in points.tolist()}) == 6, "all six pixels of the mask are found"


def test_mesh_edges_are_those_of_the_faces(ball):
    _, faces, edges, _ = ball
    expected = {tuple(sorted((f[k], f[(k + 1) % 3]))) for f in faces.tolist() for k in range(3)}
    assert {tuple(edge) for edge in edges.tolist()} == expected and len(edges) == len(expected)


def test_edge_lengths_and_reprojection(ball):
    edges = ball[2]
    a, b, weights = random(2, 42, 2), random(2, 42, 2, seed=1), random(2, 42, seed=2)
    for s in range(2):
        total = norm = cycle = 0.0
        for i, j in edges.tolist():
            weight = float(weights[s, i] * weights[s, j])
            total += weight * abs(math.dist(a[s, i], a[s, j]) - math.dist(b[s, i], b[s, j]))
            norm += weight
        cycle = sum(float(weights[s, i]) * math.dist(a[s, i], b[s, i]) ** 2 for i in range(42)) / float(
            weights[s].sum()
        )
        assert float(meshes.edge_length_loss(a, b, edges, weights)[s]) == pytest.approx(total / norm, rel=1e-4)
        assert float(meshes.reprojection_loss(a, b, weights)[s]) == pytest.approx(cycle, rel=1e-4)


def test_cotangents_and_laplacian_agree_with_pytorch3d(ball):
    vertices, faces, edges, weights = ball
    angle_sums = {}
    for face in faces.tolist():
        for k in range(3):
            apex, a, b = (vertices[face[(k + n) % 3]].double().numpy() for n in range(3))
            cosine = np.dot(a - apex, b - apex) / np.linalg.norm(a - apex) / np.linalg.norm(b - apex)
            edge = tuple(sorted((face[(k + 1) % 3], face[(k + 2) % 3])))
            angle_sums[edge] = angle_sums.get(edge, 0) + 0.5 / math.tan(math.acos(cosine))
    for edge, weight in zip(edges.tolist(), weights.tolist(), strict=True):
        assert weight == pytest.approx(max(angle_sums[tuple(edge)], 0.05), rel=1e-4)
    reference = mesh_laplacian_smoothing(Meshes([vertices], [faces]), method="cot")
    ours = meshes.edge_laplacian(vertices[None], edges, weights)[0].norm(dim=1).mean()
    assert float(ours) == pytest.approx(float(reference), rel=1e-3)
    assert meshes.laplacian_loss(torch.ones(2, 42, 3), edges, weights).abs().max() < 1e-12


def test_arap_is_zero_for_rigid_motion_and_agrees_with_scipy(ball):
    vertices, _, edges, weights = ball
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix()).float()
    assert meshes.arap_loss((vertices @ turn.T + 2)[None], vertices, edges, weights).abs().max() < 1e-9
    deformed = (vertices @ turn.T + 0.2 * random(42, 3)).requires_grad_()
    loss = meshes.arap_loss(deformed[None], vertices, edges, weights)
    (gradient,) = torch.autograd.grad(loss.sum(), deformed)

    def energy(points):
        total = 0.0
        for i in range(42):
            links = [(e.sum() - i, w) for e, w in zip(edges.numpy(), weights.numpy(), strict=True) if i in e]
            before, after = (np.stack([x[j] - x[i] for j, _ in links]) for x in (vertices.double().numpy(), points))
            weight = np.array([w for _, w in links], dtype=float)
            best, _ = Rotation.align_vectors(after, before, weights=weight)
            total += (weight * ((after - best.apply(before)) ** 2).sum(axis=1)).sum()
        return total / 42

    points = deformed.detach().double().numpy()
    assert float(loss.detach()) == pytest.approx(energy(points), rel=1e-4)
    step = np.zeros_like(points)
    step[7, 1] = 1e-5
    slope = (energy(points + step) - energy(points - step)) / 2e-5
    assert float(gradient[7, 1]) == pytest.approx(slope, rel=1e-3)


def test_position_losses():
    a, b = random(2, 4, 2), random(2, 4, 2, seed=1)
    keypoints = torch.cat([b, torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(2, 4)[..., None]], dim=2)
    for s in range(2):
        huber = []
        for i in (0, 2):
            gaps = [abs(float(x)) for x in a[s, i] - b[s, i]]
            huber.append(sum(g * g / 0.2 if g < 0.1 else g - 0.05 for g in gaps))
        assert float(positions.keypoint_loss(a, keypoints)[s]) == pytest.approx(sum(huber) / 2, rel=1e-5)
    assert positions.keypoint_loss(a, keypoints * torch.tensor([1.0, 1.0, 0.0])).abs().max() == 0
    logits, visible = random(2, 4) * 4 - 2, random(2, 4, seed=3) > 0.5
    expected = [
        sum(
            math.log(1 + math.exp(-x if v else x)) for x, v in zip(logits[s].tolist(), visible[s].tolist(), strict=True)
        )
        for s in range(2)
    ]
    assert positions.visibility_loss(logits, visible).tolist() == pytest.approx([x / 4 for x in expected], rel=1e-5)


def test_equivariance_moves_and_mirrors():
    u, opposite = random(2, 4, 2) * 0.4, torch.tensor([1, 0, 2, 3])
    mirror = (torch.stack([opposite, opposite, torch.arange(4)], dim=1), torch.tensor([0.3, 0.7, 0.0]).expand(4, 3))
    matrix = torch.tensor([[[0.8, -0.3, 0.1], [0.3, 0.8, -0.2]], [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    expected = torch.empty_like(u)
    for i in range(4):
        x, y = u[0, i].tolist()
        expected[0, i] = torch.tensor([0.8 * x - 0.3 * y + 0.1, 0.3 * x + 0.8 * y - 0.2])
        x, y = u[1, opposite[i]].tolist()
        expected[1, i] = torch.tensor([-x, y])
    assert positions.equivariance_loss(expected, u, matrix, mirror).abs().max() < 1e-6
    assert positions.equivariance_loss(expected.flip(1), u, matrix, mirror).min() > 1e-4
    with pytest.raises(AssertionError, match="mirror"):
        positions.equivariance_loss(expected, u, matrix)


def test_texture_of_right_positions_is_the_image():
    """A flat quad in the image: pixels see its two faces; right positions look the image up where it is."""
    image = random(1, 3, 6, 6)
    u = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]])
    corners, weights = torch.zeros(1, 6, 6, 3, dtype=torch.int64), torch.zeros(1, 6, 6, 3)
    for i in range(6):
        for j in range(6):
            x, y = (j + 0.5) / 6, (i + 0.5) / 6
            lower = y > x
            corners[0, i, j] = torch.tensor([0, 2, 3] if lower else [0, 1, 2])
            weights[0, i, j] = torch.tensor([1 - y, x, y - x] if lower else [1 - x, x - y, y])
    assert texture.texture_loss(image, u, corners, weights) < 1e-5
    shifted = u + torch.tensor([2 / 6, 0.0])  # by a pixel: compared with the right neighbour, the last with itself
    expected = (image[..., 1:] - image[..., :-1]).abs().sum() / (3 * 36)
    assert float(texture.texture_loss(image, shifted, corners, weights)) == pytest.approx(float(expected), rel=1e-4)
    nothing = torch.zeros_like(weights)
    assert texture.texture_loss(image, u, corners, nothing) == 0
