"""Every experiment of configs/experiment composes and runs a step of every stage, on tiny data in the true format."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mvdecor.engine.cli import CONFIGS
from mvdecor.shapes import PartNet
from mvdecor.systems.mvdecor.stages import run_pipeline
from tests.partnet_e_files import write_partnet_e_like
from tests.shapenet_files import SYNSETS, write_lists, write_shape

EXPERIMENTS = sorted(path.stem for path in Path(CONFIGS, "experiment").glob("*.yaml"))
# tables: tests/test_tables.py; other systems: tests/semantic_srn, tests/to_the_point, tests/open_vocabulary
RUNS = [name for name in EXPERIMENTS if not name.startswith(("table", "srn", "ttp", "ovs"))]


def data_overrides(data: str, partnet: Path, people: Path, folder: Path) -> list[str]:
    """Overrides that put made-up shapes in the place of an experiment's data."""
    if data == "generated":  # writes its own shapes
        return [f"data.root={folder / 'generated'}", "data.generate.count=12"]
    if data == "partnet":
        return [f"data.root={partnet}", "data.category=Chair", "data.splits=official"]
    if data == "folder":
        for scan in (path for path in people.iterdir() if path.is_dir()):
            shutil.copytree(scan, folder / "meshes", dirs_exist_ok=True)
        shutil.copy(people / "split.json", folder / "meshes")
        return [f"data.root={folder / 'meshes'}"]
    if data == "partnet_e":
        return [f"data.root={write_partnet_e_like(people, folder / 'partnet_e')}", "data.category=Chair"]
    if data == "shapenet_part":
        return shapenet_part(partnet, folder)
    assert data == "renderpeople", f"no made-up shapes for the data config {data}"
    return [f"data.root={people}"]


def shapenet_part(partnet: Path, folder: Path) -> list[str]:
    """Some of the made-up chairs as ShapeNetPart has them."""
    chairs = PartNet(partnet, "Chair", 1)
    lists = {split: chairs.ids(split)[:3] for split in ("train", "test")}
    for id in (id for ids in lists.values() for id in ids):
        chair = chairs.load(id)
        known = chair.face_labels >= 0
        labels = torch.where(known, chair.face_labels % 4, -1)
        write_shape(folder / "parts", folder / "meshes", replace(chair, face_labels=labels), "Chair")
    write_lists(folder / "parts", **{split: [f"{SYNSETS['Chair']}/{id}" for id in ids] for split, ids in lists.items()})
    return [f"data.root={folder / 'parts'}", f"data.meshes={folder / 'meshes'}"]


@pytest.mark.parametrize("name", RUNS)
def test_experiment_runs_every_stage(name, make_config, tiny, made_up_partnet, made_up_people, tmp_path):
    own = make_config(f"experiment={name}")
    overrides = [x for x in tiny if not x.startswith("network")]
    if own.network._target_.endswith("UNet"):
        overrides += ["network.decoder_channels=[16,16,16]"]
    else:
        overrides += ["network.encoder=resnet18"]
    overrides += [f"views.close_ups={min(own.views.close_ups, 1)}", f"out={tmp_path / 'out'}"]
    overrides += data_overrides(own.data.name, made_up_partnet, made_up_people, tmp_path)
    cfg = make_config(f"experiment={name}", *overrides)
    for key in ("network._target_", "views.channels", "views.layers", "views.keep", "lifting", "loss"):
        group, _, leaf = key.partition(".")
        assert (cfg[group][leaf] if leaf else cfg[group]) == (own[group][leaf] if leaf else own[group]), key

    table = run_pipeline(cfg)

    assert [row["method"] for row in table["rows"]] == ["scratch", "pretrained"]
    for row in table["rows"]:
        folder = tmp_path / "out" / row["method"] / "run_0"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert row["part_miou_mean"] == metrics["part_miou"] <= metrics["ceiling"]["part_miou"]
        (id,) = metrics["split"]["ids"]
        labels = np.load(folder / "labels" / f"{id}.npy")
        assert set(labels.tolist()) <= set(range(len(metrics["parts"]))) and len(labels) > 100
    assert (tmp_path / "out" / "model" / "model.safetensors").exists()


def test_experiments_do_not_share_a_folder(make_config):
    """Two experiments with the same `out` would refuse each other's results."""
    folders = [make_config(f"experiment={name}").out for name in EXPERIMENTS]
    assert all(folder.startswith("outputs/") for folder in folders)
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("partnet", {"views.count": 86, "views.size": 256, "views.layers": 1, "training.finetune.k": 10}),
        ("partnet", {"training.finetune.lambda_ssl": 0.001, "training.pretrain.points": 4000, "data.level": 3}),
        (
            "partnet",
            {"training.finetune.steps": 4000, "training.pretrain.schedule": "plateau", "data.on_error": "raise"},
        ),
        ("renderpeople", {"views.channels": ["rgb"], "network.encoder": "resnet50", "network.weights": None}),
        ("renderpeople_geometry", {"views.channels": ["rgb", "depth", "normal"], "evaluation.points": 30000}),
        ("people_cpu", {"views.channels": ["rgb"], "training.finetune.k": 3, "training.finetune.runs": 3}),
        ("people_cpu", {"data.pretrain_split": "train"}),
        ("partnet_e", {"training.finetune.k": 8, "evaluation.protocol": "partnet", "data.other": True}),
        ("partnet_e", {"views.channels": ["rgb", "depth", "normal"], "network.encoder": "resnet50"}),
        ("shapenet_part", {"training.finetune.k": 27, "evaluation.protocol": "shapenet", "views.count": 86}),
    ],
)
def test_experiment_keeps_what_its_table_is_about(name, expected, make_config):
    """Settings that the paper's tables, or the issue's figures, are defined by."""
    cfg = make_config(f"experiment={name}")
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected
