"""Front or back: which of the two cameras that have the same silhouette agrees better with the visibilities of a network."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.losses.positions import visibility_loss
from mvdecor.solvers import Fit
from mvdecor.systems.to_the_point.finetune import seen_faces
from mvdecor.systems.to_the_point.model import Reconstructor, Solved
from mvdecor.views.visibility import visible_vertices


def likelier_twin(model: Reconstructor, solved: Solved) -> Fit:
    """Of the solution and its twin, which takes left for right and front for back, the one that agrees better.

    The twin is solved from the positions that each vertex's mirror image has. A solution agrees as far as the vertices that it
    shows are those that the network calls visible (mean cross-entropy).

    Raises:
        InputError: the template is not symmetric.
    """
    if model.mirror is None:
        raise InputError("evaluation.twins=true, but the template has no plane of symmetry: set evaluation.twins=false")
    visibilities = model.opposite(solved.logits.sigmoid()[..., None])[..., 0]
    fits = solved.fit, model.solve(model.opposite(solved.positions), visibilities)
    original, twin = (_disagreement(model, solved.logits, fit) for fit in fits)
    is_twin = (twin < original) & fits[1].converged
    values = [[getattr(fit, field.name) for fit in fits] for field in fields(Fit)]
    return Fit(*(torch.where(is_twin.view(-1, *[1] * (a.ndim - 1)), b, a) for a, b in values))


def _disagreement(model: Reconstructor, logits: Tensor, fit: Fit) -> Tensor:
    """float [B]."""
    face_ids = seen_faces(model, model.deformed(fit), fit, model.settings.size)
    return visibility_loss(logits, visible_vertices(face_ids, model.faces, logits.shape[1]))
