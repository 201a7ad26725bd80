"""What to run first on a machine with a GPU (make gpu): the doctor, the device against the CPU, the benchmark.

    python -m mvdecor.apps.benchmark.first_run FILE [KEY=VALUE ...]      # in a checkout; further words go to the benchmark

Each part ends after its own limit, together in under ten minutes, and the next one begins even if one failed. FILE is the
JSON file of the benchmark with the outcome of the parts; it is printed, too. Exit code 1 if a part failed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from mvdecor.engine.provenance import ROOT
from mvdecor.files import read_json, write_json

TESTS = (
    "tests/gpu/test_library_on_device.py",
    "tests/gpu/test_systems_on_device.py",
    "tests/views/test_rasterizers.py",
)


@dataclass(frozen=True)
class Part:
    """A command with a limit.

    Attributes:
        name: of the part.
        command: words, from the checkout's folder.
        limit: seconds after which the command and what it started are killed.
    """

    name: str
    command: Sequence[str]
    limit: float


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Attributes:
        name: of the part.
        status: "passed", "failed" or "stopped at its limit".
        seconds: that it took.
    """

    name: str
    status: str
    seconds: float


def parts(benchmark_file: Path, tests_file: Path, words: Sequence[str]) -> list[Part]:
    """The three, which write their results to two files; `words` are further settings of the benchmark."""
    benchmark = ("scripts/benchmark.py", "device=cuda", "few_shapes=20", f"json={benchmark_file}", *words)
    return [
        Part("doctor", (sys.executable, "-m", "mvdecor.doctor"), 60),
        Part("tests", (sys.executable, "-m", "pytest", "-v", "-n", "4", f"--junitxml={tests_file}", *TESTS), 200),
        Part("benchmark", (sys.executable, *benchmark), 320),
    ]


def run_part(part: Part) -> Outcome:
    """Run it, its output on the terminal; at its limit it is killed with all that it started."""
    print(f"== {part.name}, at most {part.limit:g} s", flush=True)
    start = time.monotonic()
    process = subprocess.Popen(part.command, cwd=ROOT, start_new_session=True)
    try:
        status = "passed" if process.wait(part.limit) == 0 else "failed"
    except subprocess.TimeoutExpired:
        status = "stopped at its limit"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Outcome(part.name, status, round(time.monotonic() - start, 1))


def tests_of(file: Path) -> dict:
    """Counts of pytest's report and the names of tests that failed; empty if it was not written."""
    if not file.is_file():
        return {}
    suite = next(ElementTree.parse(file).iter("testsuite"))
    failed = [
        f"{case.get('classname')}.{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return {"tests": int(suite.get("tests", 0)), "skipped": int(suite.get("skipped", 0)), "failed": failed}


def main(file: Path, words: Sequence[str]) -> int:
    """Run the parts and write the file; gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        benchmark_file, tests_file = Path(folder) / "benchmark.json", Path(folder) / "tests.xml"
        outcomes = [run_part(part) for part in parts(benchmark_file, tests_file, words)]
        content = {"parts": [asdict(outcome) for outcome in outcomes], "tests": tests_of(tests_file)}
        if benchmark_file.is_file():
            content |= read_json(benchmark_file, "it was written just now")
    content.pop("config", None)  # of the benchmark's command: its files are on this machine
    write_json(file, content)
    print(json.dumps(content, indent=1, ensure_ascii=False))
    return int(any(outcome.status != "passed" for outcome in outcomes))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
