"""Semantic SRN on made-up chairs, end to end in seconds: resumes bit for bit, moves only the code, refuses bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import mvdecor
from mvdecor.apps.tables import run_table
from mvdecor.captures import RaySource, make_capture_set, pixel_rays
from mvdecor.captures.ray_batches import outline_of
from mvdecor.engine.cli import compose_config
from mvdecor.engine.loader import batches
from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords
from mvdecor.fields import (
    ConditionalField,
    FieldSettings,
    InferenceSettings,
    codes_of_captures,
    infer,
    load_field,
    views,
)
from mvdecor.image_segmenter import turntable
from mvdecor.shapes.splits import read_split
from mvdecor.systems import stage_of_system
from mvdecor.systems.semantic_srn.stages import run_evaluate, run_finetune, run_pipeline, run_pretrain
from tests.calls import Killed, become_ranks, call, killed_after, script
from tests.capture_files import HEIGHT, WIDTH, some_cameras, some_images, write_srn
from tests.faults import contents

TINY = (
    *("experiment=srn_chairs_cpu", "data.generate=null", "capture.count=5", "capture.size=20", "save_every=2"),
    *("field.code_size=8", "field.width=12", "field.hypernetwork_width=12", "field.steps=3", "field.samples=4"),
    *("training.pretrain.steps=6", "training.pretrain.objects=3", "training.pretrain.rays=24"),
    *("training.finetune.steps=4", "training.finetune.k=2", "training.finetune.rays=24"),
    *(
        "evaluation.steps=3",
        "evaluation.rays=16",
        "evaluation.search=8",
        "evaluation.measured=3",
        "evaluation.points=300",
    ),
    *("evaluation.limit=2", "evaluation.clouds=1", "evaluation.views=null", "device=cpu", "progress=false"),
)


@pytest.fixture(scope="module")
def config(make_config, made_up_partnet):
    return lambda out, *more: make_config(*TINY, f"data.root={made_up_partnet}", f"out={out}", *more)


@pytest.fixture(scope="module")
def stages(config, tmp_path_factory) -> Path:
    """A folder with the results of the three stages in `pretrain`, `tuned` and `measured`."""
    out = tmp_path_factory.mktemp("stages")
    run_pretrain(config(out / "pretrain"))
    run_finetune(config(out / "tuned", f"checkpoint={out / 'pretrain' / 'model'}"))
    run_evaluate(config(out / "measured", f"checkpoint={out / 'tuned' / 'model'}"))
    return out


def test_the_figures_of_an_evaluation(stages):
    metrics = json.loads((stages / "measured" / "metrics.json").read_text())
    assert len(metrics["parts"]) == 4
    assert len(metrics["split"]["ids"]) == 2 and metrics["category"] == "Chair"
    for result in (metrics, metrics["mean_code"]):
        images = result["images"]
        assert 0 <= result["part_miou"] <= 100 and images["psnr"] > 0 and images["depth_error"] > 0
        shown = sum(view in (0, 1, 3) for views in metrics["given"]["views"].values() for view in views)
        assert images["views"]["shown"] == shown and images["views"]["pictures"] == 6 - shown
        assert images["labels"]["iou"].keys() == {*metrics["parts"], "background"}
    id = metrics["split"]["ids"][0]
    cloud = (stages / "measured" / "clouds" / f"{id}.ply").read_bytes()
    count = int(cloud.split(b"element vertex ")[1].split()[0])
    assert 0 < count <= 3 * 20 * 20 and len(cloud.split(b"end_header\n", 1)[1]) == 23 * count
    assert (stages / "measured" / "figures" / f"{id}.png").exists()


def test_fine_tuning_moves_the_head_alone(stages):
    before, after = (load_file(stages / name / "model" / "model.safetensors") for name in ("pretrain", "tuned"))
    assert after.keys() - before.keys() == {"head.weight", "head.bias"}
    for name, values in before.items():
        assert torch.equal(after[name], values), name


UNET = ("training.finetune.head=unet", "training.finetune.points=false")


def test_a_unet_head_end_to_end(config, stages, tmp_path, monkeypatch):
    """Killed and resumed; only the head moves, each labelled view is rendered once; one image gives views of any size."""
    words, rendered = (*UNET, f"checkpoint={stages / 'pretrain' / 'model'}"), []
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    render = views.render_rays
    monkeypatch.setattr(views, "render_rays", lambda *arguments: rendered.append(1) or render(*arguments))
    run_finetune(config(whole, *words, "training.finetune.steps=12"))
    assert 1 < len(rendered) <= 6
    with killed_after(7):
        run_finetune(config(cut, *words, "training.finetune.steps=12"))
    run_finetune(config(cut, *words, "training.finetune.steps=12"))
    files = [folder / "model" / "model.safetensors" for folder in (stages / "pretrain", whole, cut)]
    before, after, resumed = map(load_file, files)
    assert all(torch.equal(after[name], values) for name, values in before.items())
    assert all(torch.equal(resumed[name], values) for name, values in after.items())
    assert all(name.startswith("head.") for name in after.keys() - before.keys())
    assert int(after["head.entry.1.num_batches_tracked"]) == 12
    metrics = run_evaluate(config(tmp_path / "measured", f"checkpoint={whole / 'model'}"))
    assert metrics["images"]["labels"] is not None and metrics["part_miou"] is not None
    content = files[1].read_bytes()
    image = make_capture_set(config(tmp_path).capture).load(metrics["split"]["ids"][0]).images([0])[0].numpy()
    shown = mvdecor.load(whole / "model").infer(image).views(turntable(2, 23))
    assert shown.labels.shape == (2, 23, 23) and files[1].read_bytes() == content
    with pytest.raises(InputError, match=r"evaluation\.source=labels: .*a U-Net head labels whole views"):
        run_evaluate(config(tmp_path / "labels", f"checkpoint={whole / 'model'}", "evaluation.source=labels"))


def test_whole_views_are_all_pixels_in_order(config, tmp_path):
    captures = make_capture_set(config(tmp_path).capture)
    ids = captures.ids("train")
    source = RaySource(captures, ids, 2, 7, views_at_once=1, labels=True, whole_views=True)
    batch = source.sample(0, 0)
    for b, (id, (view,)) in enumerate(zip(batch.shape_ids, batch.views, strict=True)):
        assert torch.equal(batch.labels[b], captures.load(id).labels([view]).flatten().long())
        assert torch.equal(batch.rgb[b], captures.load(id).images([view]).view(-1, 3).float() / 255)


def test_codes_of_the_training_are_measured_as_they_are(config, stages, tmp_path):
    words = (f"checkpoint={stages / 'tuned' / 'model'}", "evaluation.source=training", "evaluation.split=train")
    metrics = run_evaluate(config(tmp_path, *words))
    field, record = load_field(stages / "tuned" / "model")
    for id, code in load_file(tmp_path / "codes.safetensors").items():
        torch.testing.assert_close(code, field.codes.weight[record["ids"].index(id)].detach())
    assert metrics["images"]["views"] == {"pictures": 6, "label_maps": 6, "shown": 0}
    assert sum(metrics["images"]["error_shares"].values()) == pytest.approx(1)


def test_rays_of_an_inference_pass_the_outline(config, stages, tmp_path, monkeypatch):
    field, _ = load_field(stages / "tuned" / "model")
    capture = make_capture_set(config(tmp_path).capture).load("10000")
    seen = []
    monkeypatch.setattr(infer, "pixel_rays", lambda *given, **more: seen.append(given[2]) or pixel_rays(*given, **more))
    settings = InferenceSettings(steps=2, rays=30, foreground=0, outline=1, search=20, learning_rate=1, prior=0, mask=0)
    codes_of_captures(field, [capture], [[1]], settings, seed=0)
    outline = outline_of(capture.alpha([1]) >= 128).flatten()
    assert [len(pixels) for pixels in seen] == [20, 30, 30] and all(outline[pixels].all() for pixels in seen)


@pytest.mark.parametrize("renderer", ["lstm", "volume"])
@pytest.mark.parametrize("given", ["images", "labels"])
def test_only_the_code_moves_in_inference(config, stages, tmp_path, renderer, given):
    cfg = config(tmp_path, f"evaluation.source={given}", f"field.renderer={renderer}")
    if renderer == "lstm":
        field, _ = load_field(stages / "tuned" / "model")
    else:
        field = ConditionalField(FieldSettings.of(cfg.field), 3, labels=5).eval()
    captures = make_capture_set(cfg.capture)
    loaded = [captures.load(id) for id in captures.ids("test")[:2]]
    before = {name: values.clone() for name, values in field.state_dict().items()}
    starts = field.codes.weight.detach().clone()
    settings = InferenceSettings.of({name: cfg.evaluation[name] for name in InferenceSettings.model_fields})
    codes = codes_of_captures(field, loaded, [[0], [2, 3]], settings, cfg.seed)
    assert codes.shape == (2, 8) and not codes.requires_grad
    for code in codes:
        assert not any(torch.equal(code, start) for start in starts)
    for name, values in field.state_dict().items():
        assert torch.equal(values, before[name]), name
    assert all(weight.grad is None for weight in field.parameters())
    alone = codes_of_captures(field, loaded[1:], [[2, 3]], settings, cfg.seed)
    torch.testing.assert_close(alone[0], codes[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_training_that_was_killed_resumes_bit_for_bit(config, stages, tmp_path, monkeypatch, stage):
    run, out = {"pretrain": (run_pretrain, "pretrain"), "finetune": (run_finetune, "tuned")}[stage]
    start = [] if stage == "pretrain" else [f"checkpoint={stages / 'pretrain' / 'model'}"]
    with killed_after(3):
        run(config(tmp_path, *start))
    result = run(config(tmp_path, *start))
    assert result["history"] == json.loads((stages / out / f"{stage}.json").read_text())["history"]
    cut, whole = (load_file(folder / "model" / "model.safetensors") for folder in (tmp_path, stages / out))
    assert all(torch.equal(cut[name], values) for name, values in whole.items())


def test_workers_give_the_same_batches(config, tmp_path):
    cfg, fabric = config(tmp_path), Fabric(accelerator="cpu")
    captures = make_capture_set(cfg.capture)
    source = RaySource(captures, captures.ids("unlabelled"), 2, 8, foreground=0.5, views_at_once=2)
    alone, ahead = (list(batches(fabric, source, 5, range(3), range(2), workers)) for workers in (0, 2))
    for a, b in zip(alone, ahead, strict=True):
        assert a.shape_ids == b.shape_ids and a.views == b.views
        for name in ("origins", "directions", "near", "far", "rgb", "mask", "distance", "objects"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_two_processes_train_what_one_does(stages, made_up_partnet, tmp_path):
    """Up to rounding; batches of three, which they share unevenly. Rates are low, since Adam blows rounding up."""
    rates = [
        f"training.{stage}.{word}" for stage in ("pretrain", "finetune") for word in ("objects=3", "learning_rate=1e-5")
    ]
    words = [*TINY, *rates, f"data.root={made_up_partnet}"]
    results = []
    for count in (1, 2):
        out = tmp_path / str(count)
        programs = {
            "pretrain": script("pretrain", *words, f"out={out}/pretrain"),
            "finetune": script("finetune", *words, f"checkpoint={stages}/pretrain/model", f"out={out}/finetune"),
        }
        for name, program in programs.items():
            for process in become_ranks([program] * count, tmp_path):
                assert process.returncode == 0, process.stderr
            history = json.loads((out / name / f"{name}.json").read_text())["history"]
            weights = load_file(out / name / "model" / "model.safetensors")
            results.append((history, weights))
    for (history, weights), (other_history, other_weights) in zip(results[:2], results[2:], strict=True):
        assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in other_history], rel=1e-5)
        for name, values in weights.items():
            torch.testing.assert_close(other_weights[name], values, atol=1e-6, rtol=1e-5)


def test_an_evaluation_that_was_killed_is_finished_by_two_processes(
    config, stages, made_up_partnet, tmp_path, monkeypatch
):
    """After the first capture of a block of two, of which one is measured already; with the figures of an undisturbed one."""
    words = ("evaluation.split=all", "evaluation.limit=3", "evaluation.batch_size=2", "evaluation.clouds=null")
    words += (f"checkpoint={stages / 'tuned' / 'model'}",)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run_evaluate(config(whole, *words))
    write = ShapeRecords.write

    def write_and_die(self, id, record):
        write(self, id, record)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ShapeRecords, "write", write_and_die)
        run_evaluate(config(cut, *words))
    assert len(list((cut / "measured").iterdir())) == 1
    program = script("evaluate", *TINY, f"data.root={made_up_partnet}", f"out={cut}", *words)
    first, second = become_ranks([program] * 2, tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "resuming after 1 of 3" in first.stdout
    assert contents(cut) == contents(whole) and len(list((cut / "clouds").iterdir())) == 3


def test_rays_show_what_their_pixels_show(config, tmp_path):
    captures = make_capture_set(config(tmp_path).capture)
    ids = captures.ids("train")
    source = RaySource(captures, ids, 2, 50, foreground=0.6, views_at_once=3, labels=True)
    batch = source.sample(0, 0)
    assert len(set(batch.shape_ids)) == 2 and all(len(views) == 3 for views in batch.views)
    assert batch.mask[:, :30].all() and bool(((batch.distance > 0) == batch.mask).all())
    for b, id in enumerate(batch.shape_ids):
        assert ids[batch.objects[b]] == id
        capture = captures.load(id)
        points = batch.origins[b] + batch.distance[b][:, None] * batch.directions[b]
        assert (batch.near[b] < 2.001).all() and (points[batch.mask[b]].norm(dim=-1) <= 1.01).all()
        xy, z = capture.cameras.project(points.expand(len(capture), -1, -1))
        for ray in torch.arange(0, 30, 7).tolist():
            view = int((capture.cameras.centers - batch.origins[b, ray]).norm(dim=-1).argmin())
            column, row = xy[view, ray].floor().int().tolist()
            assert torch.equal(capture.images([view])[0, row, column].float() / 255, batch.rgb[b, ray])
            assert int(capture.labels([view])[0, row, column]) == int(batch.labels[b, ray])
            assert float(capture.depth([view])[0, row, column]) == pytest.approx(float(z[view, ray]), abs=1e-4)


def test_the_pipeline_makes_its_shapes_and_a_table(config, tmp_path):
    generate = (
        "data.generate={count:10,categories:[Chair],test_fraction:0.2,val_fraction:0.0}",
        f"data.root={tmp_path}/data",
    )
    more = ("training.pretrain.steps=2", "training.finetune.steps=2", "evaluation.limit=1", "field.renderer=volume")
    words = [word for word in TINY if not word.startswith("data.")]
    output = call("pipeline", *words, *generate, *more, f"out={tmp_path}/out", cwd=tmp_path)
    assert output.returncode == 0, output.stderr
    assert "part mIoU on meshes" in output.stdout
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == ["mean_code", "semantic_srn"]
    words = ("measures=[part_miou,psnr,seconds_per_shape]", f"gather=[{tmp_path}/out]", f"out={tmp_path}/table")
    gathered = run_table(compose_config(words, "table"), words)
    assert [row["method"] for row in gathered["grid"]["rows"]] == ["Semantic SRN, mean code", "Semantic SRN"]


def test_captures_without_alpha_depth_and_mesh(make_config, tmp_path):
    """Files of the semantic scenes data set: from pictures and label maps alone, without bounds of their own."""
    for id in ("Chair.train/aa", "Chair.train/ab", "Chair.test/bb"):
        write_srn(tmp_path / "scenes" / id, some_cameras(), some_images())
        (tmp_path / "scenes" / id / "seg").mkdir()
        for i in range(4):
            labels = np.random.default_rng(i).choice([0, 1, 2], (HEIGHT, WIDTH))
            np.save(tmp_path / "scenes" / id / "seg" / f"{i:06d}.npy", labels)
    (tmp_path / "scenes/Chair.train/aa/seg/000000.npy").unlink()  # its first view has no label map
    (tmp_path / "scenes" / "Chair-level-1.txt").write_text("1 chair/back x\n2 chair/seat x\n")
    tiny = [word for word in TINY if word.startswith(("field", "training", "evaluation", "device", "progress"))]
    own = (
        "experiment=srn_chairs",
        f"capture.root={tmp_path / 'scenes'}",
        "training.finetune.split=null",
        "evaluation.views=[1]",
    )
    table = run_pipeline(make_config(*own, *tiny, "evaluation.measured=null", f"out={tmp_path / 'out'}"))
    metrics = json.loads((tmp_path / "out/semantic_srn/run_0/metrics.json").read_text())
    tuned = json.loads((tmp_path / "out/semantic_srn/run_0/finetune.json").read_text())
    assert len(tuned["views"]["aa"]) == len(tuned["views"]["ab"]) == 3 and 0 not in tuned["views"]["aa"]
    assert metrics["part_miou"] is None and table["runs"] == []
    assert metrics["images"]["views"] == {"pictures": 3, "label_maps": 3, "shown": 1}


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("pretrain", "training.pretrain.rays=0", r"training\.pretrain\.rays=0: give a whole number of at least 1"),
        ("pretrain", "field.renderer=nerf", r"field\.renderer=nerf is unknown: choose lstm or volume"),
        ("pretrain", "+field.depth=3", r"field\.depth is unknown"),
        ("pretrain", "training.pretrain.weights.mask=-1", r"weights\.mask=-1: give a number of at least 0"),
        ("pretrain", "checkpoint=x", "starts from initial weights"),
        ("pretrain", "training.pretrain.foreground=0.7", "foreground=0.7 and outline=0.4: together at most 1"),
        ("pretrain", "training.pretrain.sparse_codes=true", "RowAdam"),
        ("pretrain", "capture.count=1", "needs at least 2 views"),
        ("finetune", "seed=0", "give checkpoint=FOLDER"),
        ("finetune", "checkpoint=nowhere", r"nowhere: no model\.safetensors here"),
        ("finetune", "checkpoint=PRETRAINED training.finetune.k=99", "k=99"),
        ("finetune", "checkpoint=PRETRAINED training.finetune.split=SPLIT", "a capture that was not pretrained on"),
        ("finetune", "checkpoint=PRETRAINED training.finetune.head=unet", r"points=true: a U-Net head takes"),
        ("pipeline", " ".join([*UNET, "evaluation.source=labels"]), r"evaluation\.source=labels"),
        ("finetune", " ".join(["checkpoint=PRETRAINED", *UNET, "capture.size=16"]), r"16 x 16 pixels.*above 16 pixels"),
        ("evaluate", "checkpoint=PRETRAINED", "was only pretrained"),
        ("evaluate", "checkpoint=TUNED evaluation.foreground=0.7", "foreground=0.7 and outline=0.5: together"),
        ("evaluate", "checkpoint=TUNED evaluation.source=training", r"capture \d+ was not pretrained on"),
        ("evaluate", "checkpoint=TUNED evaluation.v=9", r"evaluation\.v=9: capture \d+ has 5 images"),
        ("evaluate", "checkpoint=TUNED evaluation.views=[7]", r"evaluation\.views: capture \d+ has no view 7"),
        ("evaluate", "checkpoint=TUNED evaluation.views=[1,1]", r"evaluation\.views=\[1, 1\]: .*each once"),
        ("evaluate", "checkpoint=TUNED data.level=2", "the model's labels .* are not those of the captures"),
        ("ceiling", "seed=0", "system=semantic_srn has no stage 'ceiling'"),
        ("pretrain", "system=another", "system=another"),
    ],
)
def test_bad_settings_are_refused_in_one_line(config, stages, tmp_path, stage, words, message):
    folders = {"PRETRAINED": stages / "pretrain" / "model", "TUNED": stages / "tuned" / "model"}
    folders["SPLIT"] = Path("data/splits/semantic_srn/Chair_30_label_maps.json").resolve()
    for name, folder in folders.items():
        words = words.replace(name, str(folder))
    with pytest.raises(InputError, match=message) as caught:
        cfg = config(tmp_path / "out", *(w for w in words.split() if not w.startswith("system=")))
        cfg.system = next((w.split("=")[1] for w in words.split() if w.startswith("system=")), cfg.system)
        stage_of_system(f"run_{stage}")(cfg)
    assert "\n" not in str(caught.value)


def test_losses_without_truth_are_refused(make_config, tmp_path):
    write_srn(tmp_path / "scenes" / "a", some_cameras(), some_images())
    words = ("experiment=srn_chairs", f"capture.root={tmp_path / 'scenes'}", f"out={tmp_path / 'out'}")
    with pytest.raises(InputError, match=r"weights\.depth=0\.3, but capture a has no depth"):
        run_pretrain(make_config(*words, "training.pretrain.weights.depth=0.3", "device=cpu", "progress=false"))


def test_a_damaged_checkpoint_is_refused(stages, tmp_path):
    folder = shutil.copytree(stages / "tuned" / "model", tmp_path / "model")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_field(folder)


@pytest.mark.parametrize("category", ["Chair", "Table"])
def test_the_paper_s_label_maps(category, make_config):
    cfg = make_config(f"experiment=srn_{category.lower()}s")
    split = read_split(cfg.training.finetune.split)
    assert (split.category, split.k, split.v) == (category, 10, 3) == (cfg.data.category, 10, cfg.training.finetune.v)
    assert all(views == [0, 1, 2] for views in split.runs[0].views.values())
    pretrain = cfg.training.pretrain
    assert (cfg.field.code_size, pretrain.objects, pretrain.steps, pretrain.learning_rate) == (256, 8, 155000, 4e-4)
