"""Loops, prediction, segmentation, viewer, figures and benchmark on the simulated device give what they give on the CPU."""

import pytest
import torch
import trimesh
from octants import save_octants

import mvdecor
from mvdecor.apps.benchmark import solvers
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.run import run_benchmark
from mvdecor.engine.device import open_device
from mvdecor.engine.loop import Loop
from mvdecor.engine.snapshots import Snapshots
from mvdecor.losses import InfoNCE
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor import pictures
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.embedder import Embedder
from mvdecor.systems.mvdecor.predict import predict_faces
from tests.benchmark.test_benchmark import TINY
from tests.gpu.device_runs import CutOff, Stop, on_both, shape_views_on, some_gpu
from tests.systems.test_loops import RENDERING, Recorder, finetune, model, pretrain

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def precision_on(device: str, precision: str) -> str:
    """The CPU has no float16 with a scaler."""
    return "32-true" if device == "cpu" and precision == "16-mixed" else precision


def assert_same_losses(on_device: list[float], on_cpu: list[float], precision: str) -> None:
    compared = 1 if precision == "16-mixed" else None  # the scaler leaves out the first steps
    assert on_device[:compared] == pytest.approx(on_cpu[:compared], abs=1e-3 if precision == "32-true" else 0.3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pretraining(precision):
    def run(device):
        net, log = model().to(device), Recorder()
        pairs, unseen = (PairSource(shape_views_on(device, n), RENDERING, 2, 60) for n in (2, 1))
        loop = Loop(open_device(device, precision_on(device, precision)), log)
        pretrain(loop, net, pairs, unseen, InfoNCE(), steps=3, validate_every=2, validation_batches=1)
        assert len(log.figures["pretrain/validation"]) == 2
        return [figures["loss"] for figures in log.figures["pretrain"]]

    assert_same_losses(*on_both(run), precision)


@pytest.mark.parametrize(("precision", "joint"), [*((p, True) for p in PRECISIONS), ("32-true", False)])
def test_finetuning_and_prediction(precision, joint):
    def run(device):
        net, log, stage = model(3).to(device), Recorder(), shape_views_on(device, 2)
        fabric = open_device(device, precision_on(device, precision))
        labelled, pairs = (
            LabelledSource(stage, RENDERING, [range(8)] * 2, batch_size=4),
            PairSource(stage, RENDERING, 2, 60),
        )
        finetune(Loop(fabric, log), net, labelled, pairs, InfoNCE(), steps=2, lambda_ssl=0.1, joint=joint)
        found = predict_faces(fabric, net.eval(), stage, stage[0], RENDERING, batch_size=4)
        return [figures["loss_segmentation"] for figures in log.figures["finetune"]], found.labels

    (on_device, labels), (on_cpu, expected) = on_both(run)
    assert_same_losses(on_device, on_cpu, precision)
    if precision == "32-true":
        assert float((labels == expected).float().mean()) > 0.98


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("loop", ["pretrain", "finetune"])
def test_a_training_that_was_cut_off_is_resumed(loop, precision, tmp_path):
    """With the usual interval between scalars: losses that were not logged are on the device when a state is saved."""

    def run(folder, at=None):
        stage, fabric = shape_views_on("cuda", 2), open_device("cuda", precision)
        if precision == "16-mixed":
            fabric._precision.scaler.set_growth_interval(2)  # so that the factor changes within a short run
        net = model(None if loop == "pretrain" else 3).to("cuda")
        on = Loop(fabric, CutOff(at), Snapshots(folder, 2))
        if loop == "pretrain":
            pairs = PairSource(stage, RENDERING, 1, 60)
            history = pretrain(on, net, pairs, pairs, InfoNCE(), steps=5, validate_every=3, validation_batches=1)
        else:
            labelled = LabelledSource(stage, RENDERING, [range(8)] * 2, batch_size=4)
            history = finetune(on, net, labelled, None, InfoNCE(), steps=5)
        return history.steps, [w.cpu() for w in net.state_dict().values()], fabric

    with some_gpu() as simulated:
        with pytest.raises(Stop):
            run(tmp_path / "state", at=3)
        assert [p.name for p in (tmp_path / "state").iterdir()] == ["step_000000002.pt"]
        resumed, weights, fabric = run(tmp_path / "state")
        undisturbed, expected, other = run(None)
        equal = {} if simulated else {"rtol": 0.1, "atol": 0.02}  # sums on a GPU differ from run to run
        torch.testing.assert_close(resumed, undisturbed, **equal)
        tolerance = {"rtol": 0, "atol": 0} if simulated else equal
        torch.testing.assert_close(weights, expected, **tolerance)
        if precision == "16-mixed":  # the factor by which losses are scaled is part of the state
            scales = [f._precision.scaler.get_scale() for f in (fabric, other)]
            assert scales[0] == scales[1] != 2.0**16


def test_segmentation_and_the_viewers_embedder(tmp_path):
    folder = save_octants(tmp_path / "model")
    mesh = trimesh.creation.icosphere(2)

    def run(device):
        segmenter = mvdecor.load(folder, device=device, precision="32-true")
        assert segmenter.fabric.device.type == device
        found = segmenter.segment(mesh)
        embedder = Embedder(folder, device, "32-true")
        ball = Shape.from_trimesh(mesh, "ball").normalized()
        return found.labels, found.confidence, embedder.on_faces(ball), embedder.similarity(ball, 0, ball)

    on_device, on_cpu = on_both(run)
    assert torch.equal(on_device[0], on_cpu[0])
    torch.testing.assert_close(on_device[1:], on_cpu[1:], rtol=1e-3, atol=1e-3)


def test_figures():
    def run(device):
        stage, fabric = shape_views_on(device, 2), open_device(device, "32-true")
        pairs, labelled = PairSource(stage, RENDERING, 2, 60), LabelledSource(stage, RENDERING, [range(8)] * 2, 4)
        net = model(3).to(device)
        return [
            *(pictures.channels_sheet(pairs), pictures.matches_sheet(pairs)),
            *(pictures.predictions_sheet(fabric, net, labelled), pictures.embeddings_sheet(fabric, net, pairs)),
        ]

    for ours, theirs in zip(*on_both(run), strict=True):
        assert ours.shape == theirs.shape
        assert (abs(ours.astype(int) - theirs) > 8).mean() < 0.01


def test_the_benchmark_runs(make_config, tmp_path, capsys, monkeypatch):
    """All rows but those of the CPU and the disk; each checks its result against a slow version; no time is asserted."""
    on_cpu = ("match", "cache_people", "cache_partnet", "memory_rendered_10x", "memory_stored_10x")
    again = ("step_10x", "memory_100x", "step_100x")  # nothing that pretrain_step and memory_10x do not run
    elsewhere = tuple(solvers.ROWS)  # tests/gpu/test_reconstruction_on_device.py
    names = [name for name in ROWS if name not in (*on_cpu, *again, *elsewhere)]
    cfg = make_config(
        *TINY, "device=cuda", "steps=1", f"rows=[{','.join(names)}]", f"json={tmp_path}/a.json", name="benchmark"
    )
    with some_gpu() as simulated:
        if simulated:
            monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *_: 1000)  # its memory is not simulated
        rows = run_benchmark(cfg)
    assert [row.row for row in rows] == names
    if simulated:
        assert {row.device for row in rows} == {"simulated"}
    assert "hours on 32" in capsys.readouterr().out
