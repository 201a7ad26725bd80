"""Whole stages on the simulated device: from meshes to metrics, views rasterized once, one cache for GPU and workers."""

import pytest
import torch

from mvdecor.apps.cache import run_render
from mvdecor.apps.embeddings import run_figures
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.systems.mvdecor.setup import make_shape_views, pretraining_shapes
from mvdecor.systems.mvdecor.stages import run_ceiling, run_evaluate, run_finetune, run_pretrain
from mvdecor.views import Rendering
from tests.gpu.device_runs import shape_views_on
from tests.gpu.simulated_cuda import simulated_cuda


@pytest.fixture
def words(tiny, made_up_people) -> tuple[str, ...]:
    """Settings of a tiny run on the device that is there."""
    plain = tuple(word for word in tiny if not word.startswith("device="))
    return "experiment=people_cpu", "views.close_ups=0", "views.cache=null", *plain, f"data.root={made_up_people}"


def test_all_stages(words, make_config, tmp_path):
    found = {}
    with simulated_cuda() as counts:
        for device in ("cuda", "cpu"):
            out, own = tmp_path / device, (*words, f"device={device}", "training.finetune.lambda_ssl=0.1")
            run_pretrain(make_config(*own, f"out={out / 'pretrain'}"))
            tuned = (*own, f"checkpoint={out / 'pretrain' / 'model'}", f"out={out / 'tuned'}")
            run_finetune(make_config(*tuned))
            tested = (*own, f"checkpoint={out / 'tuned' / 'model'}", f"out={out / 'measured'}")
            metrics = run_evaluate(make_config(*tested))
            ceiling = run_ceiling(make_config(*own, f"out={out / 'ceiling'}"))
            found[device] = {
                **{name: metrics[name] for name in ("part_miou", "shape_miou", "coverage")},
                "ceiling": [row["part_miou"] for row in ceiling["rows"]],
                "seen": [row["area_seen"] for row in ceiling["rows"]],
            }
            if device == "cuda":
                assert counts.rasterized, "PyTorch3D did not rasterize on the device"
                run_figures(make_config(*tested[:-1], f"out={out / 'figures'}", name="figures"))
    assert found["cuda"]["ceiling"] == pytest.approx(found["cpu"]["ceiling"], abs=3)  # of a few pixels
    assert found["cuda"]["seen"] == pytest.approx(found["cpu"]["seen"], abs=0.5)
    assert found["cuda"]["coverage"] == pytest.approx(found["cpu"]["coverage"], abs=0.5)


@pytest.mark.parametrize("keep", [True, False])
def test_a_view_is_rasterized_once_per_use(keep):
    with simulated_cuda() as counts:
        stage = shape_views_on("cuda", rasterizer="pytorch3d", keep=keep)
        source = PairSource(stage, Rendering(("rgb",)), 3, 60)
        tried: list[list[int]] = []
        views = stage.views
        stage.views = lambda shape, index=None: tried.append(index) or views(shape, index)  # type: ignore[method-assign]
        source.sample(0, 0)
        if keep:
            assert sum(call["views"] for call in counts.rasterized) == 8, "each view of the shape once"
        else:
            assert all(len(index) == 2 for index in tried), "no candidate is rasterized ahead"
            assert sum(call["views"] for call in counts.rasterized) == 2 * len(tried) >= 6


def test_an_evaluation_rasterizes_each_view_once(words, make_config, tmp_path):
    with simulated_cuda() as counts:
        own = (*words, "views.keep=false")
        run_finetune(make_config(*own, f"out={tmp_path / 'tuned'}"))
        counts.reset()
        run_evaluate(make_config(*own, f"checkpoint={tmp_path / 'tuned' / 'model'}", f"out={tmp_path / 'measured'}"))
        assert sum(call["views"] for call in counts.rasterized) == 4  # of one shape


@pytest.mark.parametrize("workers", [0, 4])
def test_training_reads_the_views_that_render_py_wrote(workers, words, make_config, tmp_path, monkeypatch):
    cached = (*words, f"views.cache={tmp_path / 'views'}")
    with simulated_cuda() as counts:
        run_render(make_config(*cached, "stages=[pretrain]", "workers=1", name="render"))
        assert counts.rasterized, "a GPU renders what it can"
        counts.reset()
        cfg = make_config(*cached, f"workers={workers}")
        shapes, _ = pretraining_shapes(make_config(*cached))
        stage = make_shape_views(cfg, shapes, torch.device("cpu" if workers else "cuda"))
        monkeypatch.setattr(stage, "_rasterizer", lambda *_: pytest.fail("rendered again"))
        for shape in stage:
            assert len(stage.views(shape)) == 4
