"""Every method of configs/method composes with experiments, changes what it is about, and runs a step of its stages."""

import json
from pathlib import Path

import pytest
import timm
import torch

from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.check import check_config
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune, run_pretrain
from tests.calls import call

FOR_CAPTURES = (
    "open_vocabulary",
    "semantic_srn",
    "srn",
    "to_the_point",
    "unet_views",
)  # of other systems, which have tests of their own
METHODS = sorted(path.stem for path in Path(CONFIGS, "method").glob("*.yaml") if not path.stem.startswith(FOR_CAPTURES))
EXPERIMENTS = ("demo", "people_cpu", "renderpeople_geometry")  # of three data sets and three networks
PRETRAINED = ("mvdecor", "densecl", "imagenet_mvdecor")
FROZEN = {"dino": "vit_tiny_patch16_224", "imagenet_frozen": "resnet10t"}  # by method an encoder of their kind
CROPS = ("training.crops.scale=[0.5,1.0]", "training.crops.ratio=[1,1]")


def test_the_methods_are_those_of_the_tables():
    assert METHODS == ["densecl", "dino", "imagenet", "imagenet_frozen", "imagenet_mvdecor", "mvdecor", "scratch"]


@pytest.mark.parametrize("method", METHODS)
def test_method_changes_what_it_is_about_in_every_experiment(method, make_config):
    for experiment in EXPERIMENTS:
        plain, cfg = (
            make_config(f"experiment={experiment}"),
            make_config(f"experiment={experiment}", f"method={method}"),
        )
        check_config(cfg)
        assert plain.method.name == "mvdecor"
        assert cfg.method.name == method and cfg.method.title
        assert cfg.method.pretrain == (method in PRETRAINED)
        assert cfg.training.pretrain.source == ("crops" if method == "densecl" else "views")
        assert cfg.network.weights == (
            "pretrained" if method == "dino" else "imagenet" if "imagenet" in method else None
        )
        if method == "mvdecor":
            assert cfg == plain
        elif method != "imagenet_mvdecor":
            assert cfg.training.finetune.lambda_ssl == 0
        for key in ("data", "loss", "lifting", "evaluation", "out", "seed"):
            assert cfg[key] == plain[key]
        if method not in FROZEN:
            assert cfg.network.encoder == plain.network.encoder and cfg.views == plain.views
        assert cfg.training.finetune.steps == plain.training.finetune.steps
        assert cfg.training.pretrain.steps == plain.training.pretrain.steps


def test_the_command_line_comes_after_the_method(make_config):
    cfg = make_config("method=imagenet", "network.weights=my.pth", "training.finetune.lambda_ssl=0.1")
    assert cfg.network.weights == "my.pth" and cfg.training.finetune.lambda_ssl == 0.1


@pytest.mark.parametrize("method", METHODS)
def test_method_runs_a_step_of_its_stages(method, make_config, tiny, made_up_people, tmp_path):
    encoder = FROZEN.get(method, "resnet10t")
    overrides = [x for x in tiny if not (method in FROZEN and x.startswith("network"))]
    overrides += [f"data.root={made_up_people}", "views.close_ups=0", f"method={method}", *CROPS]
    overrides += [f"network.encoder={encoder}"] if method in FROZEN else []
    if method == "dino" or "imagenet" in method:
        torch.save(timm.create_model(encoder).state_dict(), tmp_path / "weights.pth")
        overrides += [f"network.weights={tmp_path / 'weights.pth'}"]
    checkpoint = "null"
    if method in PRETRAINED:
        out = tmp_path / "pretrain"
        done = run_pretrain(make_config("experiment=people_cpu", *overrides, f"out={out}"))
        assert done["history"][-1]["step"] == 1
        checkpoint = str(out / "model")
    out = tmp_path / "out"
    run_finetune(make_config("experiment=people_cpu", *overrides, f"out={out}", f"checkpoint={checkpoint}"))
    (tmp_path / "weights.pth").unlink(missing_ok=True)  # what is trained does not need it any more
    metrics = run_evaluate(
        make_config("experiment=people_cpu", *overrides, f"out={out}", f"checkpoint={out / 'model'}")
    )
    assert metrics["part_miou"] <= metrics["ceiling"]["part_miou"]
    assert json.loads((out / "metrics.json").read_text())["config"]["method"]["name"] == method


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.pretrain.source=foo", ["training.pretrain.source=foo", "views or crops"]),
        ("training.crops.scale=[0.5,2]", ["training.crops.scale=[0.5,2]", "at most 1"]),
        ("training.crops.scale=0.5", ["training.crops.scale=0.5", "[least, greatest]"]),
        ("training.crops.ratio=[2,1]", ["training.crops.ratio=[2,1]"]),
        ("training.crops.flip=2", ["training.crops.flip=2"]),
        ("network.weights=nowhere.pth", ["network.weights=nowhere.pth", "no file", "imagenet"]),
    ],
)
def test_bad_settings_are_named(override, words, make_config):
    with pytest.raises(InputError) as caught:
        check_config(make_config("experiment=people_cpu", override))
    assert all(word in str(caught.value) for word in words), caught.value


def test_frozen_features_take_rgb_alone(make_config):
    with pytest.raises(InputError, match=r"rgb alone.*views\.channels=\[rgb\]"):
        check_config(make_config("method=dino", "views.channels=[rgb,depth]"))


def test_an_unknown_method_lists_the_choices(tmp_path):
    done = call("finetune", "method=nothing", f"out={tmp_path / 'out'}", cwd=tmp_path)
    assert done.returncode != 0
    assert "method=nothing is unknown" in done.stderr
    assert all(method in done.stderr for method in METHODS)
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []
