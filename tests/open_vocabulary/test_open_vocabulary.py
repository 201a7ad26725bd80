"""Open vocabulary on a coloured room whose words are names of colours: every stage, its files, its refusals."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mvdecor.captures import make_capture_set
from mvdecor.errors import InputError
from mvdecor.fields.feature_views import load_features
from mvdecor.systems.open_vocabulary.finetune import scales_of
from mvdecor.systems.open_vocabulary.scene import Scene
from mvdecor.systems.open_vocabulary.stages import run_evaluate, run_finetune, run_pretrain
from tests.colour_room import NAMES


def test_words_find_their_pixels_in_views_that_were_held_out(scene_config, distilled, tmp_path):
    folder, result = distilled
    assert result["words"] == list(NAMES) and result["lost_light"] < 0.1
    cfg = scene_config(f"out={tmp_path}", f"checkpoint={folder / 'model'}")
    metrics = run_evaluate(cfg)
    assert metrics["views"] == [0, 5, 10]
    rows = metrics["rows"]
    assert rows["picture, relevancy"]["miou"] > 60 and rows["distilled"]["miou"] > 60 and rows["vote"]["miou"] > 40
    maps = [Image.open(tmp_path / "words" / "segmentations" / "5" / f"{name}.png") for name in NAMES]
    labels = np.stack([np.array(image) for image in maps])
    assert set(np.unique(labels)) == {0, 255} and bool(((labels == 255).sum(axis=0) == 1).all())
    truth = make_capture_set(cfg.capture).load("balls").labels([5])[0].numpy()
    assert (labels.argmax(axis=0) == truth).mean() > 0.7
    header, _, body = (tmp_path / "cloud.ply").read_bytes().partition(b"end_header\n")
    assert b"comment label 3 = red ball" in header
    kind = [("xyz", "<f4", 3), ("rgb", "u1", 3), ("label", "<i4"), ("confidence", "<f4")]
    points = np.frombuffer(body, np.dtype(kind))
    red = points["xyz"][(points["label"] == 3) & (points["confidence"] > 0.5)]
    assert len(red) > 3 and np.linalg.norm(np.median(red, axis=0) - [0, -0.5, 0.35]) < 0.5
    assert run_evaluate(cfg) == json.loads((tmp_path / "metrics.json").read_text())
    synonyms = scene_config(
        f"out={tmp_path / 'other'}",
        f"checkpoint={folder / 'model'}",
        "evaluation.words=[navy ball,grey floor,green ball,crimson ball]",
    )
    assert run_evaluate(synonyms)["miou"] > 40


def test_the_field_and_its_colours_stay_as_they_were(distilled, fitted_field):
    folder, _ = distilled
    assert (folder / "model" / "radiance.safetensors").read_bytes() == (
        fitted_field / "radiance.safetensors"
    ).read_bytes()
    features, record = load_features(folder / "model")
    assert record["words"] == list(NAMES) and features.head.weight.shape == (125, 27)


@pytest.mark.parametrize(
    "switches",
    [
        ["scale=selection"],
        ["scale=mean", "weights.alike=0", "weights.unlike=0"],
        ["scale=0", "divergence=kl", "normalised=false", "grid_rate=0"],
        ["schedule={_target_:mvdecor.systems.open_vocabulary.finetune.recreated,step:2}"],
    ],
)
def test_switches_run_and_are_said(scene_config, fitted_field, tmp_path, switches):
    overrides = [f"training.finetune.{switch}" for switch in switches]
    cfg = scene_config(f"out={tmp_path}", f"checkpoint={fitted_field}", "training.finetune.steps=4", *overrides)
    result = run_finetune(cfg)
    assert ("shift" in result["cosines"]) == ("weights.alike=0" not in switches)
    features, _ = load_features(tmp_path / "model")
    assert features.scales == (3 if "scale=selection" in switches else 0)


def test_the_same_run_gives_the_same_weights(scene_config, fitted_field, tmp_path):
    weights = []
    for name in ("a", "b"):
        out = tmp_path / name
        run_finetune(scene_config(f"out={out}", f"checkpoint={fitted_field}", "training.finetune.steps=3"))
        weights.append(load_features(out / "model")[0].state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_new_words_need_no_training(scene_config, fitted_field):
    scene = Scene.of(scene_config(f"checkpoint={fitted_field}"))
    words = scene.words(["red", "lime", "gray"])
    relevancy = scene.relevancies(words).mean(dim=1)
    centre = torch.tensor([[0.0, -0.8, 0.45], [0.6, -0.2, 0.3]])  # on the red and the lime ball, towards the cameras
    scores, seen = scene.vote(relevancy, centre)
    assert scores.argmax(dim=-1).tolist() == [0, 1] and bool((seen > 0).all())


@pytest.mark.parametrize(
    ("stage", "overrides", "message"),
    [
        (run_finetune, [], "give checkpoint"),
        (run_finetune, ["checkpoint=FIELD", "words=[red]"], "at least two words"),
        (run_finetune, ["checkpoint=FIELD", "words=[red,Red]"], "twice"),
        (run_finetune, ["checkpoint=FIELD", "words=[cup,spoon]"], "'cup' names no colour"),
        (run_finetune, ["checkpoint=FIELD", "training.finetune.least_psnr=60"], "has not converged: .* below"),
        (run_finetune, ["checkpoint=FIELD", "training.finetune.scale=7"], "there are 3 scales"),
        (run_finetune, ["checkpoint=FIELD", "training.finetune.divergence=tv"], "divergence=tv is unknown"),
        (run_evaluate, ["checkpoint=FIELD"], "no features.safetensors here"),
        (run_evaluate, ["checkpoint=TUNED", "evaluation.words=[red,blue]"], "in the place of the 4 trained ones"),
        (run_evaluate, ["checkpoint=TUNED", "text_image.side=3"], "features of 125 numbers, text_image gives 27"),
        (run_pretrain, ["training.pretrain.held_out=labelled"], "holds 12 of 12 views out"),
        (run_pretrain, ["checkpoint=FIELD"], "starts from initial weights"),
    ],
)
def test_bad_input(scene_config, fitted_field, distilled, tmp_path, stage, overrides, message):
    places = {"FIELD": str(fitted_field), "TUNED": str(distilled[0] / "model")}
    words = [word.replace("FIELD", places["FIELD"]).replace("TUNED", places["TUNED"]) for word in overrides]
    with pytest.raises(InputError, match=message):
        stage(scene_config(f"out={tmp_path}", *words))


def test_scales_by_name_and_number():
    assert scales_of("finest", 3) == [2] and scales_of("mean", 3) == [0, 1, 2] == scales_of("selection", 3)
    assert scales_of(1, 3) == [1]
