"""What a loop logs: the CSV and TensorBoard's files hold the same, also after a run that was cut off."""

import csv
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mvdecor.engine.log import SCALARS, Log, log_outcome, read_scalars


def rows(folder: Path) -> list[tuple[int, str, float]]:
    """The CSV file as any other program reads it."""
    with (folder / SCALARS).open(newline="") as stream:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(stream)]


def events(folder: Path) -> EventAccumulator:
    """What TensorBoard shows."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


def single(value: float) -> float:
    """As TensorBoard keeps it: float32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def write(folder: Path, steps: range, first: int = 0, scale: float = 1.0) -> list[tuple[int, str, float]]:
    """Log some steps and give what was logged."""
    log, expected = Log(folder, bar=False, first=first), []
    for step in steps:
        figures = {"loss": scale * math.exp(-step / 3), "accuracy": step / 7}
        log.scalars("pretrain", figures, step)
        expected += [(step, f"pretrain/{name}", value) for name, value in figures.items()]
    log.close()
    return expected


def test_csv_holds_exactly_what_was_logged_and_tensorboard_the_same(tmp_path):
    expected = write(tmp_path, range(5))
    assert rows(tmp_path) == expected
    shown = events(tmp_path)
    for name in ("pretrain/loss", "pretrain/accuracy"):
        logged = [(step, single(value)) for step, own, value in expected if own == name]
        assert [(e.step, e.value) for e in shown.Scalars(name)] == logged
        assert read_scalars(tmp_path / SCALARS)[name] == [(s, v) for s, own, v in expected if own == name]


@pytest.mark.parametrize("first", [0, 3, 5])
def test_steps_after_the_saved_state_are_dropped_when_a_run_goes_on(tmp_path, first):
    before = write(tmp_path, range(5))
    with (tmp_path / SCALARS).open("a") as stream:
        stream.write("5,pretrain/lo")  # cut off in the middle of a row
    after = write(tmp_path, range(first, 8), first=first, scale=2.0)
    expected = [row for row in before if row[0] < first] + after
    assert rows(tmp_path) == expected
    losses = [(step, single(value)) for step, name, value in expected if name == "pretrain/loss"]
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("pretrain/loss")] == losses


def test_rows_are_there_at_once_and_a_row_cut_off_is_left_out(tmp_path):
    log = Log(tmp_path, bar=False)
    log.scalars("finetune", {"loss": 0.1}, 0)
    log.scalars("finetune", {"loss": math.nan}, 50)
    assert [step for step, _, _ in rows(tmp_path)] == [0, 50], "a kill now would lose nothing"
    with (tmp_path / SCALARS).open("a") as stream:
        stream.write("100,finetune/loss,0.")
    ((_, value), (_, lost)) = read_scalars(tmp_path / SCALARS)["finetune/loss"]
    assert value == 0.1 and math.isnan(lost)
    log.close()


def test_no_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Log(None, bar=False)
    for step in log.progress(8, "pretrain"):
        assert not log.picture_due(step)
        log.scalars("pretrain", {"loss": 1.0}, step)
    log.picture("pretrain/channels", np.zeros((2, 2, 3), np.uint8))
    log.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("steps", "expected"), [(1000, [125, 250, 500, 1000]), (4, [1, 2, 4]), (1, [1])])
def test_pictures_become_rarer_and_the_last_step_has_one(tmp_path, steps, expected):
    log = Log(tmp_path, bar=False)
    assert [step + 1 for step in log.progress(steps, "pretrain") if log.picture_due(step)] == expected
    log.close()


def test_outcome_is_a_row_of_settings_and_metrics(tmp_path, make_config):
    write(tmp_path, range(3))
    cfg = make_config("experiment=people_cpu", "seed=7", "training.finetune.k=5")
    log_outcome(tmp_path, cfg, {"evaluation/part_miou": 59.5, "evaluation/ceiling": 91.25})
    shown = events(tmp_path)
    data = shown.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(data).session_start_info.hparams
    assert settings["seed"].number_value == 7
    assert settings["training.finetune.k"].number_value == 5
    assert settings["method.name"].string_value == "mvdecor"
    assert settings["views.channels"].string_value == "['rgb']"
    assert settings["network.weights"].string_value == "None"
    assert not any(name.startswith("data.root") for name in settings)
    assert [e.value for e in shown.Scalars("evaluation/part_miou")] == [59.5]
    assert len(shown.Scalars("pretrain/loss")) == 3, "what was logged before stays"
    assert all(path.is_file() for path in tmp_path.iterdir()), "in the folder itself, not in one below it"


def test_without_a_bar_lines_come_by_time(tmp_path, capsys):
    """Steps of 7 seconds, logged every 50: not silent for 350 seconds."""
    now = [0.0]
    log = Log(tmp_path, every=50, bar=False, first=2, clock=lambda: now[0])
    for step in log.progress(14, "pretrain", first=2):
        now[0] += 7
        if step in (3, 8):
            log.scalars("pretrain", {"loss": 1.5 - step / 10}, step)
        if step == 8:
            log.scalars("pretrain/validation", {"loss": 2.0}, step)
    log.close()
    assert capsys.readouterr().out.splitlines() == [
        "pretrain step 3/14, 7 s, 1.3 min left: no figures yet",
        "pretrain step 8/14, 42 s, 42 s left: loss 1.2 (of step 4)",
        "pretrain/validation step 9/14: loss 2",
        "pretrain step 13/14, 1.3 min, 7 s left: loss 0.7 (of step 9)",
        "pretrain step 14/14, 1.4 min, 0 s left: loss 0.7 (of step 9)",
    ]


def test_the_clock_decides_nothing_but_what_is_printed(tmp_path):
    """A clock that runs wild leaves the same CSV."""
    now = iter(range(0, 10**6, 1000))
    logs = [Log(tmp_path / "wild", every=2, bar=False, clock=lambda: float(next(now)))]
    logs.append(Log(tmp_path / "still", every=2, bar=False, clock=lambda: 0.0))
    for log in logs:
        for step in log.progress(6, "finetune"):
            if log.due(step):
                log.scalars("finetune", {"loss": step / 7}, step)
        log.close()
    assert (tmp_path / "wild" / SCALARS).read_bytes() == (tmp_path / "still" / SCALARS).read_bytes()
