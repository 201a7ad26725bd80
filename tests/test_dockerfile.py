"""The Dockerfile, which nothing builds here, line by line: what it copies, installs and starts is there."""

import fnmatch
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib

import pytest
from packaging.specifiers import SpecifierSet

from tests.calls import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def values(instruction: str) -> list[str]:
    return [value for name, value in LINES if name == instruction]


def test_every_instruction_is_known_and_in_an_order_that_builds():
    order = "FROM RUN ENV RUN WORKDIR COPY RUN ENTRYPOINT CMD"
    assert " ".join(name for name, _ in LINES) == order


def test_the_image_has_a_python_that_the_project_takes_and_the_tests_run_on():
    (image,) = values("FROM")
    version = re.fullmatch(r"python:(\d+\.\d+)-slim", image)
    assert version and SpecifierSet(PROJECT["requires-python"]).contains(version[1])
    assert version[1] == tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"]


def test_it_installs_as_the_makefile_does_but_for_the_tools_of_developers():
    (of_docker,) = [shlex.split(run) for run in values("RUN") if run.startswith("pip")]
    (of_make,) = re.findall(r"-m (pip install .*)", (ROOT / "Makefile").read_text())
    options = {"--no-cache-dir", "--quiet"}
    assert [w for w in of_docker if w not in options] == ["pip", "install", "--editable", "."]
    assert [w for w in shlex.split(of_make) if w not in options] == ["pip", "install", "--editable", ".[dev]"]


def test_it_copies_every_file_of_the_repository_and_no_result():
    assert values("COPY") == [". ."]
    ignored = (ROOT / ".dockerignore").read_text().split()
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip("not in a checkout of the repository")
    for file in filter(None, listing.stdout.split("\0")):
        parts = file.split("/")
        for pattern in ignored:
            anywhere = pattern.removeprefix("**/")
            names = parts if pattern != anywhere else parts[:1]
            assert not any(fnmatch.fnmatch(name, anywhere) for name in names), f"{pattern} keeps {file} out"
    assert {".venv", "outputs"} <= set(ignored) and ".git" not in ignored


def test_what_it_starts_is_there_and_what_it_tells_to_call_composes(make_config):
    (entry,), (option, module) = (json.loads(values(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert (entry, option) == ("python", "-m") and importlib.util.find_spec(module)
    usage = re.sub(r"\s*\\\n#\s*", " ", TEXT)
    (call,) = re.findall(r"#\s+(docker run .*)", usage)
    words = shlex.split(call)
    words = words[words.index("mvdecor") + 1 :]
    assert words[0] == "-m" and importlib.util.find_spec(words[1])
    script = next(i for i, word in enumerate(words) if word.endswith(".py"))
    assert (ROOT / words[script]).exists()
    cfg = make_config(*words[script + 1 :])
    # results go to the folder that is mounted, data come from that one
    (workdir,) = values("WORKDIR")
    assert cfg.out.startswith("outputs/") and f":{workdir}/outputs" in call
    assert f":{cfg.data.root}" in call
    assert f"safe.directory {workdir}" in " ".join(values("RUN"))


def test_any_user_may_run_it():
    """Nobody's home and no entry in /etc/passwd is needed: caches are below HOME, where all may write, and `getpass.getuser`,
    which torch.compile calls, is answered; the working folder is only read."""
    assert values("ENV") == ["HOME=/tmp USER=mvdecor"] and "--user" in TEXT and not values("USER")
