"""Which device a stage opens."""

import pytest

from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import open_barrier
from mvdecor.errors import InputError


def test_plain_python_within_a_slurm_job_of_several_tasks_is_one_process(monkeypatch):
    """As where an interactive job has them, and the script is started without srun."""
    job = {"NTASKS": "2", "NTASKS_PER_NODE": "2", "JOB_ID": "7", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0"}
    for name, value in {**job, "NODEID": "0", "NODELIST": "node[1-2]", "JOB_NODELIST": "node[1-2]"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert open_device("cpu", "32-true").world_size == 1
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    assert open_device("cpu", "32-true").world_size == 1


@pytest.mark.parametrize(
    ("device", "count", "words"),
    [
        ("cuda:1", 0, "device=cuda:1, but PyTorch sees no CUDA device here"),
        ("cuda:2", 2, "device=cuda:2: PyTorch sees 2 CUDA devices, the first is cuda:0"),
        ("cuda:", 2, "is unknown"),
        ("cuda:-1", 2, "is unknown"),
        ("cpu:0", 2, "is unknown"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(device, count, words, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(InputError, match=words):
        open_device(device)


def test_machines_that_cannot_be_connected_are_no_lost_process(monkeypatch):
    def refuse(**_):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:1] connect: Connection refused")

    monkeypatch.setattr("torch.distributed.new_group", refuse)
    with pytest.raises(InputError, match="set GLOO_SOCKET_IFNAME to the network interface"):
        open_barrier()
