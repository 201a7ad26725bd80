"""A short run of the scripted person (tests/viewer/person.py): the whole path in a browser, with a round of a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.calls import ROOT, run
from tests.viewer.large import bumpy_ball
from tests.viewer.person import CHROMIUM, make_task

pytest.importorskip("viser", reason="needs viser (pip install -e '.[view]')")
pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)")
def test_from_nothing_to_export(made_up_people, tiny, tmp_path):
    words = [str(made_up_people), "--out", str(tmp_path), "--shapes", "2", "--rounds", "1", "--clicks", "14"]
    settings = [*tiny, "views.channels=[rgb]", "training.finetune.steps=4", "~experiment", "data=folder", "device=cpu"]
    done = run("-m", "tests.viewer.person", *words, "--set", *settings, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "person.json").read_text())
    first, second = result["shapes"]
    assert [phase["after"] for phase in result["phases"]] == [
        f"labelling {first}",
        "round 1",
        "accepting the others",
        "correcting",
        "export",
    ]
    assert result["phases"][0]["shape"] > 30 and result["phases"][0]["on shapes"] > 0
    assert result["phases"][2]["clicks"] == result["phases"][1]["clicks"], "keys open shapes and accept"
    assert result["phases"][-1]["clicks"] <= 18 and 0 < result["without rounds"] <= 1
    with Image.open(tmp_path / "person.webp") as clip:
        assert clip.n_frames == len(list(tmp_path.glob("*.png"))) == 5
    labels = np.load(tmp_path / "meshes" / f"{second}_labels.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "view" / "export" / second / "labels.npy"), labels)


def test_labels_are_hidden_and_keep_their_meaning(made_up_people, tmp_path):
    split = json.loads((made_up_people / "split.json").read_text())
    id = split["test"][0]
    task = make_task(made_up_people, [id], tmp_path / "meshes")
    assert sorted(task.names) == sorted(split["labels"]) and not list(task.folder.glob("*labels*"))
    original = np.load(made_up_people / id / f"{id}_labels.npy")
    for label, known in zip(task.truth[id], original, strict=True):
        assert (label < 0 and known == 255) or task.names[label] == split["labels"][known]


def test_large_mesh(tmp_path):
    assert bumpy_ball(tmp_path / "meshes", 2) == 320
