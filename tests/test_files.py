"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from mvdecor.errors import InputError
from mvdecor.files import write_atomically


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
