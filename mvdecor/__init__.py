"""MvDeCor: multi-view dense contrastive pretraining and few-shot part segmentation of meshes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvdecor.image_reconstructor import ImageReconstructor
    from mvdecor.image_segmenter import ImageSegmenter
    from mvdecor.segmenter import Segmenter


def load(
    checkpoint: Path | str,
    *,
    device: str = "auto",
    precision: str = "auto",
    views: Mapping[str, Any] | None = None,
    lifting: Mapping[str, Any] | None = None,
) -> Segmenter | ImageSegmenter | ImageReconstructor:
    """A fine-tuned model, ready to label meshes: `mvdecor.load(FOLDER).segment("chair.obj")`.

    A field of Semantic SRN takes images instead: `mvdecor.load(FOLDER).infer("chair.png", pose)`; so does a model of To The
    Point: `mvdecor.load(FOLDER).reconstruct("bird.png")`. Of the arguments they take `device`. The checkpoint says which
    network, channels, views, vote and label names it needs.

    Args:
        checkpoint: folder of a fine-tuned model, or hf:OWNER/NAME on the Hugging Face hub.
        device: auto, cpu or cuda.
        precision: auto, or any of Lightning Fabric's.
        views: settings of configs/views in place of those it was trained with, e.g. {"count": 40}.
        lifting: settings of configs/lifting, likewise.

    Raises:
        InputError: no checkpoint, a damaged one, one that was only pretrained, or a setting that does not exist.
    """
    if Path(checkpoint, "model.safetensors").exists() and not Path(checkpoint, "checkpoint.json").exists():
        # here, so that `import mvdecor` alone stays quick
        from mvdecor.systems.to_the_point.model import is_model

        if is_model(checkpoint):
            from mvdecor.image_reconstructor import ImageReconstructor

            return ImageReconstructor(checkpoint, device)
        from mvdecor.image_segmenter import ImageSegmenter

        return ImageSegmenter(checkpoint, device)
    from mvdecor.segmenter import Segmenter

    return Segmenter(checkpoint, device=device, precision=precision, views=views, lifting=lifting)
