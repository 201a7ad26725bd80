"""The model card says what the checkpoint is."""

from pathlib import Path

import pytest

from mvdecor.networks import build_model, save_checkpoint

UNET = {"_target_": "mvdecor.networks.UNet", "encoder": "resnet10t", "decoder_channels": [16, 8], "embedding_dim": 16}


def card(folder: Path, num_labels: int | None, **info) -> str:
    save_checkpoint(folder, build_model(UNET, ["rgb", "depth"], num_labels), info)
    return (folder / "README.md").read_text()


def test_fine_tuned(tmp_path: Path) -> None:
    views = {"count": 24, "size": 96, "layers": 1, "close_ups": 4}
    text = card(
        tmp_path / "model",
        2,
        kind="finetuned",
        label_names=["seat", "back | rest"],
        category="Chair",
        shapes=["one", "two"],
        textured=False,
        config={"views": views, "data": {"name": "partnet", "root": "/home/somebody/partnet"}},
        revision="abc123",
        metrics={"part_miou": 61.234, "test_shapes": 5},
    )
    assert text.startswith("---\nlibrary_name: mvdecor\n")
    for line in (
        "# MvDeCor: parts of Chair",
        "| 0 | seat |",
        "| 1 | back \\| rest |",
        "- Channels: rgb, depth (rgb is shading; textures are not used)",
        "- Views: 24 of 96 x 96 pixels, 4 of them close-ups; 1 layer",
        "- Labelled shapes: one, two",
        "- Revision of the code: abc123",
        "| part_miou | 61.2 |",
        "| test_shapes | 5 |",
    ):
        assert line in text.splitlines(), line
    assert "mvdecor.load(" in text and "resnet10t" in text
    assert "/home/somebody" not in text, "a card is made to be published"


@pytest.mark.parametrize("info", [{}, {"label_names": [], "config": {"views": {}}}])
def test_pretrained_with_little_said(tmp_path: Path, info: dict) -> None:
    text = card(tmp_path / "model", None, kind="pretrained", **info)
    assert "# MvDeCor: pretrained embeddings" in text and "scripts/finetune.py" in text
    assert "mvdecor.load(" not in text and "## Labels" not in text and "## Measured" not in text
    assert "None" not in text.replace("'weights': None", "")
