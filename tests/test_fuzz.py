"""The short version of `make fuzz`, and that it would notice a fault."""

import os
import signal

from tests.fuzz import Target, fuzz, run


def test_damaged_files_are_read_or_refused(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tests.fuzz.KEPT", tmp_path)
    total = run(300, 2, None)
    assert total["faults"] == 0, capsys.readouterr().out
    assert total["read"] + total["refused"] >= 300


def test_faults_are_noticed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tests.fuzz.KEPT", tmp_path / "kept")
    file = tmp_path / "a.txt"
    file.write_bytes(b"good 1 2 3")

    def read() -> None:
        data = file.read_bytes()
        if not data.startswith(b"good"):
            raise KeyError("what a user should never see")

    counts = fuzz(Target("text", [file], read), 30, 0)
    assert counts["faults"] > 0 and counts["read"] > 0 and sum(counts.values()) == 30
    assert "KeyError: 'what a user should never see'" in capsys.readouterr().out
    assert len(list((tmp_path / "kept").iterdir())) == counts["faults"]
    assert file.read_bytes() == b"good 1 2 3"


def test_a_crash_is_noticed(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.txt"
    file.write_bytes(b"1")

    def read() -> None:
        if file.read_bytes() != b"1":
            os.kill(os.getpid(), signal.SIGKILL)

    counts = fuzz(Target("text", [file], read), 3, 0)
    assert counts["faults"] >= 2 and "crashed or hung (exit code -9)" in capsys.readouterr().out
    assert file.read_bytes() == b"1"
