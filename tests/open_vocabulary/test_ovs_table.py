"""The table of the open-vocabulary system: every row composes; a tiny one is filled, with the ways that need no training."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mvdecor.apps.tables import read_table, run_table, table_stages
from mvdecor.engine.cli import CONFIGS
from mvdecor.networks.small_text_image import CropTextNetwork, save_small_text_image
from mvdecor.systems.open_vocabulary.settings import check_config
from tests.open_vocabulary.test_ovs_experiments import TINY, FakeSentences

METHODS = sorted(path.stem for path in Path(CONFIGS, "method").glob("open_vocabulary*.yaml"))
OWN = [word for word in TINY if "text_image_training" not in word and not word.startswith("dense_image")]


def without(cfg, *keys: str):
    """Plain values of a configuration, less some dotted keys."""
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    for key in keys:
        group, _, leaf = key.rpartition(".")
        (OmegaConf.select(cfg, group) if group else cfg).pop(leaf)
    return cfg


@pytest.mark.parametrize("method", METHODS)
def test_a_method_changes_the_distillation_alone(method, make_config):
    words = ["system=open_vocabulary"]  # a room's recipe is that of one of the methods
    plain, cfg = make_config(*words), make_config(*words, f"method={method}")
    check_config(cfg)
    assert cfg.method.name == method
    own = ["method", "training.finetune", "dense_image"]
    assert without(plain, *own) == without(cfg, *own)
    if method != "open_vocabulary":
        assert plain.training.finetune != cfg.training.finetune or plain.dense_image != cfg.dense_image


def test_methods_of_a_room_share_its_field(make_config):
    cfg = make_config("experiment=table_ovs_cpu", name="table")
    table = read_table(cfg)
    plan = table_stages(cfg, table, ["experiment=table_ovs_cpu"])
    rooms = [column["name"] for column in table["columns"] if "mean_of" not in column]
    assert len(rooms) == 5 and sum(stage.kind == "pretraining" for stage in plan) == 5
    for stage in plan:
        if stage.kind == "evaluation":
            assert stage.cfg.id == stage.cfg.cell.column and stage.cfg.capture.seed == 0
    assert set(table["columns"][-1]["mean_of"]) == set(rooms)


def test_a_table_is_filled(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr("mvdecor.networks.small_text_image.SentenceEncoder", FakeSentences)
    torch.manual_seed(0)
    network = CropTextNetwork(8, FakeSentences.dimension, (4, 4, 4, 4))
    save_small_text_image(tmp_path / "model", network, FakeSentences.fingerprint, {})
    methods = "table.methods=[open_vocabulary_no_pairs,open_vocabulary_positions]"
    columns = "table.columns=[{name: seen, overrides: ['id=room_000']}, {name: new, overrides: ['id=held_out_000']}]"
    words = ["experiment=table_ovs_cpu", *OWN, methods, columns, "table.measures=[word_miou,part_miou]"]
    words += [f"out={tmp_path / 'table'}", f"text_image.folder={tmp_path / 'model'}"]
    table = run_table(make_config(*words, name="table"), words)
    rows = {row["method"]: row["cells"] for row in table["grid"]["rows"]}
    assert {"picture, cosine", "vote", "vote, scale 2", "RDA", "RDA + FDA of positions"} == rows.keys() - {
        "picture, relevancy",
        "vote, scale 0",
        "vote, scale 1",
    }
    folder = tmp_path / "table" / "new" / "open_vocabulary_no_pairs" / "run_0"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert rows["RDA"]["new: mIoU of words"]["mean"] == metrics["rows"]["distilled"]["miou"] == metrics["miou"]
    assert rows["vote"]["new: part mIoU"]["mean"] == metrics["rows"]["vote"]["part_miou"]
    assert rows["picture, cosine"]["new: part mIoU"]["mean"] is None
