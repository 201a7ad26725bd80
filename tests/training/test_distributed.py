"""Several processes do what one does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.two_processes import CASES

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def torchrun(count: int, *command: str) -> subprocess.CompletedProcess:
    launch = ("-m", "torch.distributed.run", f"--nproc_per_node={count}", f"--master_port={free_port()}")
    return subprocess.run(
        [sys.executable, *launch, *command], env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    """Of one process and of two."""
    files = [tmp_path_factory.mktemp("processes") / f"{n}.pt" for n in (1, 2)]
    script = str(ROOT / "tests" / "training" / "two_processes.py")
    one = subprocess.run([sys.executable, script, str(files[0])], env=environment(), capture_output=True, text=True)
    two = torchrun(2, script, str(files[1]))
    assert one.returncode == 0 and two.returncode == 0, one.stderr + two.stderr
    return [torch.load(file, weights_only=True) for file in files]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_half_a_batch_each_learn_as_one_with_the_whole(results, case):
    one, two = (result[case] for result in results)
    loss, weights = (1e-4, 0.02) if "float32" in case else (2e-6, 1e-5)
    names = [name for name in one["losses"][0] if name.startswith("loss")]
    assert len(one["losses"]) == len(two["losses"]) == 20 and names
    for ours, theirs in zip(one["losses"], two["losses"], strict=True):
        assert [ours[n] for n in names] == pytest.approx([theirs[n] for n in names], abs=loss)
    for ours, theirs in zip(one.get("validation", ()), two.get("validation", ()), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert float((one["moved"] - two["moved"]).norm() / one["moved"].norm()) < weights
    assert one["losses"][0]["learning_rate"] == two["losses"][0]["learning_rate"]
