"""The U-Net baselines of Semantic SRN: they learn from the same label maps, see what they should, and vote as MvDeCor does."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from mvdecor.captures import make_capture_set
from mvdecor.errors import InputError
from mvdecor.evaluation import CaptureMetrics, PartMetrics, ceiling_labels
from mvdecor.results.cells import check_cells
from mvdecor.results.runs import read_runs
from mvdecor.systems import run_evaluate, run_finetune, run_pipeline, run_pretrain
from mvdecor.systems.semantic_srn.settings import check_config
from mvdecor.systems.view_unet import evaluate
from mvdecor.systems.view_unet.finetune import LabelledViewSource

TINY = (
    *("experiment=srn_chairs_cpu", "data.generate=null", "capture.count=5", "capture.size=20"),
    "capture.supersample=1",
    *("field.code_size=8", "field.width=12", "field.hypernetwork_width=12", "field.steps=3"),
    *("training.pretrain.steps=2", "training.pretrain.objects=3", "training.pretrain.rays=24"),
    *("training.finetune.steps=2", "training.finetune.k=2", "training.finetune.objects=3", "training.finetune.rays=24"),
    *("evaluation.steps=3", "evaluation.rays=16", "evaluation.search=8", "evaluation.measured=3"),
    *("evaluation.points=300", "evaluation.limit=2", "evaluation.clouds=1", "evaluation.views=[1]"),
    *("device=cpu", "progress=false"),
)


@pytest.fixture(scope="module")
def config(make_config, made_up_partnet):
    return lambda out, *more: make_config(*TINY, f"data.root={made_up_partnet}", f"out={out}", *more)


@pytest.fixture(scope="module")
def srn(config, tmp_path_factory) -> Path:
    """A folder with the results of Semantic SRN's stages in `pretrain` and `tuned`."""
    out = tmp_path_factory.mktemp("srn")
    run_pretrain(config(out / "pretrain"))
    cfg = config(out / "tuned", f"checkpoint={out / 'pretrain' / 'model'}", "training.finetune.head=mlp")
    run_finetune(cfg)
    run_evaluate(config(out / "tuned", f"checkpoint={out / 'tuned' / 'model'}"))
    return out


@pytest.fixture(scope="module")
def unet(config, tmp_path_factory) -> Path:
    """The folder of a pipeline on true views."""
    out = tmp_path_factory.mktemp("unet")
    run_pipeline(config(out, "method=unet_views"))
    return out


def read(folder: Path, stage: str) -> dict:
    return json.loads((folder / f"{stage}.json").read_text())


def test_it_learns_from_the_label_maps_of_the_head(srn, unet):
    head, own = read(srn / "tuned", "finetune"), read(unet / "unet_views/run_0", "finetune")
    assert own["captures"] == head["captures"] and own["views"] == head["views"] and own["label_maps"] == 6


def test_views_of_a_batch_are_those_of_their_captures(config, tmp_path):
    captures = make_capture_set(config(tmp_path).capture)
    views = {id: [i, 4] for i, id in enumerate(captures.ids("train")[:3])}
    source = LabelledViewSource(captures, views, 6)
    batch = source.sample(0, 0)
    assert sorted(zip(batch.shape_ids, batch.views)) == sorted(
        (id, view) for id, some in views.items() for view in some
    )
    for i, (id, view) in enumerate(zip(batch.shape_ids, batch.views)):
        capture = captures.load(id)
        assert torch.equal(batch.images[i, 0], capture.images([view])[0].permute(2, 0, 1) / 255)
        assert torch.equal(batch.labels[i, 0], capture.labels([view])[0].long())
    shares = [source.sample(0, 0, positions) for positions in (range(2), range(2, 6))]
    assert torch.equal(torch.cat([share.images for share in shares]), batch.images)


def test_true_label_maps_vote_the_ceiling_of_their_views(config, tmp_path):
    cfg = config(tmp_path, "method=unet_views")
    captures = make_capture_set(cfg.capture)
    metrics, ceiling = CaptureMetrics(captures, {}, "partnet", 300, 9, cfg.seed), None
    for id in captures.ids("test")[:2]:
        capture, shape = captures.load(id), captures.shapes.load(id)
        labels = capture.labels().long()
        logits = 50 * torch.nn.functional.one_hot(labels, len(captures.label_names)).float().permute(0, 3, 1, 2)
        label_faces = partial(evaluate.vote_on_mesh, cfg, captures, capture, range(5), logits)
        metrics.add(capture, range(5), labels, label_faces)
        views = captures.rasterizer([shape], [capture.cameras])[0]
        ceiling = ceiling or PartMetrics(shape.label_names, "partnet", 300, cfg.seed)
        ceiling.add(shape, ceiling_labels(shape, views).labels)
    result = metrics.result()
    assert result["images"]["labels"]["miou_with_background"] == 100
    assert result["confusion"] == ceiling.result()["confusion"]


def test_renderings_are_those_that_semantic_srn_is_measured_on(config, srn, unet, tmp_path):
    model = unet / "unet_views/run_0/model"
    words = (f"checkpoint={model}", f"evaluation.field={srn / 'pretrain/model'}")
    labelled = run_evaluate(config(tmp_path, "method=srn_unet", *words))
    images, expected = labelled["images"], read(srn / "tuned", "metrics")["images"]
    assert images["psnr"] == pytest.approx(expected["psnr"], abs=1e-4)
    assert images["ssim"] == pytest.approx(expected["ssim"], abs=1e-5)
    assert images["views"] == expected["views"] and images["labels"]["miou"] != expected["labels"]["miou"]
    assert labelled["trained_with"]["training"]["finetune"]["k"] == 2
    on_true_views = read(unet / "unet_views/run_0", "metrics")["images"]
    assert on_true_views["psnr"] is None and on_true_views["labels"]["miou"] != images["labels"]["miou"]
    assert (tmp_path / "figures" / f"{labelled['split']['ids'][0]}.png").exists()


def test_an_evaluation_that_is_cut_off_measures_what_is_missing(config, unet, tmp_path, monkeypatch):
    words = ("method=unet_views", f"checkpoint={unet / 'unet_views/run_0/model'}")
    labelled, label_views = [], evaluate.label_views

    def cut_off(model, images):
        labelled.append(len(images))
        if len(labelled) == 2:
            raise KeyboardInterrupt
        return label_views(model, images)

    monkeypatch.setattr(evaluate, "label_views", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_evaluate(config(tmp_path, *words))
    resumed = run_evaluate(config(tmp_path, *words))
    expected = read(unet / "unet_views/run_0", "metrics")
    assert len(labelled) == 1 + len(resumed["split"]["ids"])
    assert {key: resumed[key] for key in ("images", "confusion")} == {
        key: expected[key] for key in ("images", "confusion")
    }


def test_its_results_are_read_for_tables(unet, srn):
    runs = read_runs([unet, srn])
    assert [run.title for run in runs] == ["U-Net on true views", "Semantic SRN, mean code", "Semantic SRN"]
    check_cells(runs)


@pytest.mark.parametrize(
    ("run", "words", "message"),
    [
        (run_evaluate, "method=srn_unet checkpoint=UNET", r"evaluation\.field=null: name the out/model"),
        (
            run_evaluate,
            "method=srn_unet checkpoint=UNET evaluation.field=FIELD evaluation.source=labels",
            "the field has no head",
        ),
        (run_evaluate, "method=unet_views checkpoint=FIELD", "this is no U-Net of label maps"),
        (run_evaluate, "method=unet_views", "give checkpoint=FOLDER"),
        (run_finetune, "method=unet_views checkpoint=UNET", "starts from initial weights"),
        (run_pretrain, "method=unet_views", "system=view_unet has no stage 'pretrain'"),
        (run_evaluate, "method=unet_views checkpoint=UNET data.level=2", "are not those of the captures"),
    ],
)
def test_bad_settings_are_refused_in_one_line(config, srn, unet, tmp_path, run, words, message):
    folders = {"UNET": unet / "unet_views/run_0/model", "FIELD": srn / "pretrain/model"}
    for name, folder in folders.items():
        words = words.replace(f"={name}", f"={folder}")
    with pytest.raises(InputError, match=message) as caught:
        run(config(tmp_path / "out", *words.split()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "method", ["semantic_srn_all_images", "semantic_srn_label_map", "srn_volume", "srn_volume_depth", "semantic_srn"]
)
def test_methods_of_semantic_srn_compose(make_config, method):
    cfg = make_config("experiment=srn_chairs_cpu", f"method={method}")
    check_config(cfg)
    assert cfg.method.name == method
    assert (cfg.field.renderer == "volume") == ("volume" in method)
    assert (cfg.training.pretrain.weights.depth > 0) == (method != "srn_volume")
