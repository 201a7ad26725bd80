"""Programs called as a user calls them."""

import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore

from mvdecor.engine.snapshots import Snapshots
from mvdecor.processes import worker_context

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 1800
"""Seconds after which something hangs. It only bounds the wait: a busy machine may take minutes for what else takes seconds."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment, for Python processes that import this copy of the package."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def script(name: str, *overrides: str) -> list[str]:
    """The words that call a script."""
    return [str(ROOT / "scripts" / f"{name}.py"), *overrides]


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python with these words, to its end, in an interpreter of its own."""
    words = (sys.executable, *command)
    return subprocess.run(words, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=PATIENCE)


def call(name: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script to its end in a fresh process that has imported the libraries already, which spares seconds each time."""
    return become(script(name, *overrides), cwd)


def call_module(name: str, *overrides: str, cwd: Path) -> subprocess.CompletedProcess:
    """The same for `python -m NAME`."""
    return become(["-m", name, *overrides], cwd)


def become(words: list[str], cwd: Path) -> subprocess.CompletedProcess:
    """Run `python WORDS` to its end in a process of the fork server."""
    (done,) = become_all([words], [{}], cwd)
    return done


def become_ranks(programs: list[list[str]], cwd: Path) -> list[subprocess.CompletedProcess]:
    """Run one program a rank, with the environment that torchrun gives; but no rank is ended because another one failed."""
    # the store listens before the ranks start, on a port of its own: none has to be found free and taken later
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    count, environments = str(len(programs)), []
    for rank in map(str, range(len(programs))):
        place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        environments.append({**place, "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": "0"})
    return become_all(programs, environments, cwd)


def become_all(
    programs: list[list[str]], environments: list[dict[str, str]], cwd: Path
) -> list[subprocess.CompletedProcess]:
    """Run programs at the same time, and wait for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [[Path(folder) / f"{i}.{stream}" for stream in ("out", "err")] for i in range(len(programs))]
        started = []
        for words, files, more in zip(programs, outputs, environments, strict=True):
            started.append(worker_context().Process(target=run_script, args=(words, files, cwd, more)))
            started[-1].start()
        for process in started:
            wait(process)
        texts = [[file.read_text() for file in files] for files in outputs]
    return [
        subprocess.CompletedProcess(words, process.exitcode, *text)
        for words, process, text in zip(programs, started, texts, strict=True)
    ]


def wait(process: BaseProcess) -> None:
    """Wait for the end of a process; one that hangs is killed, and fails the test."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the process hangs: {process}")


def run_script(words: list[str], files: list[Path], cwd: Path, more: dict[str, str] | None = None) -> None:
    """Become `python WORDS`, with standard output and standard error in these files (which may be one)."""
    os.chdir(cwd)
    os.environ.update(more or {})
    for number, file in enumerate(files, start=1):
        with file.open("ab") as stream:
            os.dup2(stream.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


class Killed(BaseException):
    """In the place of a signal: nothing catches it."""


@contextlib.contextmanager
def killed_after(step: int) -> Iterator[None]:
    """A training in this process saves its state after a step, and is killed."""
    save = Snapshots.save

    def save_and_die(self: Snapshots, number: int, state: Mapping[str, Any]) -> None:
        save(self, number, state)
        if number == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Snapshots, "save", save_and_die)
        yield
