"""Every small experiment of Semantic SRN composes and runs a step of every stage."""

import json

import pytest

from mvdecor.systems.semantic_srn.stages import run_pipeline

TINY = (
    *("capture.count=4", "capture.size=16", "device=cpu", "progress=false"),
    *("field.code_size=6", "field.width=8", "field.hypernetwork_width=8", "field.steps=2", "field.generator_layers=2"),
    *("training.pretrain.steps=1", "training.pretrain.objects=2", "training.pretrain.rays=16"),
    *("training.finetune.steps=1", "training.finetune.k=2", "training.finetune.v=2", "training.finetune.rays=16"),
    *("evaluation.steps=1", "evaluation.rays=8", "evaluation.search=4", "evaluation.measured=2"),
    *("evaluation.limit=1", "evaluation.points=100", "evaluation.clouds=0"),
)
PARTS = {"chairs": 4, "chairs_textured": 4, "tables": 3, "lamps": 5, "people": 13}


@pytest.mark.parametrize("name", PARTS)
def test_experiment_runs_every_stage(name, make_config, made_up_people, tmp_path):
    data = ["data.generate.count=12", "data.generate.test_fraction=0.2", f"data.root={tmp_path / 'shapes'}"]
    if name == "people":
        data = [f"data.root={made_up_people}", "evaluation.views=[1]"]  # there is no view 14 of 5
    own = make_config(f"experiment=srn_{name}_cpu")
    cfg = make_config(f"experiment=srn_{name}_cpu", *TINY, *data, f"out={tmp_path / 'out'}")
    for key in ("renderer", "colour_code_size", "harmonics"):
        assert cfg.field[key] == own.field[key]
    table = run_pipeline(cfg)
    assert [row["method"] for row in table["rows"]] == ["mean_code", "semantic_srn"]
    metrics = json.loads((tmp_path / "out/semantic_srn/run_0/metrics.json").read_text())
    assert len(metrics["parts"]) == PARTS[name] and len(metrics["split"]["ids"]) == 1
    captures = json.loads((tmp_path / "out/pretrain/pretrain.json").read_text())["captures"]
    assert not set(captures) & set(metrics["split"]["ids"])
