"""Every experiment of the open-vocabulary system composes; those of made-up rooms run a step of every stage."""

import json

import pytest
import torch

from mvdecor.networks import small_text_image
from mvdecor.systems.open_vocabulary.settings import check_config
from mvdecor.systems.open_vocabulary.stages import run_pipeline
from mvdecor.systems.text_image import train

TINY = (
    *("capture.views=10", "capture.size=24", "capture.count=1", "capture.held_out=1", "device=cpu", "progress=false"),
    *("cache=null", "dense_image=positions", "crops.parts=[3,4,6]", "evaluation.points=50", "evaluation.figures=1"),
    *("radiance.steps=2", "radiance.rays=32", "radiance.samples=8", "radiance.field.resolution=8"),
    *("training.pretrain.points=20", "training.finetune.steps=2", "training.finetune.rays=16"),
    *("training.finetune.patches=1", "training.finetune.patch_points=3", "training.finetune.least_psnr=0"),
    *("+text_image_training.rooms.views=5", "+text_image_training.rooms.crops=8"),
    *("+text_image_training.training.batch=16", "+text_image_training.dimension=8"),
    "+text_image_training.widths=[4,4,4,4]",
)
SHORT = ("rooms.count=1", "rooms.measured=1", "training.steps=1")


class FakeSentences:
    """Random vectors of sentences, in the place of the package's encoder."""

    dimension, fingerprint = 6, "fake"

    def __init__(self, folder=None) -> None:
        pass

    def tokens(self, sentence: str) -> int:
        return len(sentence.split()) + 2

    def embed(self, sentences, batch: int = 128) -> torch.Tensor:
        seeds = [sum(map(ord, text)) for text in sentences]
        rows = [torch.randn(self.dimension, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


@pytest.mark.parametrize(("name", "own"), [("ovs_demo", "room_000"), ("ovs_room_cpu", "held_out_000")])
def test_experiment_runs_every_stage(name, own, make_config, tmp_path, monkeypatch):
    for module in (small_text_image, train):
        monkeypatch.setattr(module, "SentenceEncoder", FakeSentences)
    prefix = "" if name == "ovs_demo" else "+"
    short = [f"{'++' if not prefix else '+'}text_image_training.{word}" for word in SHORT]
    folder = tmp_path / "text_image"
    cfg = make_config(
        f"experiment={name}", *TINY, *short, f"id={own}", f"out={tmp_path / 'out'}", f"text_image.folder={folder}/model"
    )
    table = run_pipeline(cfg)
    assert "distilled" in table["rows"] and "vote" in table["rows"] and "picture, cosine" in table["rows"]
    metrics = json.loads((tmp_path / "out" / "open_vocabulary" / "run_0" / "metrics.json").read_text())
    assert metrics["views"] == [2, 7] and len(metrics["words"]) == 7
    assert (folder / "model" / "model.safetensors").exists()
    assert run_pipeline(cfg)["rows"] == table["rows"]  # nothing is trained again


@pytest.mark.parametrize(("scene", "unlike", "relevancy"), [("bed", 2.2, 3.0), ("office_desk", 3.5, 0.3)])
def test_a_scene_of_3dovs_has_its_numbers(scene, unlike, relevancy, make_config):
    settings = check_config(make_config("experiment=ovs_3dovs", f"id={scene}"))
    assert settings.training.finetune.weights.unlike == unlike
    assert settings.training.finetune.weights.relevancy == relevancy
    assert settings.scenes is not None and len(settings.scenes) == 10
