"""Figures of the benchmark by hand arithmetic, on a clock that only the timed functions turn; the parts of `make gpu`."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from mvdecor.apps.benchmark import first_run, measure, rows, steps
from mvdecor.apps.benchmark.first_run import Outcome, Part, run_part
from mvdecor.apps.benchmark.measure import Row, Spread, Training, time_both, time_runs, time_steps
from mvdecor.apps.benchmark.projection import project
from mvdecor.apps.benchmark.run import run_benchmark
from mvdecor.errors import InputError
from tests.benchmark.test_benchmark import TINY

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Clock:
    """Shows the seconds that its functions have added."""

    def __init__(self) -> None:
        self.now = 0.0

    def taking(self, *seconds: float):
        """A function that takes the given seconds, call after call, then the last of them."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (measure, steps):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return clock


def test_times_and_rates(clock):
    assert time_runs(clock.taking(50, 1, 2, 6), 3, CPU, divisor=4) == Spread(0.5, 0.25, 1.5)  # the first does not count
    ours, reference = time_both(clock.taking(9, 2), clock.taking(9, 6, 6, 8), 3, CPU)
    assert (ours, reference) == (Spread(2, 2, 2), Spread(6, 6, 8))
    gain = Row("a", ours, reference, "s", "", "cpu", 3.0)
    growth = Row("a", ours, reference, "MB", "", "cpu", 0.3, "growth")
    rate = Row("a", ours.rate(100), reference.rate(30), "per second", "", "cpu", 11.0, "rate")
    assert ours.rate(100) == Spread(50, 50, 50) and reference.rate(24) == Spread(4, 3, 4)
    assert (gain.ratio, growth.ratio, rate.ratio) == (3, pytest.approx(1 / 3), 10)
    assert (gain.reached, growth.reached, rate.reached) == (True, False, False)
    assert Row("a", ours, reference, "", "", "cpu", None).reached


def test_steps_are_timed_one_by_one_and_on_a_gpu_together(clock):
    assert time_steps(clock.taking(9, 9, 1, 2, 3), 2, 3, CPU) == [1000, 2000, 3000]
    assert time_steps(clock.taking(9, 9, 1, 2, 3), 2, 3, CUDA) == [2000]
    for device, expected in ((CPU, [1000, 2000, 6000]), (CUDA, [3000])):
        watch, run = steps.Stopwatch(device), clock.taking(*[9] * steps.SKIPPED, 1, 2, 6, 50)
        for _ in watch.progress(steps.SKIPPED + 4, "train"):
            run()
        assert watch.milliseconds() == pytest.approx(expected), "the first steps and the last one do not count"


def test_projection():
    training = Training("recipe", steps=600_000, images=16, sampling=8.0)
    row = Row("a", Spread.of([40.0]), Spread.of([32.0]), "ms", "", "gpu", 1.15, "growth", training)
    projected = project(row)
    assert projected["images_per_second"] == {"step": 400, "network": 500, "loader": 2000}
    hours = {"step": 24000 / 3600, "network": 19200 / 3600, "loader": 4800 / 3600}  # of 9.6 million images
    for count in (1, 8, 32):
        assert projected["hours"][str(count)] == pytest.approx({name: h / count for name, h in hours.items()})


def test_a_row_that_fails_does_not_stop_the_others(make_config, monkeypatch, tmp_path, capsys):
    row = Row("good", Spread.of([1.0]), Spread.of([2.0]), "s", "x", "cpu", 1.0)

    def bad(*_):
        raise ZeroDivisionError("no kernel")

    def absent(*_):
        raise InputError("no data")

    monkeypatch.setattr("mvdecor.apps.benchmark.run.ROWS", {"bad": bad, "absent": absent, "good": lambda *_: row})
    with pytest.raises(RuntimeError, match=r"rows that failed.*: bad$"):
        run_benchmark(make_config(*TINY, f"json={tmp_path}/rows.json", name="benchmark"))
    written = json.loads((tmp_path / "rows.json").read_text())
    assert [one["row"] for one in written["rows"]] == ["good"]
    assert written["left_out"] == {"bad": "ZeroDivisionError: no kernel", "absent": "InputError: no data"}
    assert "no kernel" in capsys.readouterr().out


def test_a_part_at_its_limit_is_killed_with_what_it_started(tmp_path, monkeypatch):
    read, write = os.pipe()

    class Popen(subprocess.Popen):
        def __init__(self, command, **more):
            super().__init__(command, **more, stdout=write)

        def wait(self, timeout=None):
            if timeout is None:
                return super().wait()
            assert os.read(read, 6) == b"begun\n"  # by the process that the part has started
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    command = ("sh", "-c", "(echo begun; exec sleep 600) & wait")
    assert run_part(Part("slow", command, 7)).status == "stopped at its limit"
    os.close(write)
    assert os.read(read, 1) == b"", "a process is left that holds the other end"
    os.close(read)


def test_the_parts_and_their_file(tmp_path, monkeypatch, capsys):
    report = '<testsuites><testsuite tests="2" skipped="1"><testcase classname="t" name="a"><failure/></testcase>'
    report += '<testcase classname="t" name="b"/></testsuite></testsuites>'
    content = {"rows": [1], "config": {"json": "/tmp/x"}, "machine": {"device": "gpu"}}

    def write(file, text):
        return sys.executable, "-c", f"open({str(file)!r}, 'w').write({text!r})"

    real = first_run.parts
    assert sum(part.limit for part in real(tmp_path, tmp_path, ())) < 600
    monkeypatch.setattr(
        first_run,
        "parts",
        lambda benchmark, tests, words: [
            Part("doctor", (sys.executable, "-c", "raise SystemExit(3)"), 60),
            Part("tests", write(tests, report), 60),
            Part("benchmark", write(benchmark, json.dumps(content)), 60),
        ],
    )
    monkeypatch.setattr(first_run, "run_part", lambda part: Outcome(part.name, run_part(part).status, 1.5))
    assert first_run.main(tmp_path / "gpu.json", []) == 1
    written = json.loads((tmp_path / "gpu.json").read_text())
    statuses = [(part["name"], part["status"]) for part in written["parts"]]
    assert statuses == [("doctor", "failed"), ("tests", "passed"), ("benchmark", "passed")]
    assert written["tests"] == {"tests": 2, "skipped": 1, "failed": ["t.a"]}
    assert written["rows"] == [1] and written["machine"] == {"device": "gpu"} and "config" not in written
    assert '"skipped": 1' in capsys.readouterr().out


def test_the_words_of_make_gpu_are_settings(make_config, tmp_path):
    benchmark = first_run.parts(tmp_path / "a.json", tmp_path / "b.xml", ("device=cpu", "rows=[]"))[-1]
    cfg = make_config(*benchmark.command[2:], name="benchmark")
    assert run_benchmark(cfg) == [] and set(rows.ROWS) >= {"pretrain_step", "marcher_rays"}
