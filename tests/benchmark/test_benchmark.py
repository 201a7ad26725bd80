"""The benchmark: every row at a tiny size, whose own checks against the slow versions must hold; no time is asserted."""

import json
from importlib.util import find_spec

import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.apps.benchmark import fields, many, rows
from mvdecor.apps.benchmark.measure import peak_memory
from mvdecor.apps.benchmark.references import match_by_tree, pixel_votes, vote_by_loop
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.run import run_benchmark
from mvdecor.apps.benchmark.shapes import open_shapes, with_faces
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.views import make_rasterizer, render_channels, sphere_cameras, surface_of
from mvdecor.views.views import face_values_at_pixels

TINY = (
    *("shapes=null", "device=cpu", "repeats=1", "slow_repeats=1", "size=32", "num_views=12", "pairs=3", "points=40"),
    *("dim=8", "classes=3", "vote_faces=3000", "vote_sample=9", "view_faces=2000", "scaling_faces=[1500,3000]"),
    *(
        "rate_faces=[1600,2000,3000]",
        "slow_size=16",
        "steps=4",
        "few_shapes=2",
        "evaluate_network=unet_tiny",
        "step_experiment=people_cpu",
    ),
    *("few_captures=2", "field_objects=2", "field_rays=30", "field_loop_rays=3", "samples=4"),
    "overrides=['network=unet_tiny','views.count=6','views.close_ups=0','views.size=32','training.pretrain.points=40']",
)


def run_here(make, device, *arguments):
    """In place of `peak_memory`, without the seconds that a new process takes to start."""
    make(device, *arguments)()
    return 1.0


def test_every_row_and_its_file(make_config, tmp_path, capsys, monkeypatch):
    """On made-up shapes; `run_benchmark` writes the rows that it prints."""
    for module in (fields, many):
        monkeypatch.setattr(module, "peak_memory", run_here)
    names = [name for name in ROWS if name != "match" or find_spec("sklearn")]
    cfg = make_config(*TINY, f"rows=[{','.join(names)}]", f"json={tmp_path / 'a' / 'rows.json'}", name="benchmark")
    measured = run_benchmark(cfg)
    assert [row.row for row in measured] == names
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "a" / "rows.json").read_text())
    assert [one["row"] for one in written["rows"]] == names
    for one, row in zip(written["rows"], measured, strict=True):
        assert list(one) == ["row", "ours", "reference", "ratio", "goal", "reached", "unit", "size", "device"]
        assert one["ours"] > 0 and one["reference"] > 0 and one["ratio"] == row.ratio
        assert one["row"] in printed and one["device"] and one["size"]
    assert [one["training"].split()[0] for one in written["trainings"]] == ["pretraining", "fine-tuning"]
    assert written["left_out"] == {} and written["machine"]["cores"] and "hours on 32" in printed


def test_the_plot_of_the_cost(make_config, tmp_path):
    sizes = ("plot_views=[2,4]", "plot_faces=[1500,3000]", "plot_shapes=[1,2]", f"plot={tmp_path / 'a' / 'plot.png'}")
    assert run_benchmark(make_config(*TINY, "rows=[]", *sizes, name="benchmark")) == []
    assert Image.open(tmp_path / "a" / "plot.png").size[0] > 500


def test_unknown_rows_and_missing_libraries(make_config, monkeypatch):
    with pytest.raises(InputError, match=r"rows=\[speed\]: give a list of some of match"):
        run_benchmark(make_config(*TINY, "rows=[speed]", name="benchmark"))
    monkeypatch.setattr(rows, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="sklearn is not installed"):
        run_benchmark(make_config(*TINY, "rows=[match]", name="benchmark"))


def touch(device: torch.device, megabytes: int):
    """A run that takes so much memory and gives it back."""
    return lambda: torch.ones(megabytes * 250_000, device=device).sum()


def test_peak_memory_of_a_known_size():
    assert peak_memory(touch, torch.device("cpu"), 300) == pytest.approx(300, rel=0.1)


def test_with_faces_keeps_the_surface():
    box = trimesh.creation.box((1, 2, 3))
    shape = Shape.from_trimesh(box, "box")
    twice = Shape("twins", shape.vertices, torch.cat([shape.faces, shape.faces.flip(1)]))
    for count in (12, 50, 999):
        cut = with_faces(twice, count)
        assert count <= cut.num_faces <= count + 2
        assert float(cut.face_areas.sum()) == pytest.approx(box.area, rel=1e-5)
    with pytest.raises(InputError, match="12 faces without twins, 5 are asked for"):
        with_faces(twice, 5)


def test_made_up_people_have_the_size_of_real_ones_their_labels_and_their_textures():
    with open_shapes(None, 9000) as shapes:
        (person,) = shapes.some("people", 1)
    with open_shapes(None, 2100) as shapes:
        (coarse,) = shapes.some("people", 1)
    assert 9000 <= person.num_faces <= 9002 and 2100 <= coarse.num_faces <= 2102
    seen, expected = [], []
    for shape, answers in ((person, seen), (coarse, expected)):
        views = make_rasterizer("embree")([shape], [sphere_cameras(4, 48)])[0]
        surface = surface_of(shape, views)
        answers += [surface.mask, face_values_at_pixels(shape.face_labels, views, -2)]
        answers.append(render_channels(shape, views, surface, ("rgb",)))
    for ours, other in zip(seen[:2], expected[:2], strict=True):
        assert float((ours == other).float().mean()) > 0.99, "the outline or the labels differ"
    assert float((seen[2] - expected[2]).abs().mean()) < 2e-3, "the textures differ"


def test_references_on_cases_that_are_known():
    ball = Shape.from_trimesh(trimesh.creation.icosphere(3, 0.9), "ball")
    views = make_rasterizer("embree")([ball], [sphere_cameras(2, 24)])[0]
    seen = surface_of(ball, views)
    (same,) = match_by_tree(seen[[0]], seen[[0]], 1e-6, "scipy")
    assert same.tolist() == seen.mask[0].reshape(-1).nonzero()[:, 0].tolist(), "each point is nearest to itself"
    logits = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 5, 0], [0, 0, 9]]).T.reshape(1, 1, 3, 2, 2)
    votes = pixel_votes(logits, 2.0)
    face_ids = torch.tensor([[[4, 4], [4, -1]]]).numpy()
    assert vote_by_loop(face_ids, votes, [4, 7]) == [1, -1]
