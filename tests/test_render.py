"""scripts/render.py: shards cover everything once, and what it renders is what the stages read."""

import os
import signal
from dataclasses import replace

import pytest

from mvdecor.apps import cache as render
from mvdecor.apps.cache import plan, run_render, shard
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.stages import run_evaluate, run_finetune, run_pretrain
from mvdecor.views import embree


@pytest.fixture
def overrides(tiny, made_up_people, tmp_path) -> list[str]:
    return [
        *("experiment=people_cpu", f"data.root={made_up_people}", "views.close_ups=1", *tiny),
        *(
            "training.finetune.runs=2",
            "evaluation.limit=2",
            f"out={tmp_path / 'out'}",
            f"views.cache={tmp_path / 'cache'}",
        ),
    ]


def files(folder) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_shards_cover_everything_once(make_config, overrides):
    jobs = plan(make_config(*overrides, name="render"))
    assert len(set(jobs)) == len(jobs) > 6
    for count in (1, 2, 3, len(jobs) + 1):
        parts = [jobs[index::total] for index, total in (shard(f"{i}/{count}") for i in range(count))]
        assert sorted(job for part in parts for job in map(repr, part)) == sorted(map(repr, jobs))


def test_shard_by_setting_or_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"):
        monkeypatch.delenv(name, raising=False)
    assert shard(None) == (0, 1)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "6")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "4")
    assert shard(None) == (2, 4)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert shard(None) == (1, 8)
    assert shard("2/3") == (2, 3)
    for wrong in ("3/3", "1", "a/b", "-1/2", "1/0"):
        with pytest.raises(InputError, match="give i/n"):
            shard(wrong)


def test_stages_find_all_their_views_and_give_the_same_results(make_config, overrides, tmp_path, monkeypatch, capsys):
    """Results without a cache are those with one, and the stages then rasterize nothing."""

    def stages(folder, *more):
        cfg = make_config(*overrides, f"out={tmp_path / folder}", *more)
        pretrained = run_pretrain(cfg)["history"]
        tuned = run_finetune(make_config(*overrides, f"out={tmp_path / folder}", "run=1", *more))["history"]
        model = f"checkpoint={tmp_path / folder / 'model'}"
        return (
            pretrained,
            tuned,
            run_evaluate(make_config(*overrides, f"out={tmp_path / folder}", model, *more))["parts"],
        )

    plain = stages("plain", "views.cache=null")
    cfg = make_config(*overrides, name="render")
    run_render(cfg)
    there = files(tmp_path / "cache")
    assert len(there) == len(plan(cfg))
    assert "estimated from 3 shapes" in capsys.readouterr().out
    monkeypatch.setattr(embree.EmbreeRasterizer, "__call__", None)
    assert stages("cached") == plain
    assert stages("cached again", "views.keep=false") == plain
    assert files(tmp_path / "cache") == there
    assert all(one.was_there for one in run_render(cfg))
    assert files(tmp_path / "cache") == there


def test_workers_render_the_same_files(make_config, overrides, tmp_path):
    run_render(make_config(*overrides, "stages=[evaluate]", name="render"))
    cfg = make_config(*overrides, "stages=[evaluate]", "workers=2", f"views.cache={tmp_path / 'two'}", name="render")
    jobs = plan(cfg)
    assert len(list(render._render(cfg, jobs, workers=2))) == len(jobs)
    assert {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()
    }


def die_while_writing(job):
    """A worker's job, killed when the first bytes of its file are on the disk."""
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    return render._work(job)


def test_a_dead_worker_is_told_and_leaves_no_part_of_a_file(make_config, overrides, tmp_path, monkeypatch):
    cfg = make_config(*overrides, "workers=2", name="render")
    with (
        monkeypatch.context() as patch,
        pytest.raises(InputError, match=r"views\.cache=.*a worker process died .*call again"),
    ):
        patch.setattr(render, "_work", die_while_writing)
        run_render(cfg)
    finished = {path.name: path.read_bytes() for path in (tmp_path / "cache").glob("*.views")}
    assert len(finished) == render.TRIALS, "those that the process itself rendered; no part of a file has a file's name"
    done = run_render(cfg)
    assert sum(one.was_there for one in done) == render.TRIALS
    monkeypatch.setattr(render, "_render", lambda cfg, jobs, workers: map(render.Renderer(cfg), jobs))
    run_render(make_config(*overrides, f"views.cache={tmp_path / 'whole'}", name="render"))
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("cache", "whole")]
    assert contents[0] == contents[1] and finished.items() <= contents[0].items()


def test_one_worker_unless_more_are_asked_for(make_config):
    """The workers of a training are another setting of the same name, with another default."""
    assert make_config(name="render").workers == 1
    assert make_config("workers=8", "experiment=people_cpu", name="render").workers == 8


def test_too_little_room_is_said_before_the_work(make_config, overrides, monkeypatch):
    usage = render.shutil.disk_usage("/")
    monkeypatch.setattr(render.shutil, "disk_usage", lambda folder: usage._replace(free=10))
    with pytest.raises(InputError, match="GB are free: name a folder with more room"):
        run_render(make_config(*overrides, name="render"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("views.cache=null", "views.cache is not set"),
        ("workers=0", "workers=0: give a whole number"),
        ("stages=[train]", "name one or more of pretrain, finetune and evaluate"),
        ("shard=4/4", "give i/n"),
        ("views.cache=true", "views.cache=true: name a file or folder"),
    ],
)
def test_bad_settings(make_config, overrides, override, message):
    with pytest.raises(InputError, match=message):
        run_render(make_config(*overrides, override, name="render"))


def test_a_damaged_file_stops_training_with_one_message(make_config, overrides, tmp_path):
    cfg = make_config(*overrides)
    run_render(make_config(*overrides, name="render"))
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"\.views, views of shape .*: remove the file"):
        run_pretrain(cfg)


def test_skipped_shapes_are_listed(make_config, overrides, monkeypatch):
    cfg = make_config(*overrides, "data.on_error=skip", "stages=[evaluate]", name="render")
    renderer = render.Renderer(cfg)
    done = renderer(replace(plan(cfg)[0], id="nobody"))
    assert done.skipped is not None and "nobody" in done.skipped
