"""Batches are shared by any number of processes up to their size, and more processes are refused at the start."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mvdecor.engine.cli import CONFIGS
from mvdecor.engine.distributed import share_of_batch
from mvdecor.errors import InputError
from mvdecor.systems.mvdecor.check import check_shares
from mvdecor.systems.open_vocabulary.settings import check_config as check_scene
from mvdecor.systems.semantic_srn.settings import check_shares as srn_shares
from mvdecor.systems.to_the_point.settings import check_shares as ttp_shares

CHECKS = {"mvdecor": check_shares, "semantic_srn": srn_shares, "to_the_point": ttp_shares}

EXPERIMENTS = sorted(file.stem for file in Path(CONFIGS, "experiment").glob("*.yaml"))
OF_ONE_PROCESS = tuple(name for name in EXPERIMENTS if "ovs" in name)


def processes(monkeypatch, count: int) -> None:
    """What torchrun says to each of so many processes."""
    for name, value in {"RANK": "0", "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}.items():
        monkeypatch.setenv(name, value)


def least_batch(cfg) -> int:
    """The smallest batch of which every process needs an item."""
    training = cfg.training
    if cfg.system == "semantic_srn":
        return min(training.pretrain.objects, training.finetune.objects)
    if cfg.system == "to_the_point":
        return min(training.pretrain.batch_size, training.finetune.batch_size)
    sizes = [training.pretrain.pairs, training.finetune.batch_size]
    if training.finetune.lambda_ssl > 0 and not training.finetune.joint:
        sizes.append(training.finetune.pairs)
    return min(sizes)


@pytest.mark.parametrize("experiment", OF_ONE_PROCESS)
def test_a_scene_is_trained_by_one_process(experiment, make_config, monkeypatch):
    cfg = make_config(f"experiment={experiment}", "words=[red lamp,floor]")
    check_scene(cfg)
    processes(monkeypatch, 2)
    with pytest.raises(InputError, match="2 processes were started: a scene is trained by one process"):
        check_scene(cfg)


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in OF_ONE_PROCESS])
def test_every_experiment_is_shared_or_refused_with_the_numbers_that_work(experiment, make_config, monkeypatch):
    cfg = make_config(f"experiment={experiment}", name="table" if experiment.startswith("table") else "config")
    check, least = CHECKS[cfg.get("system", "mvdecor")], least_batch(cfg)
    for count in (1, 2, 4, 8):
        processes(monkeypatch, count)
        if count <= least:
            check(cfg, "pretrain", "finetune")
        else:
            with pytest.raises(InputError, match=rf"cannot be shared by {count} processes: start at most {least}"):
                check(cfg, "pretrain", "finetune")
    if experiment in ("srn_chairs", "srn_tables"):
        assert least == 4 and cfg.training.pretrain.objects == 8, "the pretraining runs on eight GPUs, the head on four"
    elif not experiment.endswith("_cpu") and experiment not in ("demo", "official_partnet", "srn_demo", "ttp_demo"):
        assert least >= 8, "the paper's recipe runs on eight GPUs"


@pytest.mark.parametrize(("size", "count"), [(8, 8), (8, 3), (5, 4), (2, 4), (1, 1)])
def test_shares_cover_a_batch_once_and_differ_by_one_item_at_most(size, count):
    shares = [share_of_batch(SimpleNamespace(world_size=count, global_rank=rank), size) for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(size))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
