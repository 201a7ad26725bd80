"""Several processes do what one does."""

import pytest
import torch

from tests.calls import ROOT, become, become_ranks
from tests.engine.two_processes import CASES, STEPS

FOUR = ("negatives of all", "DeepLabV3+, five views and two pairs")
"""What four processes run, too: the second has three sizes of shares, and two processes without a pair."""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    """Of one process, of two and of four."""
    folder = tmp_path_factory.mktemp("processes")
    files = [folder / f"{n}.pt" for n in (1, 2, 4)]
    script = str(ROOT / "tests" / "engine" / "two_processes.py")
    done = [become([script, str(files[0])], files[0].parent)]
    done += become_ranks([[script, str(files[1])]] * 2, files[1].parent)
    done += become_ranks([[script, str(files[2]), *FOUR]] * 4, files[2].parent)
    assert not any(one.returncode for one in done), "".join(one.stderr for one in done)
    return [torch.load(file, weights_only=True) for file in files]


@pytest.mark.parametrize(("count", "case"), [*((2, case) for case in CASES), *((4, case) for case in FOUR)])
def test_processes_with_a_share_of_the_batch_each_learn_as_one_with_the_whole(results, count, case):
    one, two = results[0][case], results[{2: 1, 4: 2}[count]][case]
    loss, weights = (1e-4, 0.02) if "float32" in case else (2e-6, 1e-5)
    names = [name for name in one["losses"][0] if name.startswith("loss")]
    assert len(one["losses"]) == len(two["losses"]) == STEPS and names
    for ours, theirs in zip(one["losses"], two["losses"], strict=True):
        assert [ours[n] for n in names] == pytest.approx([theirs[n] for n in names], abs=loss)
    for ours, theirs in zip(one.get("validation", ()), two.get("validation", ()), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert float((one["moved"] - two["moved"]).norm() / one["moved"].norm()) < weights
    assert one["losses"][0]["learning_rate"] == two["losses"][0]["learning_rate"]
