"""The table of To The Point: every row composes and changes what it is about; a tiny one is filled and gathered again."""

import json
from pathlib import Path

import pytest

from mvdecor.apps.tables import read_table, run_table, table_stages
from mvdecor.systems.to_the_point.settings import check_config
from tests.to_the_point.conftest import TINY

CHANGED = {
    "to_the_point_patches": ("renders.parts", 0.0),
    "to_the_point_no_warm_up": ("training.pretrain.steps", 1),
    "to_the_point_no_mixing": ("training.finetune.weights.renders", 0.0),
    "to_the_point_rigid": ("reconstructor.solver.kind", "rigid"),
    "to_the_point_no_mask": ("training.finetune.weights.mask", 0.0),
    "to_the_point_no_mirror": ("training.finetune.mirror", False),
    "to_the_point_equivariance": ("training.finetune.weights.equivariance", 1.0),
    "to_the_point_no_cycle": ("training.finetune.weights.reprojection", 0.0),
    "to_the_point_released_solver": ("reconstructor.solver.scale", "deviation"),
    "to_the_point_released": ("reconstructor.solver.kind", "released"),
}


def test_every_row_composes(make_config):
    cfg = make_config("experiment=table_ttp_cpu", name="table")
    table = read_table(cfg)
    plan = table_stages(cfg, table, ["experiment=table_ttp_cpu"])
    tuned = [stage.cfg for stage in plan if stage.kind == "fine-tuning"]
    assert len(tuned) == len(table["methods"]) * 2 and set(table["methods"]) == {"to_the_point", *CHANGED}
    assert sum(stage.kind == "pretraining" for stage in plan) == 4, "ours, patches alone, no mirror images, none"
    for of_cell in tuned:
        check_config(of_cell)
        assert of_cell.training.finetune.keypoints == (of_cell.cell.column == "keypoints")
        if of_cell.method.name in CHANGED:
            key, expected = CHANGED[of_cell.method.name]
            changed, plain = of_cell, tuned[0]
            for word in key.split("."):
                changed, plain = changed[word], plain[word]
            assert changed == expected != plain


def test_a_table_is_run_and_gathered(make_config, birds, tmp_path):
    words = ["experiment=table_ttp_cpu", *TINY, f"photographs.root={birds}", f"out={tmp_path / 'table'}"]
    words += ["table.methods=[to_the_point,to_the_point_no_mixing]", "columns=[masks alone]"]
    cfg = make_config(*words, name="table")
    table = run_table(cfg, words)
    rows = {row["method"]: row["cells"] for row in table["grid"]["rows"]}
    for method, title in (
        ("to_the_point", "To The Point"),
        ("to_the_point_no_mixing", "no renders in the fine-tuning"),
    ):
        folder = tmp_path / "table" / "masks_alone" / method / "run_0"
        metrics = json.loads((folder / "metrics.json").read_text())
        cells = rows[title]
        assert cells["masks alone: rotation"]["mean"] == pytest.approx(metrics["rotation"]["median"])
        assert cells["masks alone: mask IoU"]["mean"] == pytest.approx(100 * metrics["mask_iou"])
        assert cells["masks alone: PCK@0.1"]["mean"] == pytest.approx(100 * metrics["pck"]["projected"]["0.1"])
    measures = "measures=[mask_iou,swaps]"
    words = [f"gather=[{tmp_path / 'table'}]", measures, f"out={tmp_path / 'gathered'}"]
    gathered = run_table(make_config(*words, name="table"), words)
    titles = [row["method"] for row in gathered["grid"]["rows"]]
    assert titles[:2] == ["To The Point, no image", "To The Point"] and len(titles) == 4
    assert "mask IoU" in Path(tmp_path / "gathered" / "table.md").read_text()
