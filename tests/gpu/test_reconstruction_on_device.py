"""Solvers and the soft silhouette on the simulated device: what they give on the CPU, gradients too."""

import torch

from mvdecor.apps.benchmark.solvers import correspondences, ellipsoid
from mvdecor.solvers import solve_camera, solve_deformation, solve_released
from mvdecor.views import Cameras, soft_silhouette
from tests.gpu.device_runs import assert_equal_on_both


def test_solvers_and_their_gradients():
    def run(device):
        u, w, template, basis, _ = (x.to(device) for x in correspondences(5, 0.05, torch.device("cpu"), deformed=True))
        w[1] = 0
        u[2] = torch.nan
        leaves = [x.requires_grad_() for x in (u, w, template, basis)]
        fits = [solve_camera(u, w, template), solve_deformation(u, w, template, basis, damping=1e-6)]
        sum(fit.rotation.sum() + fit.shift.sum() for fit in fits).backward()
        results = [(fit.rotation.detach(), fit.scale.detach(), fit.status) for fit in fits]
        return *results[0], *results[1], *(leaf.grad for leaf in leaves)

    assert_equal_on_both(run)


def test_the_released_solver():
    def run(device):
        u, w, template, basis, _ = (x.to(device) for x in correspondences(2, 0.05, torch.device("cpu"), deformed=True))
        fit = solve_released(u, w, template, basis, rounds=1, scale="free", start="affine")
        return fit.rotation.detach(), fit.coefficients.detach()

    assert_equal_on_both(run, atol=1e-3)


def test_the_soft_silhouette():
    def run(device):
        template, faces = (x.to(device) for x in ellipsoid(torch.device("cpu")))
        leaf = template.requires_grad_()
        cameras = Cameras.scaled_orthographic(
            torch.eye(3).expand(2, 3, 3), torch.tensor([7.0, 5.0]), torch.full((2, 2), 12.0), 24, 20
        ).to(device)
        silhouette = soft_silhouette(cameras.project(leaf.expand(2, -1, -1))[0], faces, 24, 20)
        silhouette.square().sum().backward()
        return silhouette.detach(), leaf.grad

    assert_equal_on_both(run)
