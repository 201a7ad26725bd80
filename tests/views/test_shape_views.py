"""ShapeViews: whose cameras, what is rasterized when, and that keeping views changes nothing."""

import errno
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
import torch
import trimesh

from mvdecor import progress
from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.setup import make_shape_views, seed_of_test_views, seed_of_training_views
from mvdecor.views import CachedViews, Cameras, make_rasterizer, sphere_cameras, surface_of
from mvdecor.views.shape_views import ShapeViews


def shapes() -> list[Shape]:
    ball, box = trimesh.creation.icosphere(1, 0.8), trimesh.creation.box((1, 0.5, 0.8))
    return [Shape.from_trimesh(ball, "ball"), Shape.from_trimesh(box, "box")]


class Counting:
    """A rasterizer that notes how many views it was asked for."""

    def __init__(self) -> None:
        self.inner, self.views = make_rasterizer("embree"), []

    def __call__(self, shapes, cameras, layers=1):
        self.views.append(sum(len(c) for c in cameras))
        return self.inner(shapes, cameras, layers)


def make(keep: bool = True, layers: int = 1, cache=None) -> tuple[ShapeViews, Counting]:
    rasterizer = Counting()
    return ShapeViews(shapes(), place, rasterizer, layers, keep=keep, cache=cache), rasterizer


def place(shape: Shape) -> Cameras:
    return sphere_cameras(6, 16, {"ball": 5, "box": 6}[shape.id])


def test_cameras_follow_from_seed_purpose_and_shape_not_from_the_place_in_a_list(make_config):
    cfg, (ball, box) = make_config("views.count=4", "views.size=16", "views.close_ups=0"), shapes()

    def rotation(config, few, number, views_seed=seed_of_training_views):
        shape_views = make_shape_views(config, few, torch.device("cpu"), views_seed)
        assert shape_views.num_views(few[number]) == 4
        return shape_views.cameras(few[number]).rotation

    first = rotation(cfg, [ball, box], 0)
    assert torch.equal(first, rotation(cfg, [box, ball], 1))
    others = [rotation(cfg, [ball, box], 1), rotation(cfg, [ball], 0, views_seed=seed_of_test_views)]
    others.append(rotation(make_config("views.count=4", "views.size=16", "seed=1"), [ball], 0))
    assert not any(torch.equal(first, other) for other in others)


def test_kept_views_are_rasterized_once_and_others_as_asked():
    kept, count = make(keep=True)
    for index in ([0, 3], [1], None):
        kept.views(kept[1], index)
    assert count.views == [6]
    fresh, count = make(keep=False)
    for index in ([0, 3], [1], None):
        fresh.views(fresh[1], index)
    assert count.views == [2, 1, 6]


@pytest.mark.parametrize("layers", [1, 2])
def test_keeping_views_changes_nothing_and_the_order_asked_for_is_kept(layers):
    kept, fresh = make(True, layers)[0], make(False, layers)[0]
    for shape in shapes():
        for index in ([4, 0, 2], [1], None):
            a, b = kept.views(shape, index), fresh.views(shape, index)
            assert torch.equal(a.face_ids, b.face_ids) and a.layers == layers
            assert torch.equal(a.cameras.rotation, b.cameras.rotation)
            expected = kept.cameras(shape).rotation[list(range(6)) if index is None else index]
            assert torch.equal(a.cameras.rotation, expected)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("keep", [True, False])
def test_a_cache_changes_nothing_and_is_filled_once(tmp_path, keep, layers):
    plain = make(layers=layers)[0]
    cached, count = make(keep, layers, cache=partial(CachedViews, tmp_path, "embree"))
    for shape in shapes():
        for index in ([4, 0, 2], [1], None):
            a, b = plain.views(shape, index), cached.views(shape, index)
            assert torch.equal(a.face_ids, b.face_ids) and torch.equal(a.cameras.rotation, b.cameras.rotation)
    assert count.views == [6, 6] and len(list(tmp_path.iterdir())) == 2
    again, count = make(keep, layers, cache=partial(CachedViews, tmp_path, "embree"))
    assert torch.equal(again.views(again[1], [3]).face_ids, plain.views(plain[1], [3]).face_ids) and count.views == []


def optional(folder):
    return partial(CachedViews, folder, "embree", optional=True)


def test_views_of_a_file_take_no_memory_on_the_cpu(tmp_path):
    views, _ = make(keep=True, cache=optional(tmp_path))
    views.views(views[0])
    assert not views._kept and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("reason", ["no folder can be made", "the disk is nearly full", "the disk is full"])
def test_an_optional_file_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch, capsys, reason):
    folder = tmp_path / "views"
    if reason == "no folder can be made":
        folder.write_text("a file")
    elif reason == "the disk is nearly full":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**30 - 1))
    else:
        monkeypatch.setattr(os, "fsync", lambda _: raise_(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    monkeypatch.setattr(progress, "_said", set())
    plain = make()[0]
    for keep, expected in ((True, [6, 6]), (False, [2, 1, 2, 1])):
        views, count = make(keep, cache=optional(folder))
        for shape in shapes():
            for index in ([4, 0], [1]):
                assert torch.equal(views.views(shape, index).face_ids, plain.views(shape, index).face_ids)
        assert count.views == [6, *expected], "a file is tried once"
    said = capsys.readouterr().out
    assert said.count("note: ") == 1 and "Views are rasterized" in said and str(tmp_path) in said
    assert not folder.is_dir() or not list(folder.iterdir())


def raise_(error: Exception) -> None:
    raise error


def test_an_optional_file_that_is_damaged_is_made_again(tmp_path):
    views, count = make(cache=optional(tmp_path))
    before = views.views(views[0]).face_ids
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert torch.equal(views.views(views[0], [3]).face_ids, before[[3]]) and count.views == [6, 6, 1]
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="remove the file"):
        make(cache=partial(CachedViews, tmp_path, "embree"))[0].views(shapes()[0], [3])


def fill(folder, together) -> list[bytes]:
    together.wait()
    views = make(cache=optional(folder))[0]
    return [views.views(shape).face_ids.numpy().tobytes() for shape in views]


def test_processes_that_fill_a_cache_together_see_the_same_views(tmp_path):
    with worker_context().Manager() as manager, ProcessPoolExecutor(3, worker_context()) as pool:
        together = manager.Barrier(3)
        results = [process.result() for process in [pool.submit(fill, tmp_path, together) for _ in range(3)]]
    plain = [make()[0].views(shape).face_ids.numpy().tobytes() for shape in shapes()]
    assert results == [plain] * 3 and len(list(tmp_path.iterdir())) == 2


def test_views_are_cached_beside_the_shapes_by_default(make_config, tmp_path):
    def views(*words):
        shape_views = make_shape_views(
            make_config("views.count=4", "views.size=16", *words), shapes(), torch.device("cpu")
        )
        return shape_views.views(shape_views[0]).face_ids

    plain = views("views.cache=null", f"cache={tmp_path}")
    assert not list(tmp_path.iterdir())
    assert torch.equal(views(f"cache={tmp_path}"), plain)
    assert [path.parent.name for path in tmp_path.rglob("*.views")] == ["views"]
    assert torch.equal(views(f"cache={tmp_path}"), plain) and torch.equal(views("cache=null"), plain)


def test_surface_is_that_of_the_views():
    shape_views, _ = make(layers=2)
    expected = surface_of(shape_views[0], shape_views.views(shape_views[0], [5, 1]))
    got = shape_views.surface(shape_views[0], [5, 1])
    assert torch.equal(got.points, expected.points) and torch.equal(got.mask, expected.mask)
    assert bool(got.mask[:, 0].any())


def test_no_shapes_is_an_input_error():
    with pytest.raises(InputError, match="no shapes"):
        ShapeViews([], place, make_rasterizer("embree"))
