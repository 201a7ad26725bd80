"""A step of To The Point's fine-tuning on the simulated device: the losses and gradients of the CPU."""

import torch
from lightning_fabric import Fabric

from mvdecor.captures.photo_batches import PhotoBatch
from mvdecor.captures.template_renders import TemplateRenders
from mvdecor.captures.warps import random_matrices
from mvdecor.systems.to_the_point.finetune import Objective, step
from mvdecor.systems.to_the_point.settings import FinetuneSettings, LossWeights
from tests.gpu.device_runs import assert_equal_on_both
from tests.small_reconstructor import small_reconstructor

WEIGHTS = dict.fromkeys(LossWeights.model_fields, 1.0)
SETTINGS = FinetuneSettings.of(
    {
        **{
            "split": "train",
            "limit": None,
            "keypoints": True,
            "steps": 1,
            "batch_size": 2,
            "renders": 2,
            "jitter": 0.0,
            "mirror": True,
        },
        **{
            "points": 9,
            "texture": "colours",
            "sigma": 1e-4,
            "learning_rate": 1e-3,
            "clip": None,
            "schedule": "constant",
        },
        **{"optimizer": {"_target_": "torch.optim.Adam"}, "weights": WEIGHTS},
    }
)


def test_a_step_of_the_fine_tuning():
    def run(device):
        model = small_reconstructor().to(device)
        renders = TemplateRenders(model.template, 32, 2).sample(0, 0)
        generator = torch.Generator().manual_seed(0)
        photos = PhotoBatch(
            renders.images,
            renders.masks.float(),
            torch.rand(2, 32, 32, generator=generator),
            torch.rand(2, 9, 2, generator=generator),
            torch.rand(2, 15, 3, generator=generator).round(decimals=1),
            random_matrices(2, True, generator),
            ("a", "b"),
        )
        batches = {"photographs": photos.to(device), "renders": renders.to(device)}
        ((loss, figures),) = step(model, batches, Fabric(accelerator="cpu"), Objective(SETTINGS, model))
        loss.backward()
        # the two rasterizers may differ in a pixel
        losses = [x.detach() for name, x in figures.items() if name not in ("loss", "visibility", "texture")]
        assert figures.keys() >= {"visibility", "texture", "arap", "mask", "renders"}
        return *losses, model.basis.grad

    assert_equal_on_both(run, rtol=1e-2, atol=1e-3)
