"""PyTorch3D's coarse bins: as long as the fullest, which is counted, and short enough for the memory."""

import pytest
import torch
import trimesh
from pytorch3d.structures import Meshes

from mvdecor.shapes import Shape
from mvdecor.views import pytorch3d, sphere_cameras
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import pinhole, place_cameras
from mvdecor.views.pytorch3d import PyTorch3DRasterizer, bins, coarse_bin_size, fullest_bin
from mvdecor.views.rasterizers import NEAR
from tests.gpu.simulated_cuda import all_to_cpu, simulated_cuda
from tests.systems.test_loops import shape


def counted_slowly(mesh: Shape, camera: Cameras, bin_size: int) -> int:
    """Faces whose bounding box meets a bin, bin by bin, on the image as PyTorch3D turns it round."""
    xy, z = camera.project(mesh.vertices[None].float())
    corners = torch.tensor([camera.width, camera.height]) - xy[0][mesh.faces]
    assert float(z.min()) > NEAR
    low, high, most = corners.amin(dim=1), corners.amax(dim=1), 0
    for top in range(0, camera.height, bin_size):
        for left in range(0, camera.width, bin_size):
            start = torch.tensor([left, top])
            most = max(most, int(((low <= start + bin_size) & (high >= start)).all(dim=1).sum()))
    return most


def meshes_of(mesh: Shape, count: int) -> Meshes:
    return Meshes([mesh.vertices.float()] * count, [mesh.faces] * count)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 40), (130, 256)])
def test_the_count_is_at_least_the_fullest_bins_and_hardly_more(height, width):
    mesh = shape()
    base = sphere_cameras(4, 64)
    intrinsics = pinhole(4, width, 50.0)
    intrinsics[:, 1, 2] = height / 2
    cameras = Cameras(base.rotation, base.translation, intrinsics, height, width)
    size = coarse_bin_size(height, width)
    assert bins(height, size) <= 16 and bins(width, size) <= 16
    slow = max(counted_slowly(mesh, cameras[[i]], size) for i in range(4))
    counted = fullest_bin(meshes_of(mesh, 4), cameras, NEAR, size)
    assert slow <= counted <= 1.5 * slow + 5  # a half pixel of margin


def test_close_views_that_cut_faces_still_have_room_for_all_that_is_seen():
    """Distinct faces within a bin, by the rasterizer that has no bins, are never more than were counted."""
    mesh = shape()
    cameras = place_cameras(mesh, 6, 32, seed=0, close_ups=6)
    size = 8
    counted = fullest_bin(meshes_of(mesh, 6), cameras, NEAR, size)
    ids = PyTorch3DRasterizer("cpu")([mesh], [cameras], layers=4)[0].face_ids
    for view in ids:
        for top in range(0, 32, size):
            for left in range(0, 32, size):
                seen = view[:, top : top + size, left : left + size].unique()
                assert int((seen >= 0).sum()) <= counted


def test_bins_hold_what_is_there_and_not_all_faces():
    """A dense ball in a corner of the image; on the simulated device, whose calls are noted."""
    ball = Shape.from_trimesh(trimesh.creation.icosphere(4), "ball").normalized()
    with simulated_cuda() as counts:
        PyTorch3DRasterizer("cuda")([ball.to("cuda")], [sphere_cameras(2, 64).to("cuda")])
        (call,) = counts.rasterized
    assert call["faces"] == 2 * ball.num_faces and call["bin_size"] == 8
    assert call["faces_per_bin"] < ball.num_faces / 5


def test_too_many_entries_are_split_or_go_without_bins(monkeypatch):
    mesh, cameras = shape(), sphere_cameras(3, 32)
    expected = PyTorch3DRasterizer("cpu")([mesh], [cameras])[0].face_ids
    monkeypatch.setattr(pytorch3d, "BIN_ENTRIES", 1)
    with simulated_cuda() as counts:
        views = PyTorch3DRasterizer("cuda")([mesh.to("cuda")], [cameras.to("cuda")])[0]
        assert [call["views"] for call in counts.rasterized] == [1, 1, 1]
        assert torch.equal(all_to_cpu(views.face_ids), expected)
        monkeypatch.setattr(pytorch3d, "MOST_ENTRIES", 1)
        counts.reset()
        PyTorch3DRasterizer("cuda")([mesh.to("cuda")], [cameras.to("cuda")])
        assert {call["bin_size"] for call in counts.rasterized} == {0}


@pytest.mark.parametrize(("faces", "binned"), [(4_194_303, True), (4_194_304, False), (20_000_000, False)])
def test_entries_that_int32_cannot_number_go_without_bins(faces, binned, monkeypatch):
    """A bin that held 2 x 4.19 million faces, as all bins of a 256 x 256 image had room for once, would overflow."""
    mesh, cameras = shape(), sphere_cameras(1, 256)
    assert (2 * faces * 16 * 16 < 2**31) == binned
    monkeypatch.setattr(pytorch3d, "fullest_bin", lambda *_: 2 * faces)
    with simulated_cuda() as counts:
        PyTorch3DRasterizer("cuda")([mesh.to("cuda")], [cameras.to("cuda")])
        (call,) = counts.rasterized
    assert call["bin_size"] == (16 if binned else 0)
