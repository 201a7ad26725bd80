"""The package without its repository: a wheel that is built, installed, and run from a folder of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

from mvdecor.commands import COMMANDS, STAGES
from mvdecor.engine.cli import CONFIGS
from tests.calls import PATIENCE, ROOT

SOURCE = ("mvdecor", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds the installed wheel and nothing else of this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in SOURCE:  # building leaves files in the source
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", folder, folder / "source"], capture_output=True, text=True
    )
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("building a wheel needs setuptools, which pip cannot get here")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel], check=True)
    return folder / "site"


def call(installed: Path, cwd: Path, *words: str) -> str:
    """What `mvdecor WORDS` prints; it ends without an error."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mvdecor", *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_runs_doctor_pipeline_and_segment_from_another_folder(installed, tiny, tmp_path):
    assert "all in order" in call(installed, tmp_path, "doctor")
    call(installed, tmp_path, "pipeline", "experiment=demo", *tiny, "data.generate.count=8", "out=run")
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    assert table["revision"] == "unknown", "the code is not this repository's"
    trimesh.creation.icosphere(1).export(tmp_path / "ball.ply")
    call(installed, tmp_path, "segment", "ball.ply", "checkpoint=run/model", "out=parts", "device=cpu")
    assert any((tmp_path / "parts" / "ball").iterdir())


def test_a_wheel_has_every_configuration_and_the_command(installed):
    ours = {path.relative_to(CONFIGS) for path in Path(CONFIGS).rglob("*.yaml")}
    assert {path.relative_to(installed / "mvdecor" / "configs") for path in installed.rglob("*.yaml")} == ours
    (entries,) = installed.glob("mvdecor-*.dist-info/entry_points.txt")
    assert "mvdecor = mvdecor.commands:main" in entries.read_text()
    assert not (installed / "configs").exists(), "no package beside mvdecor"


def test_every_script_is_a_command():
    scripts = {file.stem: file.read_text() for file in (ROOT / "scripts").glob("*.py")}
    assert {*scripts, "doctor"} == set(COMMANDS)
    for name, text in scripts.items():
        assert re.findall(r'run\("(\w+)"\)', text) == [name]
        what, place = COMMANDS[name]
        assert what in text and (place.startswith(f"{STAGES}:") or (Path(CONFIGS) / f"{name}.yaml").exists())


@pytest.mark.parametrize(("words", "code"), [([], 2), (["nothing"], 2), (["--help"], 0)])
def test_without_a_command_there_is_a_list_of_them(words, code):
    done = subprocess.run([sys.executable, "-m", "mvdecor", *words], cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == code and all(name in said for name in COMMANDS) and "Traceback" not in said
