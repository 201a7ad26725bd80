"""Rounds of labelling: fine-tune on what is labelled so far, then label the others, in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.apps.viewer.predictions import Prediction, read_ranking
from mvdecor.engine.log import SCALARS, read_scalars
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.files import write_atomically, write_json
from mvdecor.segmenter import Segmenter
from mvdecor.shapes.splits import sha256_of
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.systems.mvdecor.setup import make_shape_set
from mvdecor.systems.mvdecor.stages import run_finetune

CONFIG, SPLIT, SUMMARY = "config.yaml", "split.json", "round.json"
RANKING, OUTPUT, CLOSED = "ranking.json", "output.txt", "predicted.json"


@dataclass(frozen=True)
class Progress:
    """How far a round is.

    Attributes:
        text: one line.
        share: of the present phase, in [0, 1].
        state: "running", "finished" or "failed".
    """

    text: str
    share: float
    state: str


def prepare_round(cfg: DictConfig, labels: LabelFolder, ids: Sequence[str]) -> Path:
    """Make the folder of the next round: `out/round_N` with the configuration, the lists and the labels' checksums.

    The configuration is the viewer's as it is, with k, the shapes labelled so far (but those of the validation and test
    lists) as the training list, and the unlabelled ones as the test list.

    Raises:
        InputError: nothing is labelled, or `out` cannot be written.
    """
    held_out, labelled = labels.held_out(), labels.labelled(ids)
    train = [id for id in labelled if id not in held_out]
    if not train:
        raise InputError(
            f"{labels.root}: no shape outside of the test list has a label yet: label one or more, then fine-tune"
        )
    out = Path(cfg.out)
    check_out(out)
    number = 1 + max((int(p.name[6:]) for p in out.glob("round_*") if p.name[6:].isdigit()), default=0)
    folder = (out / f"round_{number}").absolute()
    unlabelled = [id for id in ids if id not in labelled]
    summary = {
        "labelled": train,
        "predict": unlabelled,
        "labels_sha256": {id: sha256_of(labels.path(id)) for id in train},
    }
    write_json(folder / SPLIT, {"train": train, "test": unlabelled})
    write_json(folder / SUMMARY, summary)
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(_config(cfg, folder, len(train))).encode())
    return folder


def _config(cfg: DictConfig, folder: Path, k: int) -> DictConfig:
    round_config: Any = OmegaConf.to_container(cfg, resolve=True)
    round_config = {
        name: value for name, value in round_config.items() if name in MvDeCorSettings.model_fields
    }  # not the viewer's own
    round_config |= {"out": str(folder), "run": 0, "progress": False}
    round_config["data"]["labelled"]["splits"] = str(folder / SPLIT)
    round_config["training"]["finetune"] |= {"k": k, "split": None, "replace": False}
    return OmegaConf.create(round_config)


def run_round(folder: Path) -> None:
    """Fine-tune as scripts/finetune.py does, then label each shape of the list; the ranking grows shape by shape.

    Raises:
        InputError: as the fine-tuning. A shape that cannot be labelled is left out, and named in predicted.json.
    """
    cfg = OmegaConf.load(folder / CONFIG)
    assert isinstance(cfg, DictConfig)
    run_finetune(cfg)
    segmenter = Segmenter(folder / "model", device=cfg.device, precision=cfg.precision)
    shape_set = make_shape_set(cfg.data.labelled)
    ranking: list[tuple[str, float]] = []
    skipped: list[tuple[str, str]] = []
    for id in json.loads((folder / SUMMARY).read_bytes())["predict"]:
        try:
            shape = shape_set.load(id)
            segmentation = segmenter.segment(shape, seed=cfg.seed, batch_size=cfg.evaluation.batch_size)
        except InputError as error:
            print(f"warning: skipped shape {id}: {error}", flush=True)
            skipped.append((id, str(error)))
            continue
        prediction = Prediction.of(segmentation)
        prediction.save(folder / "predictions" / f"{id}.npz")
        ranking.append((id, prediction.uncertainty(shape)))
        ranking.sort(key=lambda pair: -pair[1])
        write_json(folder / RANKING, ranking)
    write_json(folder / CLOSED, {"shapes": len(ranking), "skipped": skipped})


class Round:
    """A round that was started, or that an earlier viewer left.

    Args:
        folder: of `prepare_round`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Run `run_round` in a separate process."""
        with (self.folder / OUTPUT).open("wb") as output:
            command = [sys.executable, "-m", "mvdecor.apps.viewer.rounds", str(self.folder)]
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def progress(self) -> Progress:
        """How far it is, by its files."""
        name = self.folder.name
        ended = self._process is None or self._process.poll() is not None  # before its files: it may end in between
        if (self.folder / CLOSED).exists():
            skipped = json.loads((self.folder / CLOSED).read_bytes())["skipped"]
            note = f", {len(skipped)} could not be labelled (see {self.folder / CLOSED})" if skipped else ""
            return Progress(f"{name}: {len(self.ranking())} shapes labelled{note}", 1.0, "finished")
        if ended:
            reason = f"it did not finish; see {self.folder / OUTPUT}"
            if (self.folder / OUTPUT).exists():
                lines = (self.folder / OUTPUT).read_text(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else reason
            return Progress(f"{name}: {reason}", 0.0, "failed")
        if (self.folder / "finetune.json").exists():
            predict = len(json.loads((self.folder / SUMMARY).read_bytes())["predict"])
            return Progress(
                f"{name}: labelling shape {len(self.ranking()) + 1} of {predict}",
                len(self.ranking()) / max(1, predict),
                "running",
            )
        return self._training(name)

    def _training(self, name: str) -> Progress:
        file = self.folder / "log" / SCALARS
        losses = read_scalars(file).get("finetune/loss_segmentation", []) if file.exists() else []
        if not losses:
            return Progress(f"{name}: starting", 0.0, "running")
        steps = int(OmegaConf.select(OmegaConf.load(self.folder / CONFIG), "training.finetune.steps"))
        step, loss = losses[-1]
        return Progress(f"{name}: step {step + 1} of {steps}, loss {loss:.3f}", (step + 1) / steps, "running")

    def ranking(self) -> list[tuple[str, float]]:
        """(id, mean disagreement of the views over the area) of the shapes labelled so far, the most uncertain first."""
        return read_ranking(self.folder / RANKING)

    def prediction(self, id: str) -> Prediction | None:
        """What it said of a shape; None if it has said nothing."""
        file = self.folder / "predictions" / f"{id}.npz"
        return Prediction.load(file) if file.exists() else None

    @property
    def checkpoint(self) -> Path | None:
        """The fine-tuned model; None before there is one."""
        return self.folder / "model" if (self.folder / "finetune.json").exists() else None


def last_round(out: Path) -> Round | None:
    """The latest finished round in a folder."""
    numbers = [int(p.name[6:]) for p in out.glob("round_*") if p.name[6:].isdigit() and (p / CLOSED).exists()]
    return Round(out / f"round_{max(numbers)}") if numbers else None


if __name__ == "__main__":
    try:
        run_round(Path(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)
