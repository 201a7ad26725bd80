"""Which device and precision are taken, and that a run on the CPU leaves the GPUs of its machine alone."""

import pytest
import torch

from mvdecor.apps.doctor import examine_installation
from mvdecor.engine.device import open_device
from mvdecor.engine.loop import Loop
from mvdecor.engine.snapshots import Snapshots
from mvdecor.losses import InfoNCE
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune
from tests.gpu.device_runs import CutOff, Stop, shape_views_on
from tests.gpu.simulated_cuda import simulated_cuda
from tests.systems.test_loops import RENDERING, model, pretrain

TOUCHING = ("_lazy_init", "get_rng_state", "get_rng_state_all", "set_rng_state", "get_device_name", "synchronize")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        *(((12, 0), "bf16-mixed"), ((9, 0), "bf16-mixed"), ((8, 0), "bf16-mixed")),
        *(((7, 5), "16-mixed"), ((7, 0), "16-mixed"), ((6, 1), "32-true")),
    ],
)
def test_precision_is_one_that_the_gpu_computes_in(capability, precision):
    with simulated_cuda(capability=capability):
        fabric = open_device("auto", "auto")
        assert fabric.device.type == "cuda" and fabric.strategy.precision.precision == precision
        assert open_device("cuda", "32-true").strategy.precision.precision == "32-true"


def test_a_run_on_the_cpu_touches_no_gpu(tiny, made_up_people, make_config, tmp_path, monkeypatch):
    words = ("experiment=people_cpu", "views.close_ups=0", *tiny, f"data.root={made_up_people}", "save_every=1")
    with simulated_cuda() as counts, monkeypatch.context() as patch:
        for name in TOUCHING:
            patch.setattr(torch.cuda, name, lambda *_, name=name, **__: pytest.fail(f"torch.cuda.{name} was called"))
        patch.setattr(torch.cuda, "is_initialized", lambda: False)
        model = tmp_path / "tuned" / "model"
        run_finetune(make_config(*words, "training.finetune.steps=2", f"out={tmp_path / 'tuned'}"))
        run_evaluate(make_config(*words, f"checkpoint={model}", f"out={tmp_path / 'measured'}"))
        assert counts.placed == 0 and not counts.rasterized


@pytest.mark.parametrize(("machines", "told"), [(1, False), (2, True)])
def test_on_gpus_a_step_waits_ten_minutes_for_a_lost_process_and_several_machines_are_told(
    machines, told, monkeypatch, capsys
):
    place = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": str(2 // machines),
        "RANK": "0",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "0",
    }
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lightning_fabric.Fabric.launch", lambda self: None)
    monkeypatch.setattr("mvdecor.engine.device.open_barrier", lambda: None)
    with simulated_cuda(gpus=2):
        strategy = open_device("cuda").strategy
    assert strategy._timeout.total_seconds() == 600  # type: ignore[attr-defined]
    assert ("aborted after at most 10 minutes" in capsys.readouterr().out) == told


def test_a_training_is_resumed_with_fewer_gpus(tmp_path):
    def run(snapshots: Snapshots, at: int | None = None):
        net, pairs = model().to("cuda"), PairSource(shape_views_on("cuda"), RENDERING, 1, 60)
        loop = Loop(open_device("cuda", "32-true"), CutOff(at), snapshots)
        return pretrain(loop, net, pairs, pairs, InfoNCE(), steps=3, validate_every=3, validation_batches=1)

    with simulated_cuda(gpus=8), pytest.raises(Stop):
        run(Snapshots(tmp_path, 2), at=2)
    with simulated_cuda():
        snapshots = Snapshots(tmp_path, 2)
        assert snapshots.step == 2
        assert run(snapshots).validations == run(Snapshots()).validations


def test_the_doctor_tries_each_part_on_the_gpu():
    with simulated_cuda(capability=(7, 5)):
        findings = {f.what: f for f in examine_installation()}
    assert not [f for f in findings.values() if f.ok is False]
    assert {"CUDA", "matching on CUDA", "network on CUDA", "precision on CUDA"} <= findings.keys()
    assert findings["matching on CUDA"].says == findings["matching"].says
    assert "16-mixed" in findings["precision on CUDA"].says
