"""The benchmark: every row at a tiny size, whose own checks against the slow versions must hold; no time is asserted."""

import json
from importlib.util import find_spec

import pytest
import torch
import trimesh
from PIL import Image

from mvdecor.apps.benchmark import rows
from mvdecor.apps.benchmark.measure import Row, Spread, peak_memory
from mvdecor.apps.benchmark.references import match_by_tree, pixel_votes, vote_by_loop
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.run import run_benchmark
from mvdecor.apps.benchmark.shapes import with_faces
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.views import make_rasterizer, sphere_cameras, surface_of

TINY = (
    *("shapes=null", "device=cpu", "repeats=1", "slow_repeats=1", "size=32", "num_views=12", "pairs=3", "points=40"),
    *("dim=8", "classes=3", "vote_faces=3000", "vote_sample=9", "view_faces=2000", "scaling_faces=[1500,3000]"),
    *("steps=4", "few_shapes=2", "evaluate_network=unet_tiny", "samples=4"),
    "overrides=['views.count=6','views.close_ups=0','views.size=32','training.pretrain.points=40']",
)


def test_every_row_and_its_file(make_config, tmp_path, capsys):
    """On made-up shapes; `run_benchmark` writes the rows that it prints."""
    names = [name for name in ROWS if name != "match" or find_spec("sklearn")]
    cfg = make_config(*TINY, f"rows=[{','.join(names)}]", f"json={tmp_path / 'a' / 'rows.json'}", name="benchmark")
    measured = run_benchmark(cfg)
    assert [row.row for row in measured] == names
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "a" / "rows.json").read_text())
    assert [one["row"] for one in written] == names
    for one, row in zip(written, measured, strict=True):
        assert list(one) == ["row", "ours", "reference", "ratio", "unit", "size", "device"]
        assert one["ours"] > 0 and one["reference"] > 0
        quotient = one["reference"] / one["ours"] if row.more else one["ours"] / one["reference"]
        assert one["ratio"] == pytest.approx(quotient)
        assert one["row"] in printed and one["device"] and one["size"]


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


def test_ratio_and_goal():
    one, two = Spread.of([1.0, 1.0, 5.0]), Spread.of([2.0])
    assert one == Spread(1.0, 1.0, 5.0)
    faster = Row("a", one, two, "s", "", "cpu", 2)
    assert faster.ratio == 2 and faster.reached
    slower = Row("a", one, two, "s", "", "cpu", 0.4, more=False)
    assert slower.ratio == 0.5 and not slower.reached


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
