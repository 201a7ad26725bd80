"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from mvdecor.errors import InputError
from mvdecor.files import named_file, write_atomically


def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a\.bin: No space left"):
        write_atomically(path, b"new content")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["a.bin"]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        write_atomically(tmp_path / "a.bin", b"half")
    assert not (tmp_path / "a.bin").exists()
    write_atomically(tmp_path / "a.bin", b"whole")
    assert os.listdir(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.png", "a.png"),
        ("tex/b.png", "tex/b.png"),
        ("tex\\b.png", "tex/b.png"),
        ("b.png", "tex/b.png"),
        ("C:\\work\\a.png", "a.png"),
        ("/home/someone/b.png", "tex/b.png"),
        ("tex/../a.png", "a.png"),
        ("missing.png", "missing.png"),
    ],
)
def test_names_in_files_are_found_in_their_folder(tmp_path: Path, name: str, found: str) -> None:
    source = tmp_path / "inside" / "mesh.mtl"
    for file in ("inside/a.png", "inside/tex/b.png", "secret.png"):
        write_atomically(tmp_path / file, b"x")
    assert named_file(name, source, (".", "tex")) == source.parent / found


@pytest.mark.parametrize("name", ["../secret.png", "tex/../../secret.png", "/etc/passwd", "..", "..\\secret.png"])
def test_names_that_lead_out_are_not_followed(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / "secret.png", b"x")
    (tmp_path / "inside").mkdir()
    with pytest.raises(InputError, match=r"mesh\.mtl: names the file .*outside of its folder"):
        named_file(name, tmp_path / "inside" / "mesh.mtl", (".", "tex"))


def test_endless_messages_lose_their_middle() -> None:
    message = str(InputError(f"a.obj: the material {'x' * 50_000} is in none of its files; add it there"))
    assert (
        len(message) <= 1003
        and message.startswith("a.obj: the material xx")
        and message.endswith("xx is in none of its files; add it there")
    )
    assert str(InputError("short")) == "short"
