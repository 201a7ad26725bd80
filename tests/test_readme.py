"""The commands that the documents show can be run: scripts exist and their settings compose."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[str]:
    """Each `python scripts/NAME.py ...` of a document, in a code block (where \\ continues a line) or between backticks."""
    found = []
    for block in re.findall(r"```.*?```", text, flags=re.DOTALL):
        found += re.findall(r"python (scripts/\w+\.py[^\n]*)", re.sub(r"\\\n\s*", "", block))
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return found + [re.sub(r"\s+", " ", c) for c in re.findall(r"`[^`]*?python (scripts/\w+\.py[^`]*)`", prose)]


CASES = [(str(path.relative_to(ROOT)), c) for path in DOCUMENTS if path.exists() for c in commands(path.read_text())]


def test_commands_are_found():
    text = "```\npython scripts/a.py x=1 \\\n  y=2  # why\n```\nand `.venv/bin/python scripts/b.py z=[1]` too"
    assert commands(text) == ["scripts/a.py x=1 y=2  # why", "scripts/b.py z=[1]"]
    assert any(document == "README.md" for document, _ in CASES)


@pytest.mark.parametrize(("document", "command"), CASES)
def test_command_composes(document, command, make_config):
    script, *words = shlex.split(command, comments=True)
    assert (ROOT / script).is_file(), f"{document} names {script}, which does not exist"
    overrides = [word for word in words if "=" in word]
    options = [word for word in words if "=" not in word and word not in ("--multirun", "-m", "--cfg", "job")]
    assert not options, f"{document}: {options} are no settings"
    name = {"scripts/generate.py": "generate", "scripts/table.py": "table"}.get(script, "config")
    cfg = make_config(*overrides, name=name)
    assert cfg.out


def test_readme_lists_every_experiment():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "configs" / "experiment").glob("*.yaml"):
        assert f"`{path.stem}`" in text, f"README.md does not mention experiment={path.stem}"
