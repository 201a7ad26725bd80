"""lifting.smooth reaches evaluation, ceiling and segment; without it their results are those of before."""

import json

import numpy as np

from mvdecor.engine.record import settings_of
from mvdecor.segmenter import Segmenter
from mvdecor.systems.mvdecor import keys
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune


def test_evaluate_and_segment_smooth_alike_and_only_if_asked(make_config, tiny, made_up_people, tmp_path):
    own = ["experiment=people_cpu", *tiny, f"data.root={made_up_people}", "views.close_ups=0"]
    run_finetune(make_config(*own, f"out={tmp_path / 'tuned'}"))
    model = tmp_path / "tuned" / "model"
    labels, results = {}, {}
    for name, overrides in {"plain": [], "smooth": ["lifting.smooth=0.3"]}.items():
        cfg = make_config(*own, *overrides, f"out={tmp_path / name}", f"checkpoint={model}")
        results[name] = run_evaluate(cfg)
        (id,) = results[name]["split"]["ids"]
        labels[name] = np.load(tmp_path / name / "labels" / f"{id}.npy")
    assert (labels["plain"] != labels["smooth"]).any()
    assert results["plain"]["coverage"] == results["smooth"]["coverage"]
    settings = {name: json.loads((tmp_path / name / "metrics.json").read_text())["key"]["settings"] for name in labels}
    assert not {"lifting.smooth", "lifting.crease"} & settings["plain"].keys()
    assert settings["smooth"]["lifting.smooth"] == 0.3 and settings["smooth"]["lifting.crease"] == 40

    segmenter = Segmenter(model, lifting={"smooth": 0.3})
    assert "lifting.smooth" in settings_of(
        segmenter.config, ("lifting", *keys.without_smoothing(segmenter.config.lifting))
    )
    mesh = next(made_up_people.glob(f"{id}/*.obj"))
    calm, plain = (x.segment(mesh).labels for x in (segmenter, Segmenter(model)))
    assert (calm != plain).any()
