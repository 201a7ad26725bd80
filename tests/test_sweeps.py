"""Sweeps: several settings in one command, on this machine and through the cluster's launcher; the released code's settings."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mvdecor.engine.cli import CONFIGS
from tests.calls import call

OFFICIAL = {
    "training.matching.min_cosine": -1,
    "training.matching.unique": False,
    "training.pretrain.replace": True,
    "training.finetune.joint": False,
    "training.finetune.batch_norm": "eval_pretrained",
    "training.finetune.replace": True,
    "lifting.rule": "official",
}
needs_submitit = pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_submitit_launcher") is None if find_spec("hydra_plugins") else True,
    reason="needs the extra `slurm` (pip install -e '.[slurm]')",
)


def leaves(node, prefix: str = "") -> dict:
    if not isinstance(node, dict):
        return {prefix: node}
    return {k: v for name, child in node.items() for k, v in leaves(child, f"{prefix}.{name}".strip(".")).items()}


@pytest.mark.parametrize("name", ["people_cpu", "partnet"])
def test_official_experiments_change_the_released_choices_and_nothing_else(name, make_config):
    ours, official = (
        leaves(OmegaConf.to_container(make_config(f"experiment={n}"))) for n in (name, f"official_{name}")
    )
    changed = {key: official[key] for key in official if official[key] != ours[key]}
    del changed["out"]
    if name == "people_cpu":  # which has no contrastive term in fine-tuning, and no near negatives
        assert (changed.pop("training.finetune.lambda_ssl"), changed.pop("loss.radius")) == (0.001, 0.0)
    assert changed == OFFICIAL and ours.keys() == official.keys()
    alone = [make_config(f"experiment={name}", f"{key}={value}") for key, value in OFFICIAL.items()]
    for key, cfg in zip(OFFICIAL, alone, strict=True):
        assert OmegaConf.select(cfg, key) == OFFICIAL[key]


def sweep(people: Path, tiny: tuple[str, ...], cwd: Path, *overrides: str) -> subprocess.CompletedProcess:
    """Two fine-tuning jobs from scratch; `out` is named by the swept value."""
    cwd.mkdir()
    words = [
        *("-m", "experiment=people_cpu", *tiny),
        *(f"data.root={people}", "views.close_ups=0", "training.finetune.k=1,2"),
        *(
            "out=outputs/ablation/k_${training.finetune.k}",
            *overrides,
        ),  # of two words for a setting the last one counts
    ]
    return call("finetune", *words, cwd=cwd)


def check_sweep(done: subprocess.CompletedProcess, cwd: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert [path.name for path in cwd.iterdir()] == ["outputs"], "a sweep writes under outputs"
    assert {path.name for path in (cwd / "outputs").iterdir()} == {"ablation", "multirun"}
    assert {path.name for path in (cwd / "outputs" / "ablation").iterdir()} == {"k_1", "k_2"}
    for k in (1, 2):
        result = json.loads((cwd / "outputs" / "ablation" / f"k_{k}" / "finetune.json").read_text())
        assert len(result["shapes"]) == k and result["config"]["training"]["finetune"]["k"] == k
        assert result["config"]["out"] == f"outputs/ablation/k_{k}"


def test_a_sweep_runs_each_value_in_a_folder_of_its_own(made_up_people, tiny, tmp_path):
    done = sweep(made_up_people, tiny, tmp_path / "cwd")
    check_sweep(done, tmp_path / "cwd")
    assert {path.name for path in (tmp_path / "cwd" / "outputs" / "multirun").iterdir()} == {"multirun.yaml"}


def test_a_bad_job_does_not_end_a_sweep(made_up_people, tiny, tmp_path):
    done = sweep(made_up_people, tiny, tmp_path / "cwd", "training.finetune.k=1,90,2")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and "k=90 labelled shapes" in errors[0] and "1 jobs of the sweep failed" in errors[1]
    folders = sorted((tmp_path / "cwd" / "outputs" / "ablation").iterdir())
    assert [folder.name for folder in folders if (folder / "finetune.json").exists()] == ["k_1", "k_2"]


@needs_submitit
def test_a_sweep_goes_through_the_launcher_of_the_cluster(made_up_people, tiny, tmp_path):
    """submitit's local executor: the same launcher, with processes of this machine in place of a queue."""
    done = sweep(
        made_up_people, tiny, tmp_path / "cwd", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=50"
    )
    check_sweep(done, tmp_path / "cwd")
    assert (tmp_path / "cwd" / "outputs" / "multirun" / ".submitit").is_dir()


@needs_submitit
def test_the_cluster_config_is_one_that_the_launcher_knows():
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        plain, cluster = (
            compose("config", overrides=overrides, return_hydra_config=True)
            for overrides in ([], ["cluster=slurm", "hydra.launcher.partition=gpu"])
        )
    launcher = cluster.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher") and plain.hydra.launcher._target_.endswith("BasicLauncher")
    assert launcher.partition == "gpu" and launcher.gpus_per_node == 1
    assert {k: v for k, v in cluster.items() if k != "hydra"} == {k: v for k, v in plain.items() if k != "hydra"}
