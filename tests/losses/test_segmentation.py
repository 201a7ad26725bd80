"""Losses of fine-tuning against loops over pixels, and in the stage."""

import json
import math
import shutil

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.losses import CrossEntropy, Dice, Focal
from mvdecor.systems.mvdecor.stages import run_finetune

LOSSES = {
    "cross_entropy": CrossEntropy(),
    "weighted": CrossEntropy([1.0, 0.0, 2.5]),
    "focal": Focal(2.0),
    "focal_weighted": Focal(0.5, [1, 2, 3]),
    "dice": Dice(),
}


def batch(seed: int = 0, images: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """The last image has no label; part 2 does not occur in the first."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 3, 5, 4, generator=rng, dtype=torch.float64)
    labels = torch.randint(-1, 3, (images, 5, 4), generator=rng)
    labels[0] = labels[0].clamp_max(1)
    labels[-1] = -1
    return logits, labels


def by_loop(name: str, logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Mean and weight, one pixel after the other."""
    weights, gamma = {
        "weighted": ([1, 0, 2.5], 0),
        "focal": ([1, 1, 1], 2),
        "focal_weighted": ([1, 2, 3], 0.5),
    }.get(name, ([1, 1, 1], 0))
    total = weight = 0.0
    for image, truth in zip(logits, labels, strict=True):
        pixels = [
            ([math.exp(x) / sum(math.exp(y) for y in column) for x in column], label)
            for column, label in zip(image.flatten(1).T.tolist(), truth.flatten().tolist(), strict=True)
            if label >= 0
        ]
        if name == "dice":
            parts = sorted({label for _, label in pixels})
            dice = [
                2
                * sum(p[part] for p, label in pixels if label == part)
                / sum(p[part] + (label == part) for p, label in pixels)
                for part in parts
            ]
            total, weight = total + (1 - sum(dice) / len(dice) if dice else 0), weight + bool(parts)
            continue
        for p, label in pixels:
            total += weights[label] * (1 - p[label]) ** gamma * -math.log(p[label])
            weight += weights[label]
    return total / weight, weight


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_a_loop_over_pixels(name):
    logits, labels = batch()
    loss, weight = LOSSES[name](logits, labels)
    assert (float(loss), float(weight)) == pytest.approx(by_loop(name, logits, labels), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_pixels_without_a_label_do_not_count_and_gradients_are_finite(name):
    logits, labels = batch()
    logits[0, :, 0, 0] = torch.tensor([200.0, 0, 0])  # surely right
    labels[0, 0, 0] = 0
    logits.requires_grad_()
    loss, _ = LOSSES[name](logits, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert bool(torch.isfinite(gradient).all()) and bool((gradient.movedim(1, -1)[labels < 0] == 0).all())
    noise = 100 * torch.rand(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = torch.where((labels >= 0)[:, None], logits.detach(), noise)
    assert torch.equal(LOSSES[name](changed, labels)[0], loss.detach())
    nothing, weight = LOSSES[name](logits, torch.full_like(labels, -1))
    assert float(nothing.detach()) == 0 == float(weight)


@pytest.mark.parametrize("name", LOSSES)
def test_means_of_two_halves_make_that_of_the_whole(name):
    """As two processes with half a batch each take it."""
    logits, labels = batch(1, 6)
    whole, weight = LOSSES[name](logits, labels)
    halves = [LOSSES[name](logits[part], labels[part]) for part in (slice(0, 2), slice(2, 6))]
    assert float(sum(loss * w for loss, w in halves) / weight) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("make", [CrossEntropy, lambda weights: Focal(1.0, weights)])
@pytest.mark.parametrize(
    "weights", [[1, -1, 1], [0, 0, 0], [1, math.nan, 1], [1, math.inf, 1], [True, 1, 1], ["1", 1, 1]]
)
def test_bad_weights(make, weights):
    with pytest.raises(InputError, match=r"segmentation_loss\.weights="):
        make(weights)


def test_bad_gamma_and_a_wrong_number_of_weights():
    for gamma in (-1, math.inf, math.nan, True, "2"):
        with pytest.raises(InputError, match=r"segmentation_loss\.gamma="):
            Focal(gamma)
    with pytest.raises(InputError, match=r"segmentation_loss\.weights=.*give 3 numbers"):
        CrossEntropy([1, 2])(*batch())


def test_configured_losses_train(make_config, tiny, made_up_people, tmp_path):
    words = ("experiment=people_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=0", "method=scratch")
    weights = set()
    for loss in ("cross_entropy", "focal", "dice"):
        run_finetune(make_config(*words, f"segmentation_loss={loss}", f"out={tmp_path / loss}"))
        weights.add((tmp_path / loss / "model" / "model.safetensors").read_bytes())
    assert len(weights) == 3
    with pytest.raises(InputError, match=r"segmentation_loss\.weights=.*one per label"):
        run_finetune(make_config(*words, "segmentation_loss.weights=[1,2]", f"out={tmp_path / 'bad'}"))

    every = (*words, "training.finetune.validate_every=1", "training.finetune.steps=2")
    with pytest.raises(InputError, match="has no list 'val'"):
        run_finetune(make_config(*every, f"out={tmp_path / 'none'}"))


def test_validation_looks_at_the_split_val_and_changes_no_weight(make_config, tiny, made_up_people, tmp_path):
    root = shutil.copytree(made_up_people, tmp_path / "people")
    lists = json.loads((root / "split.json").read_text())
    held = lists["train"].pop()
    (root / "split.json").write_text(json.dumps({**lists, "val": [held]}))
    words = ("experiment=people_cpu", f"data.root={root}", *tiny, "views.close_ups=0", "method=scratch")
    words = (*words, "training.finetune.steps=2", "training.log_every=1")
    cfg = make_config(*words, "training.finetune.validate_every=1", f"out={tmp_path / 'with'}")
    validated = run_finetune(cfg)
    plain = run_finetune(make_config(*words, f"out={tmp_path / 'without'}"))
    assert [figures["step"] for figures in validated["validations"]] == [1, 2] and plain["validations"] == []
    assert all(0 <= figures["part_miou"] <= 100 for figures in validated["validations"])
    assert validated["history"] == plain["history"]
    files = [tmp_path / name / "model" / "model.safetensors" for name in ("with", "without")]
    assert files[0].read_bytes() == files[1].read_bytes()
    (root / "split.json").write_text(json.dumps({**lists, "val": lists["test"][:1]}))
    with pytest.raises(InputError, match="val"):
        run_finetune(make_config(*words, "training.finetune.validate_every=1", f"out={tmp_path / 'mixed'}"))
