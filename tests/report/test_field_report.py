"""The page of a run of Semantic SRN: its numbers, its objects, and what is refused."""

import json
import re

import numpy as np
import pytest

from mvdecor.apps.report import run_report
from mvdecor.apps.report.objects import objects_of
from mvdecor.errors import InputError
from mvdecor.lifting.points import labels_from_points
from tests.field_runs import IDS, overrides, write_balls, write_field_run


@pytest.fixture(scope="module")
def run(make_config, tmp_path_factory):
    root = write_balls(tmp_path_factory.mktemp("balls") / "balls")
    return write_field_run(tmp_path_factory.mktemp("run") / "out", make_config(*overrides(root)))


def test_the_page_shows_the_numbers_and_the_objects(run, make_config, tmp_path):
    page = run_report(make_config(f"run={run}", f"out={tmp_path / 'page.html'}", "shapes=1", name="report")).read_text()
    body = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for text in ("17.2", "42.0", "61.0", "33.0", "worst: ball_0", "best: ball_2", "part mIoU 50.0", "0123abcd"):
        assert text in body, text
    assert "ball_1 (" not in body
    assert body.count("data:image/png;base64,") == 2
    assert all(f'<section id="{name}">' in body for name in ("run", "results", "curves", "parts", "shapes", "turn"))
    assert "http" not in body.replace("http-equiv", "")
    one = run_report(
        make_config(f"run={run}/semantic_srn/run_0", f"out={tmp_path / 'b.html'}", "shapes=0", name="report")
    )
    assert "None were asked for" in one.read_text()


def test_objects_are_those_of_the_codes(run):
    folder = run / "semantic_srn" / "run_0"
    metrics = json.loads((folder / "metrics.json").read_text())
    worst, best = objects_of(folder, metrics, 1, None)
    assert (worst.id, best.id) == (IDS[0], IDS[2]) and worst.rank == "worst"
    assert worst.figures["part mIoU"] == 50.0 and worst.figures["PSNR"] > 0
    expected = labels_from_points(worst.shape, worst.points, worst.point_labels, 2, 9)
    assert float((worst.face_labels == expected).float().mean()) > 0.8  # the page's cloud is thinned out
    assert np.ptp(worst.picture) > 0


def test_data_that_moved_and_other_models_are_told(run, make_config, tmp_path):
    folder = run / "semantic_srn" / "run_0"
    metrics = json.loads((folder / "metrics.json").read_text())
    with pytest.raises(InputError, match="data_root=DIR"):
        objects_of(folder, metrics, 1, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is not the model"):
        objects_of(folder, metrics | {"weights_sha256": "0"}, 1, None)
