"""The page of a run of To The Point shows its figures and its pictures."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from mvdecor.apps.report import run_report
from mvdecor.errors import InputError


@pytest.fixture
def run(make_config, tmp_path):
    cfg = make_config("experiment=ttp_birds_cpu")
    figures = {
        "mask_iou": 0.721,
        "pck": {"projected": {"0.1": 0.634, "0.15": 0.7}, "regressed": None},
        "rotation": {"median": 17.3, "mean": 30.0, "share_below_30": 0.583, "front_back_swaps": 0.125},
        "surface": None,
        "labels": {"miou": 0.333, "iou": [0.3]},
        "mask_ious": {"a": 0.7, "b": 0.742},
    }
    about = {
        "config": {"system": cfg.system, "data": {}},
        "category": "PhotographFolder",
        "seed": 0,
        "revision": "0123abcd",
    }
    about["cost"] = {"wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_gb": {}}
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(folder / "figures" / "reconstructions.png")
    metrics = {**figures, **about, "no_image": {**figures, "mask_iou": 0.419}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_the_page_shows_figures_and_pictures(run, make_config, tmp_path):
    words = f"run={run}", f"out={tmp_path / 'page.html'}"
    page = run_report(make_config(*words, name="report")).read_text()
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for text in ("72.1", "41.9", "63.4", "17.3", "58.3", "12.5", "33.3", "0123abcd", "no training is in this folder"):
        assert text in body, text
    assert body.count("data:image/png;base64,") == 1
    (run / "metrics.json").write_text('{"config": {"system": "to_the_point"}}')
    with pytest.raises(InputError, match="not a whole result"):
        run_report(make_config(*words, name="report"))
