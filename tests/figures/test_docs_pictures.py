"""The table of the docs' pictures: it names what is there, and what it says is a command."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import pictures

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_picture_of_the_docs_is_in_the_table_and_each_of_the_table_is_there():
    there = {path.name for path in DOCS.rglob("*") if path.suffix in (".png", ".gif", ".webp", ".jpg")}
    assert there == pictures.PICTURES.keys() | pictures.BY_HAND.keys()
    assert not pictures.PICTURES.keys() & pictures.BY_HAND.keys()


def test_every_picture_is_shown_somewhere():
    text = "\n".join(file.read_text() for file in (ROOT / "README.md", *DOCS.rglob("*.md")))
    shown = {Path(link).name for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
    assert shown == pictures.PICTURES.keys() | pictures.BY_HAND.keys()


def test_commands_name_scripts_and_experiments_that_are_there():
    commands = [
        *pictures.RUNS.values(),
        *(picture.command for picture in pictures.PICTURES.values() if picture.command),
    ]
    for command in commands:
        script, *settings = shlex.split(command)
        if script == "-m":
            script = settings[0].replace(".", "/") + ".py"
        assert (ROOT / script).is_file()
        for setting in settings:
            group, _, value = setting.partition("=")
            if group in ("experiment", "photographs", "capture", "template"):
                assert (ROOT / "configs" / group / f"{value}.yaml").is_file(), setting
    assert {picture.run for picture in pictures.PICTURES.values()} <= pictures.RUNS.keys() | {""}


def test_a_picture_of_a_finished_run_is_made_and_one_of_a_missing_run_says_what_it_needs(tmp_path):
    (tmp_path / "people_cpu" / "figures").mkdir(parents=True)
    Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(tmp_path / "people_cpu" / "figures" / "meshes.png")
    said = pictures.make("people.png", tmp_path, tmp_path, train=False, docs=tmp_path)
    assert said == "people.png: made"
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "people.png").convert("RGB")), np.full((4, 6, 3), 7))
    said = pictures.make("srn_tables.png", tmp_path, tmp_path, train=False, docs=tmp_path)
    assert "needs" in said and "python scripts/pipeline.py experiment=srn_tables_cpu" in said
    (tmp_path / "person").mkdir()
    (tmp_path / "person" / "person.webp").write_bytes(b"an animation")
    assert pictures.make("viewer_person.webp", tmp_path, tmp_path, train=False, docs=tmp_path).endswith(": made")
    assert (tmp_path / "viewer_person.webp").read_bytes() == b"an animation"
    assert "made by hand" in pictures.make("segment_image.png", tmp_path, tmp_path, train=False, docs=tmp_path)
    with pytest.raises(pictures.InputError, match="has not finished"):
        (tmp_path / "srn_people_cpu").mkdir()
        pictures.make("srn_people.png", tmp_path, tmp_path, train=False, docs=tmp_path)
