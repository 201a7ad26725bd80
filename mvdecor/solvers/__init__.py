"""Camera and deformation from correspondences, and the gradient of an argmin.

The solvers know points, not images, meshes or networks.
"""

from mvdecor.solvers.camera import solve_camera
from mvdecor.solvers.deformation import solve_deformation
from mvdecor.solvers.fit import Fit, Status, deform
from mvdecor.solvers.implicit import implicit_gradient, implicit_step
from mvdecor.solvers.released import solve_released

__all__ = [
    "Fit",
    "Status",
    "deform",
    "implicit_gradient",
    "implicit_step",
    "solve_camera",
    "solve_deformation",
    "solve_released",
]
