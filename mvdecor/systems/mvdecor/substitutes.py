"""Part substitution while fine-tuning: more labelled shapes, made of the k by exchanging parts."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from mvdecor.seeds import seed_of
from mvdecor.shapes.substitution import substitutes
from mvdecor.systems.mvdecor.batches import LabelledSource
from mvdecor.systems.mvdecor.setup import make_mixed_source


def substitution_source(cfg: DictConfig, labelled: LabelledSource, device: torch.device) -> LabelledSource:
    """Batches of which half, on average, is of the labelled shapes and half of `training.finetune.substitutes` others.

    Args:
        cfg: of the fine-tuning; its seed and run say which parts are exchanged.
        labelled: of the labelled shapes alone.
        device: where views are made.

    Raises:
        InputError: no part can be exchanged.
    """
    shapes, count = list(labelled.shape_views.shapes), cfg.training.finetune.substitutes
    substituted = substitutes(shapes, count, seed_of(cfg.seed, cfg.run, "part substitution"))
    note = "" if len(substituted) == count else f" in all ways there are, which are fewer than {count}"
    print(f"part substitution: {len(substituted)} shapes more, made of {len(shapes)}{note}", flush=True)
    return make_mixed_source(cfg, labelled, [*shapes, *substituted], device)
