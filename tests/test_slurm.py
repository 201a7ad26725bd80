"""scripts/slurm.sh on machines that are played by processes of this one."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.calls import PATIENCE, ROOT, environment

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for node in $(seq "$SLURM_NNODES"); do "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || exit 1; done
"""
# more names than a pipe holds: a reader that takes the first and ends would stop scontrol with SIGPIPE
SCONTROL = """#!/bin/bash
echo localhost
seq -f other-machine-%g 20000
"""


def unused_port() -> int:
    """A port that nothing uses, below those that the system hands out: none of the machine's programs takes it meanwhile."""
    first = 20000 + os.getpid() % 10000
    for port in range(first, 32768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("every port is in use")


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 2), (2, 1)])
def test_the_slurm_script_trains_on_one_and_on_several_machines(nodes, gpus, tiny, made_up_people, tmp_path):
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    port = unused_port()
    job = {"SLURM_JOB_NODELIST": "any", "SLURM_NNODES": str(nodes), "SLURM_GPUS_ON_NODE": str(gpus)}
    job |= {"SLURM_JOB_ID": str(port - 20000), "PYTHON": sys.executable, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    settings = ("experiment=people_cpu", "views.close_ups=0", *tiny, f"data.root={made_up_people}")
    words = ["pretrain", *settings, "training.pretrain.pairs=2", f"out={tmp_path / 'run'}"]
    run = subprocess.run(
        ["bash", "scripts/slurm.sh", *words],
        cwd=ROOT,
        env=environment(**job),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "run" / "pretrain.json").read_text())["machine"]["processes"] == 2
