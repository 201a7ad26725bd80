"""Random deformations of a template, and the vectors that span them."""

import numpy as np
import torch
from pytorch3d.utils import ico_sphere

from mvdecor.shapes.deformations import Deformations, principal_deformations
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.template import Template, find_mirror


def egg() -> Template:
    """A closed mesh that is symmetric in x, and in neither y nor z."""
    sphere = ico_sphere(2)
    vertices = sphere.verts_packed() * torch.tensor([0.5, 0.7, 1.0])
    vertices[:, 1] += 0.3 * vertices[:, 2] ** 2 + 0.2 * vertices[:, 2]
    shape = Shape("egg", vertices, sphere.faces_packed()).normalized()
    return Template(shape, {}, find_mirror(shape))


def test_deformations_depend_on_the_generator_alone_and_span_what_they_say():
    template = egg()
    deformations = Deformations()
    a, b, c = deformations(template, [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)])
    assert torch.equal(a, b) and not torch.allclose(a, c)
    torch.testing.assert_close(deformations(template, [torch.Generator().manual_seed(2)])[0], c)
    still = Deformations(0.0, 0.0, 0.0)(template, [torch.Generator().manual_seed(3)])[0]
    assert torch.equal(still, template.shape.vertices)
    waves = Deformations(0.0, 0.0, 0.1)(template, [torch.Generator().manual_seed(3)])[0]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(template.mirror.of(waves), waves * flip, atol=1e-5, rtol=0)

    basis = principal_deformations(template, deformations, 6, torch.Generator().manual_seed(0), samples=60)
    flat = basis.flatten(1).double().numpy()
    gram = flat @ flat.T
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-4 * gram[0, 0]
    assert (np.diff(np.diag(gram)) <= 1e-9).all() and gram[5, 5] > 0
