"""Distilling for other words of an open-vocabulary run, in a separate process while the page stays usable."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mvdecor.apps.viewer.background import Background, Pace, Progress, training_progress
from mvdecor.engine.record import changed
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.files import write_atomically
from mvdecor.systems.open_vocabulary.stages import run_finetune

CONFIG, OUTPUT = "config.yaml", "output.txt"
SAVE_EVERY = 50
"""Steps between saved states, at most: what a stopped distillation loses."""


class Distillation(Background):
    """The stage of scripts/finetune.py for some words, in `out/distilled/NAME`, where NAME follows from the words.

    Args:
        cfg: of the run; `checkpoint` is a folder with its field.
        words: to distil for.
        out: of the viewer.
    """

    def __init__(self, cfg: DictConfig, words: Sequence[str], out: Path) -> None:
        name = hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:12]
        self.words, self.folder = list(words), out.absolute() / "distilled" / name
        quiet = {"progress": False, "save_every": min(cfg.save_every, SAVE_EVERY)}
        self._cfg = changed(cfg, words=self.words, out=self.folder, **quiet)
        super().__init__(__name__, [self.folder], self.folder / OUTPUT)
        self._pace = Pace()

    def start(self) -> None:
        """Distil, or go on where an earlier distillation for these words was stopped; one that has finished is taken over.

        Raises:
            InputError: `out` cannot be written.
        """
        check_out(self.folder)
        write_atomically(self.folder / CONFIG, OmegaConf.to_yaml(self._cfg, resolve=True).encode())
        super().start()

    def progress(self) -> Progress:
        """How far it is, by its files."""
        if self.running:
            steps = self._cfg.training.finetune.steps
            return training_progress("distilling", self.folder, "distil/loss", steps, self._pace)
        if self.stopped:
            return Progress("distilling: stopped; started again for the same words, it goes on", 0.0, "stopped")
        if (self.folder / "finetune.json").exists():
            return Progress(f"distilled for {', '.join(self.words)}", 1.0, "finished")
        return Progress(f"distilling: {self.reason()}", 0.0, "failed")

    @property
    def checkpoint(self) -> Path:
        """The distilled features, once it has finished."""
        return self.folder / "model"


if __name__ == "__main__":
    try:
        cfg = OmegaConf.load(Path(sys.argv[1]) / CONFIG)
        assert isinstance(cfg, DictConfig)
        run_finetune(cfg)
    except InputError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)
