"""Rounds of labelling: fine-tune on what is labelled so far, then label the others, in a separate process.

Before the first round the shapes may be pretrained on (`Pretraining`), without any label, in the same way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mvdecor.apps.viewer.background import Background, Pace, Progress, training_progress
from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.apps.viewer.predictions import Prediction, read_ranking
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.files import write_atomically, write_json
from mvdecor.networks import load_checkpoint
from mvdecor.segmenter import Segmenter
from mvdecor.shapes.splits import sha256_of
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.systems.mvdecor.setup import make_shape_set
from mvdecor.systems.mvdecor.stages import run_finetune, run_pretrain
from mvdecor.systems.mvdecor.trained import SIGHT

CONFIG, SPLIT, SUMMARY = "config.yaml", "split.json", "round.json"
RANKING, OUTPUT, CLOSED = "ranking.json", "output.txt", "predicted.json"
SAVE_EVERY = 50
"""Steps between saved states, at most: what a stopped training loses."""


def prepare_round(cfg: DictConfig, labels: LabelFolder, ids: Sequence[str]) -> Path:
    """The folder of the next round: `out/round_N` with the configuration, the lists and the labels' checksums.

    The configuration is the viewer's as it is, with k, the shapes labelled so far (but those of the validation and test
    lists) as the training list, and the unlabelled ones as the test list. If the last round was stopped and nothing has
    changed since, its folder is given back: it goes on where it was.

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
    unlabelled = [id for id in ids if id not in labelled]
    summary = {
        "labelled": train,
        "predict": unlabelled,
        "labels_sha256": {id: sha256_of(labels.path(id)) for id in train},
    }
    number = max(_numbers(out), default=0)
    if number > 0 and _unfinished(
        folder := out.absolute() / f"round_{number}", summary, _config(cfg, folder, len(train))
    ):
        return folder
    folder = out.absolute() / f"round_{number + 1}"
    write_json(folder / SPLIT, {"train": train, "test": unlabelled})
    write_json(folder / SUMMARY, summary)
    write_atomically(folder / CONFIG, OmegaConf.to_yaml(_config(cfg, folder, len(train))).encode())
    return folder


def _numbers(out: Path) -> list[int]:
    return [int(p.name[6:]) for p in out.glob("round_*") if p.name[6:].isdigit()]


def _unfinished(folder: Path, summary: dict[str, Any], config: DictConfig) -> bool:
    """Whether a round has not finished, and would be prepared in the same way today."""
    if (folder / CLOSED).exists() or not all((folder / name).exists() for name in (SUMMARY, CONFIG, SPLIT)):
        return False
    same_labels = json.loads((folder / SUMMARY).read_bytes()) == summary
    return same_labels and (folder / CONFIG).read_text() == OmegaConf.to_yaml(config)


def _config(cfg: DictConfig, folder: Path, k: int) -> DictConfig:
    round_config = _of_stage(cfg, folder)
    round_config["data"]["labelled"]["splits"] = str(folder / SPLIT)
    round_config["training"]["finetune"] |= {"k": k, "split": None, "replace": False}
    return OmegaConf.create(round_config)


def _of_stage(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """The viewer's settings without its own."""
    settings: Any = OmegaConf.to_container(trained_settings(cfg))
    settings = {name: value for name, value in settings.items() if name in MvDeCorSettings.model_fields}
    settings |= {"out": str(folder), "run": 0, "progress": False, "save_every": min(cfg.save_every, SAVE_EVERY)}
    return settings


def trained_settings(cfg: DictConfig) -> DictConfig:
    """The viewer's settings as a round trains: a checkpoint brings its network, and how it sees, both fixed by it."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    if cfg.checkpoint is not None:
        trained = load_checkpoint(cfg.checkpoint)[1].get("config", {})
        settings["network"] = trained.get("network", settings["network"])
        settings["views"] |= {key: value for key, value in trained.get("views", {}).items() if key in SIGHT}
    return OmegaConf.create(settings)


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
        ranking.append((id, prediction.expected_error(shape)))
        ranking.sort(key=lambda pair: -pair[1])
        write_json(folder / RANKING, ranking)
    write_json(folder / CLOSED, {"shapes": len(ranking), "skipped": skipped})


class Round(Background):
    """A round that was started, or that an earlier viewer left.

    Args:
        folder: of `prepare_round`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(__name__, [folder], folder / OUTPUT)
        self._training, self._labelling = Pace(), Pace()

    def progress(self) -> Progress:
        """How far it is, by its files."""
        name = self.folder.name
        running = self.running  # before its files: it may end in between
        if (self.folder / CLOSED).exists():
            skipped = json.loads((self.folder / CLOSED).read_bytes())["skipped"]
            note = f", {len(skipped)} could not be labelled (see {self.folder / CLOSED})" if skipped else ""
            return Progress(f"{name}: {len(self.ranking())} shapes labelled{note}", 1.0, "finished")
        if not running and self.stopped:
            return Progress(f"{name}: stopped; started again with the same labels, it goes on", 0.0, "stopped")
        if not running:
            return Progress(f"{name}: {self.reason()}", 0.0, "failed")
        if (self.folder / "finetune.json").exists():
            count, total = len(self.ranking()), len(json.loads((self.folder / SUMMARY).read_bytes())["predict"])
            text = f"{name}: labelling shape {count + 1} of {total}{self._labelling.left(count, total)}"
            return Progress(text, count / max(1, total), "running")
        steps = int(OmegaConf.select(OmegaConf.load(self.folder / CONFIG), "training.finetune.steps"))
        return training_progress(name, self.folder, "finetune/loss_segmentation", steps, self._training)

    def ranking(self) -> list[tuple[str, float]]:
        """(id, expected error: share of the area) of the shapes labelled so far, the largest first."""
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
    numbers = [number for number in _numbers(out) if (out / f"round_{number}" / CLOSED).exists()]
    return Round(out / f"round_{max(numbers)}") if numbers else None


class Pretraining(Background):
    """Pretraining on the shapes that the viewer shows, in a separate process: `out/pretrain`.

    Args:
        cfg: configs/view.yaml.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self.folder = Path(cfg.out).absolute() / "pretrain"
        super().__init__(__name__, ["--pretrain", self.folder], self.folder / OUTPUT)
        self._pace = Pace()

    def start(self) -> None:
        """Pretrain, or go on where an earlier pretraining of the same settings was stopped.

        Raises:
            InputError: `out` cannot be written.
        """
        check_out(self.folder)
        content = OmegaConf.to_yaml(OmegaConf.create(_of_stage(self._cfg, self.folder)))
        write_atomically(self.folder / CONFIG, content.encode())
        super().start()

    def progress(self) -> Progress:
        """How far it is, by its files."""
        running = self.running
        if self.checkpoint is not None and not running:
            return Progress("pretrained: the next round starts from it", 1.0, "finished")
        if not running and self.stopped:
            return Progress("pretraining: stopped; started again, it goes on", 0.0, "stopped")
        if not running:
            return Progress(f"pretraining: {self.reason()}", 0.0, "failed")
        steps = self._cfg.training.pretrain.steps
        return training_progress("pretraining", self.folder, "pretrain/loss", steps, self._pace)

    @property
    def checkpoint(self) -> Path | None:
        """The pretrained model; None before there is one."""
        return self.folder / "model" if (self.folder / "pretrain.json").exists() else None


def _pretrain(folder: Path) -> None:
    cfg = OmegaConf.load(folder / CONFIG)
    assert isinstance(cfg, DictConfig)
    run_pretrain(cfg)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "--pretrain":
            _pretrain(Path(sys.argv[2]))
        else:
            run_round(Path(sys.argv[1]))
    except InputError as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)
