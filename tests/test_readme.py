"""The commands that the documents show can be run: scripts exist and their settings compose."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mvdecor.training.cli import CONFIGS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[str]:
    """Each `python scripts/NAME.py ...` of a document, in a code block (where \\ continues a line) or between backticks."""
    found = []
    for block in re.findall(r"```.*?```", text, flags=re.DOTALL):
        found += re.findall(r"python (scripts/\w+\.py[^\n]*)", re.sub(r"\\\n\s*", "", block))
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return found + [re.sub(r"\s+", " ", c) for c in re.findall(r"`[^`]*?python (scripts/\w+\.py[^`]*)`", prose)]


CASES = [(str(path.relative_to(ROOT)), c) for path in DOCUMENTS if path.exists() for c in commands(path.read_text())]


def test_commands_are_found():
    text = "```\npython scripts/a.py x=1 \\\n  y=2  # why\n```\nand `.venv/bin/python scripts/b.py z=[1]` too"
    assert commands(text) == ["scripts/a.py x=1 y=2  # why", "scripts/b.py z=[1]"]
    assert any(document == "README.md" for document, _ in CASES)


@pytest.mark.parametrize(("document", "command"), CASES)
def test_command_composes(document, command, make_config):
    script, *words = shlex.split(command, comments=True)
    assert (ROOT / script).is_file(), f"{document} names {script}, which does not exist"
    overrides = [word for word in words if "=" in word]
    options = [word for word in words if "=" not in word and word not in ("--multirun", "-m", "--cfg", "job")]
    assert not options, f"{document}: {options} are no settings"
    if "-m" in words:
        check_sweep(overrides)
        return
    own = Path(script).stem  # some scripts have a configuration of their own
    owners = ("benchmark", "figures", "generate", "render", "report", "segment", "splits", "table")
    cfg = make_config(*overrides, name=own if own in owners else "config")
    assert cfg.get("out") or own == "benchmark"


def check_sweep(overrides: list[str]) -> None:
    """Each job of a sweep composes and writes to a folder of its own."""
    if "cluster=slurm" in overrides:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra `slurm`")
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), max_batch_size=None)
    assert len(jobs) > 1, "-m without anything to sweep over"
    folders = []
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        for number, job in enumerate(jobs):
            cfg = compose("config", overrides=job, return_hydra_config=True)
            OmegaConf.update(cfg, "hydra.job.num", number, force_add=True)
            HydraConfig.instance().set_config(cfg)  # as in a job, so that `out` may name a choice of Hydra's
            folders.append(cfg.out)
    assert len(set(folders)) == len(folders), f"jobs of one sweep share a folder: {folders}"


def test_readme_lists_every_experiment():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in text, f"README.md does not mention experiment={path.stem}"
