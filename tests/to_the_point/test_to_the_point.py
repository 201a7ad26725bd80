"""To The Point on made-up birds, end to end in seconds: resumes bit for bit, every loss has its gradient, refuses bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from lightning_fabric import Fabric
from safetensors.torch import load_file

from mvdecor.captures import PhotographFolder
from mvdecor.captures.photo_batches import Crop, PhotoSource
from mvdecor.captures.render_settings import RendersSettings
from mvdecor.captures.template_renders import TemplateRenders
from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords
from mvdecor.made_up.birds import LABELS
from mvdecor.made_up.generate import write_template_renders
from mvdecor.shapes import read_mesh
from mvdecor.shapes.deformations import principal_deformations
from mvdecor.shapes.template import read_template
from mvdecor.systems import stage_of_system
from mvdecor.systems.to_the_point.finetune import Objective, step
from mvdecor.systems.to_the_point.model import Reconstructor, load_model
from mvdecor.systems.to_the_point.photos import photographs_of
from mvdecor.systems.to_the_point.settings import FinetuneSettings, ReconstructorSettings
from mvdecor.systems.to_the_point.stages import run_ceiling, run_evaluate, run_finetune, run_pipeline, run_pretrain
from mvdecor.systems.to_the_point.truth import TrueShapes, label_map
from tests.calls import Killed, become_ranks, killed_after, script
from tests.to_the_point.conftest import TINY

EXPERIMENTS = sorted(path.stem for path in Path(CONFIGS, "experiment").glob("ttp*.yaml"))


def test_the_figures_of_an_evaluation(stages):
    metrics = json.loads((stages / "measured" / "metrics.json").read_text())
    assert len(metrics["split"]["ids"]) == 3
    for result in (metrics, metrics["no_image"]):
        assert 0 <= result["mask_iou"] <= 1 and 0 <= result["rotation"]["median"] <= 180
        assert 0 <= result["pck"]["projected"]["0.1"] <= result["pck"]["projected"]["0.15"] <= 1
    assert metrics["no_image"]["pck"]["regressed"] is None and metrics["pck"]["regressed"] is not None
    assert sum(metrics["status"].values()) == 3
    assert 0 <= metrics["labels"]["miou"] <= 1
    assert (stages / "measured" / "figures" / "reconstructions.png").exists()


def test_the_ceiling_of_exact_positions(config, tmp_path):
    stiff, soft = (run_ceiling(config(tmp_path / g, f"reconstructor.solver.gamma={g}")) for g in ("1.0", "0.00001"))
    for result in (stiff, soft):
        assert result["pck"]["regressed"]["0.1"] == 1 and result["rotation"]["share_below_30"] == 1
        assert result["status"] == {"converged": 3}
    assert soft["mask_iou"] > stiff["mask_iou"] > 0.5
    with pytest.raises(InputError, match="needs made-up birds, or renders of a template"):
        run_ceiling(config(tmp_path / "ball", "template=file", f"template.file={_ball(tmp_path)}"))


def _ball(folder: Path) -> Path:
    trimesh.creation.icosphere(2).export(folder / "ball.obj")
    return folder / "ball.obj"


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_training_that_was_killed_resumes_bit_for_bit(config, stages, tmp_path, monkeypatch, stage):
    run, out = {"pretrain": (run_pretrain, "pretrain"), "finetune": (run_finetune, "tuned")}[stage]
    start = [] if stage == "pretrain" else [f"checkpoint={stages / 'pretrain' / 'model'}"]
    with killed_after(3):
        run(config(tmp_path, *start))
    run(config(tmp_path, *start))
    cut, whole = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path, stages / out))
    assert all(torch.equal(cut[name], values) for name, values in whole.items())


def test_an_evaluation_that_was_killed_is_finished_by_two_processes(config, stages, birds, tmp_path, monkeypatch):
    """After the first photograph of a batch of two; with the figures of an undisturbed one."""
    words = (f"checkpoint={stages / 'tuned' / 'model'}", "evaluation.split=all", "evaluation.limit=5")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = run_evaluate(config(whole, *words))
    write = ShapeRecords.write

    def write_and_die(self, id, record):
        write(self, id, record)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShapeRecords, "write", write_and_die)
        run_evaluate(config(cut, *words))
    assert len(list((cut / "measured").rglob("*.json"))) == 1
    shared = ("experiment=ttp_birds_cpu", *TINY, f"photographs.root={birds}", f"out={cut}", *words)
    first, second = become_ranks([script("evaluate", *shared)] * 2, tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "resuming after 1 of 5" in first.stdout and not (cut / "measured").exists()
    measured = json.loads((cut / "metrics.json").read_text())
    for name in ("mask_iou", "pck", "rotation", "surface", "labels", "status", "no_image"):
        assert measured[name] == expected[name], name


def test_a_template_without_symmetry_says_so_and_trains(config, birds, tmp_path, capsys):
    shape = read_mesh(birds / "template" / "template.obj")
    vertices = shape.vertices.clone()
    vertices[:, 0] += 0.6 * vertices[:, 1].clamp_min(0)
    trimesh.Trimesh(vertices.numpy(), shape.faces.numpy(), process=False).export(tmp_path / "leaning.obj")
    words = ("template=file", f"template.file={tmp_path / 'leaning.obj'}", "training.finetune.keypoints=false")
    run_pretrain(config(tmp_path / "pretrain", *words))
    run_finetune(config(tmp_path / "tuned", *words, f"checkpoint={tmp_path / 'pretrain' / 'model'}"))
    printed = capsys.readouterr().out
    assert "trains without mirrored copies" in printed and "no photograph or copy of one is mirrored" in printed


@pytest.fixture(scope="module")
def problem(config, tmp_path_factory):
    """A model whose positions are spread out, a batch of photographs, one of renders, and the settings."""
    cfg = config(tmp_path_factory.mktemp("problem"))
    template = read_template(cfg.template.file, cfg.template.keypoints)
    renders = RendersSettings.of(cfg.renders).make()
    basis = principal_deformations(template, renders.deformations, 3, torch.Generator().manual_seed(0), samples=20)
    torch.manual_seed(0)
    model = Reconstructor(ReconstructorSettings.of(cfg.reconstructor), template, basis)
    rendered = TemplateRenders(template, 32, 3, renders).sample(0, 0)
    with torch.no_grad():  # near the truth of one render, so that all fits converge
        model.regressor.head.bias.view(-1, 3)[:, :2] = rendered.positions[0].clamp(-0.95, 0.95).atanh()
    photographs, ids = photographs_of(cfg, "train", None)
    photos = PhotoSource(photographs, ids, list(template.keypoints), 32, 3, points=20).sample(0, 0)
    return model, photos, rendered, FinetuneSettings.of(cfg.training.finetune)


def run_step(model, photos, rendered, settings, **weights):
    zeros = dict.fromkeys(settings.weights.model_fields_set, 0.0)
    settings = settings.model_copy(update={"weights": settings.weights.model_copy(update=zeros | weights)})
    batches = {"photographs": photos} | ({} if rendered is None else {"renders": rendered})
    model.zero_grad()
    ((loss, figures),) = step(model, batches, Fabric(accelerator="cpu"), Objective(settings, model))
    loss.backward()
    return loss, figures


@pytest.mark.parametrize(
    ("name", "reaches"),
    [
        *((name, "head") for name in ("coverage", "outside", "equivariance", "visibility", "texture", "renders")),
        *(
            (name, "both")
            for name in ("mask", "reprojection", "edges", "keypoints", "deformation", "arap", "laplacian")
        ),
        ("basis", "basis"),
        ("basis_arap", "basis"),
    ],
)
def test_every_loss_reaches_what_it_is_about(problem, name, reaches):
    model, photos, renders, settings = problem
    loss, figures = run_step(model, photos, renders if name == "renders" else None, settings, **{name: 2.0})
    assert float(figures["converged"]) == 1
    assert float(loss.detach()) == pytest.approx(2 * float(figures[name].detach()), rel=1e-5)
    head, basis = model.regressor.head.weight.grad, model.basis.grad
    of_head = 0.0 if head is None else float(head.abs().sum())
    of_basis = 0.0 if basis is None else float(basis.abs().sum())
    assert (of_head > 0) == (reaches in ("head", "both")) and (of_basis > 0) == (reaches in ("basis", "both"))


@pytest.mark.parametrize("kind", ["joint", "rigid", "released"])
def test_the_solver_finds_cameras_of_exact_positions(problem, kind):
    model, _, renders, _ = problem
    solver = model.settings.solver.model_copy(update={"kind": kind})
    changed = Reconstructor(model.settings.model_copy(update={"solver": solver}), model.template, model.basis.detach())
    positions = model.vertices @ renders.rotation[:, :2].transpose(1, 2) * 0.7 + 0.1
    fit = changed.solve(positions, torch.ones(3, len(model.vertices)))
    torch.testing.assert_close(fit.rotation, renders.rotation, atol=2e-3, rtol=0)
    projected = fit.project(changed.deformed(fit))[..., :2]
    torch.testing.assert_close(projected, positions, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_runs_every_stage(name, make_config, birds, tmp_path):
    words = (
        "photographs=folder",
        f"photographs.root={birds}",
        "template=birds",
        "training.pretrain.steps=1",
        "training.finetune.steps=1",
        "evaluation.split=test",
        "training.finetune.split=train",
    )
    own = make_config(f"experiment={name}")
    table = run_pipeline(make_config(f"experiment={name}", *TINY, *words, f"out={tmp_path}"))
    assert table["rows"].keys() == {"no image", "pretrained", "fine-tuned"}
    metrics = json.loads((tmp_path / "to_the_point" / "run_0" / "metrics.json").read_text())
    assert metrics["mask_iou"] == table["rows"]["fine-tuned"]["mask_iou"]
    finetuned = json.loads((tmp_path / "to_the_point" / "run_0" / "finetune.json").read_text())
    assert bool(finetuned["keypoints"]) == own.training.finetune.keypoints


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("pretrain", "training.pretrain.steps=0", r"training\.pretrain\.steps=0: give a whole number of at least 1"),
        ("pretrain", "reconstructor.solver.kind=newton", r"kind=newton is unknown: choose joint, rigid or released"),
        ("pretrain", "reconstructor.basis=0", "set reconstructor.solver.kind=rigid"),
        ("pretrain", "renders.elevation=[0,99]", r"renders\.elevation"),
        ("pretrain", "checkpoint=x", "starts from initial weights"),
        ("pretrain", "template.file=nowhere.obj", "no such file"),
        ("pretrain", "reconstructor.encoder=resnet99", "timm has no model"),
        ("finetune", "seed=0", "give checkpoint=FOLDER"),
        ("finetune", "checkpoint=nowhere", r"nowhere: no model\.safetensors here"),
        ("finetune", "checkpoint=MODEL training.finetune.weights.keypoints=0", "leaves them out"),
        ("finetune", "checkpoint=MODEL photographs.root=nowhere", "nowhere"),
        ("evaluate", "checkpoint=MODEL evaluation.split=val", "has no list 'val'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(config, stages, tmp_path, stage, words, message):
    words = words.replace("MODEL", str(stages / "pretrain" / "model"))
    with pytest.raises(InputError, match=message) as caught:
        stage_of_system(f"run_{stage}")(config(tmp_path / "out", *words.split()))
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_refused(stages, tmp_path):
    content = (stages / "tuned" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_model(tmp_path)


def test_renders_of_any_mesh_are_photographs_to_train_and_evaluate_on(config, tmp_path):
    file = _ball(tmp_path)
    root = write_template_renders(tmp_path / "set", file, count=6, size=32, test_fraction=0.5)
    words = ("photographs=folder", f"photographs.root={root}", "template=file", f"template.file={file}")
    out = tmp_path / "run"
    table = run_pipeline(config(out, *words, "training.finetune.keypoints=false"))
    for row in table["rows"].values():
        assert 0 <= row["mask_iou"] <= 1 and 0 <= row["rotation"]["median"] <= 180
        assert row["pck"] == {"projected": None, "regressed": None}, "a ball has no keypoints"
        assert row["surface"]["chamfer"] > 0 and row["labels"] is None, "true surfaces are known, a ball has no parts"
    exact = ("reconstructor.solver.gamma=0.00001", "evaluation.points=4000")
    few, many = (
        run_ceiling(config(tmp_path / f"basis_{count}", *words, *exact, f"reconstructor.basis={count}"))
        for count in (3, 32)
    )
    assert many["mask_iou"] > few["mask_iou"] > 0.8 and many["surface"]["chamfer"] < few["surface"]["chamfer"]
    assert few["rotation"]["share_below_30"] == many["rotation"]["share_below_30"] == 1


def test_true_shapes_of_renders(birds, tmp_path):
    root = write_template_renders(
        tmp_path / "set", birds / "template" / "template.obj", count=3, size=32, test_fraction=0.4
    )
    truths = TrueShapes(root)
    shape = truths.shape("render_00001")
    assert shape.label_names == LABELS and shape.face_labels is not None
    torch.testing.assert_close(shape.vertices, torch.from_numpy(np.load(root / "vertices" / "render_00001.npy")))
    photograph = PhotographFolder(root).load("render_00001")
    whole = Crop(torch.zeros(3, 32, 32), photograph.mask, torch.zeros(0, 3), (0.0, 0.0), 32.0)
    assert ((label_map(shape, photograph, whole, 32) >= 0) != photograph.mask).sum() <= 1, (
        "it is what the picture shows"
    )
    assert truths.shape("render_00001", 642) is not None and truths.shape("render_00001", 641) is None
    assert truths.shape("nothing") is None and TrueShapes(tmp_path).shape("render_00001") is None
    np.save(root / "vertices" / "render_00001.npy", np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"render_00001\.npy: is not of the template"):
        truths.shape("render_00001")
    (root / "vertices" / "render_00001.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="write the renders again"):
        truths.shape("render_00001")
