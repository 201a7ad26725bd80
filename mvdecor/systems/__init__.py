"""The systems. `cfg.system` names the one whose stages the scripts run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from omegaconf import DictConfig

from mvdecor.errors import InputError

SYSTEMS = ("mvdecor", "open_vocabulary", "semantic_srn", "to_the_point", "view_unet")


def stage_of_system(name: str) -> Callable[[DictConfig], dict]:
    """A stage that runs as `name` of the module `stages` of the configuration's system: run_pretrain, run_pipeline, ...

    Raises:
        InputError: when called, if there is no such system, or it has no such stage.
    """

    def run(cfg: DictConfig) -> dict:
        if cfg.system not in SYSTEMS:
            raise InputError(f"system={cfg.system} is unknown: choose one of {', '.join(SYSTEMS)}")
        stage = getattr(import_module(f"mvdecor.systems.{cfg.system}.stages"), name, None)
        if stage is None:
            raise InputError(f"system={cfg.system} has no stage {name.removeprefix('run_')!r}: choose another script")
        return stage(cfg)

    return run


run_pretrain = stage_of_system("run_pretrain")
run_finetune = stage_of_system("run_finetune")
run_evaluate = stage_of_system("run_evaluate")
run_ceiling = stage_of_system("run_ceiling")
run_pipeline = stage_of_system("run_pipeline")
