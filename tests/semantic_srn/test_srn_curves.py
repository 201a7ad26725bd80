"""scripts/curves.py: a point per number of label maps and of given views, each as the stages alone give it."""

import json

import pytest

from mvdecor.apps.curves import run_curves
from mvdecor.errors import InputError
from mvdecor.figures.measured_curves import plot_measured_curves
from mvdecor.systems.semantic_srn.stages import run_evaluate, run_finetune, run_pretrain

TINY = (
    *("experiment=srn_chairs_cpu", "data.generate=null", "capture.count=4", "capture.size=16", "device=cpu"),
    *("field.code_size=6", "field.width=8", "field.hypernetwork_width=8", "field.steps=2", "field.generator_layers=2"),
    *("training.pretrain.steps=2", "training.pretrain.objects=2", "training.pretrain.rays=16", "progress=false"),
    *("training.finetune.steps=2", "training.finetune.k=2", "training.finetune.v=2", "training.finetune.rays=16"),
    *("evaluation.steps=2", "evaluation.rays=8", "evaluation.search=4", "evaluation.measured=3"),
    *("evaluation.limit=1", "evaluation.points=100", "evaluation.clouds=0", "evaluation.views=null"),
)


def test_the_points_of_the_curves(make_config, made_up_partnet, tmp_path):
    words = (*TINY, f"data.root={made_up_partnet}")
    run_pretrain(make_config(*words, f"out={tmp_path / 'pretrain'}"))
    start, curves = f"checkpoint={tmp_path / 'pretrain/model'}", "curves={maps:[[1,2],[2,2]],views:[1,4]}"
    result = run_curves(make_config(*words, start, curves, f"out={tmp_path / 'curves'}", name="curves"))
    rows = result["rows"]
    assert [(row["given"], row["number"]) for row in rows] == [
        ("label maps", 2),
        ("label maps", 4),
        ("given views", 1),
        ("given views", 4),
    ]
    assert rows[3]["psnr"] is None and rows[3]["part_miou"] is not None  # all views are given
    run_finetune(make_config(*words, start, f"out={tmp_path / 'tuned'}"))
    alone = run_evaluate(make_config(*words, f"checkpoint={tmp_path / 'tuned/model'}", f"out={tmp_path / 'tuned'}"))
    for row in rows[1:3]:  # the experiment's own label maps and view
        assert row["psnr"] == alone["images"]["psnr"] and row["part_miou"] == alone["part_miou"]
        assert row["label_miou"] == alone["images"]["labels"]["miou"]
    assert json.loads((tmp_path / "curves/curves.json").read_text())["rows"] == rows
    assert (tmp_path / "curves/curves.png").exists()
    assert result["head"].keys() == {"seen", "others"} and all(0 <= miou <= 100 for miou in result["head"].values())
    alone = run_curves(
        make_config(*words, start, "curves={maps:[],views:[]}", f"out={tmp_path / 'head'}", name="curves")
    )
    assert alone["head"] == result["head"] and not (tmp_path / "head/curves.png").exists()


def test_curves_need_a_checkpoint(make_config, tmp_path):
    with pytest.raises(InputError, match="give checkpoint=FOLDER"):
        run_curves(make_config(*TINY, f"out={tmp_path}", name="curves"))


def test_panels_are_side_by_side():
    one, two = ({name: {"part mIoU": [(1, 50.0), (10, 70.0)]} for name in names} for names in (["a"], ["a", "b"]))
    assert plot_measured_curves(two).shape[1] == 2 * plot_measured_curves(one).shape[1]
