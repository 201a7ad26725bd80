"""What a stage leaves, and how it is told whether that is still the result of the same thing."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from omegaconf import OmegaConf

from mvdecor.engine.content import Files
from mvdecor.engine.cost import Cost, total_cost
from mvdecor.engine.provenance import code_changes, code_hash, provenance, revision
from mvdecor.engine.record import Key, read_result, settings_of, write_result
from mvdecor.errors import InputError


def test_settings_are_chosen_by_key_and_left_out_by_key():
    cfg = OmegaConf.create({"a": {"b": 1, "c": {"d": [2, 3], "e": "${a.b}"}}, "f": None, "fg": 4})
    assert settings_of(cfg, ["a", "f"]) == {"a.b": 1, "a.c.d": [2, 3], "a.c.e": 1, "f": None}
    assert settings_of(cfg, ["a", "fg", "-a.c.d", "-f"]) == {"a.b": 1, "a.c.e": 1, "fg": 4}
    assert settings_of(cfg, ["a", "-a.c"]) == {"a.b": 1}


def test_a_result_is_read_again_with_the_same_settings_and_inputs_only(make_config, tmp_path):
    file, weights = tmp_path / "a" / "pretrain.json", tmp_path / "weights"
    weights.write_bytes(b"one")
    key = Key({"loss.temperature": 0.1, "views": [1, 2]}, {"checkpoint": Files.of([weights])})
    assert read_result(file, key) is None
    write_result(file, {"figure": 1}, provenance(make_config("seed=7")), key.record())
    result = read_result(file, key)
    assert result is not None and result["figure"] == 1 and result["seed"] == 7
    assert set(result["machine"]["packages"]) >= {"torch", "numpy"}
    with pytest.raises(InputError, match=r"pretrain\.json holds .*\(loss\.temperature=0\.1 there, 0\.2 here\): choose"):
        read_result(file, Key(key.settings | {"loss.temperature": 0.2}, key.files))
    with pytest.raises(InputError, match=r"\(new=not set there, 1 here; the content of split\)"):
        read_result(file, Key(key.settings | {"new": 1}, key.files | {"split": Files.of([weights])}))
    weights.write_bytes(b"two")
    with pytest.raises(InputError, match=r"made with other settings or inputs \(the content of checkpoint\)"):
        read_result(file, key)
    damaged = json.loads(file.read_text())
    file.write_text(file.read_text()[:-20])
    with pytest.raises(InputError, match=r"pretrain\.json: damaged result .*remove it or choose another out="):
        read_result(file, key)
    del damaged["key"]
    file.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"written by an older version of mvdecor.*choose another out="):
        read_result(file, key)


def test_files_are_the_same_by_content_wherever_they_lie(tmp_path):
    first, second = tmp_path / "one" / "a.npy", tmp_path / "two" / "a.npy"
    for file in (first, second):
        file.parent.mkdir()
        file.write_bytes(b"labels")
    identity = Files.of([first]).identity()
    assert Files.of([second]).is_same(identity)
    os.utime(first, (0, 0))
    assert Files.of([first]).is_same(identity)  # touched, not changed
    first.write_bytes(b"LABELS")
    assert not Files.of([first]).is_same(identity)
    assert not Files.of([tmp_path / "one" / "b.npy"]).is_same(identity)
    first.unlink()
    missing = Files.of([first])
    assert not missing.is_same(identity) and missing.is_same(missing.identity())
    assert not Files.of([second, second]).is_same(identity)


@pytest.fixture
def checkout(tmp_path):
    """A repository with a package like this one."""
    root = tmp_path / "repository"
    (root / "mvdecor" / "losses").mkdir(parents=True)
    (root / "mvdecor" / "__init__.py").write_text("one = 1\n")
    (root / ".gitignore").write_text("outputs/\n")
    (root / "pyproject.toml").write_text("")
    (root / "configs").mkdir()
    (root / "configs" / "config.yaml").write_text("seed: 0\n")
    (root / "scripts").mkdir()
    (root / "scripts" / "run.py").write_text("")
    commit(root)
    return root


def commit(root):
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=root, check=True)


def test_untracked_code_counts_and_data_beside_it_does_not(checkout):
    clean = revision(checkout)
    assert len(clean) == 40 and code_changes(checkout) == ""
    (checkout / "meshes").mkdir()
    (checkout / "meshes" / "chair.obj").write_text("v 0 0 0\n")
    assert revision(checkout) == clean and code_changes(checkout) == ""
    (checkout / "mvdecor" / "losses" / "mine.py").write_text("temperature = 0.3\n")
    assert revision(checkout) == f"{clean}-dirty"
    assert "+temperature = 0.3" in code_changes(checkout) and "mine.py" in code_changes(checkout)
    (checkout / "configs" / "config.yaml").write_text("seed: 1\n")
    assert "+seed: 1" in code_changes(checkout)
    applied = checkout.parent / "applied"
    subprocess.run(["git", "clone", "-q", checkout, applied], check=True)
    subprocess.run(["git", "apply"], input=code_changes(checkout).encode(), cwd=applied, check=True)
    assert code_hash(applied) == code_hash(checkout)


def test_a_changed_file_of_any_encoding_is_kept_byte_for_byte(checkout, make_config, tmp_path, monkeypatch):
    (checkout / "mvdecor" / "__init__.py").write_bytes("one = 'Größe'\n".encode("latin-1"))
    monkeypatch.setattr("mvdecor.engine.record.code_of_process", lambda: ({}, code_changes(checkout)))
    write_result(tmp_path / "out" / "pretrain.json", {}, provenance(make_config()), Key({}).record())
    applied = checkout.parent / "applied"
    subprocess.run(["git", "clone", "-q", checkout, applied], check=True)
    subprocess.run(["git", "apply", tmp_path / "out" / "code.diff"], cwd=applied, check=True)
    assert code_hash(applied) == code_hash(checkout)


def test_a_copy_inside_of_another_repository_is_not_of_its_revision(checkout, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "README").write_text("another project")
    commit(other)
    copy = shutil.copytree(checkout, other / "copy", ignore=shutil.ignore_patterns(".git"))
    assert revision(copy) == "unknown" and code_changes(copy) == ""
    assert code_hash(copy) == code_hash(checkout)
    assert revision(tmp_path / "nowhere") == "unknown"


def test_changed_code_is_written_beside_the_result(make_config, tmp_path, monkeypatch):
    about = provenance(make_config())
    for changes in ("", "--- a\n+++ b\n", ""):
        monkeypatch.setattr("mvdecor.engine.record.code_of_process", lambda changes=changes: ({}, changes))
        write_result(tmp_path / "table.json", {}, about, Key({}).record())
        patch = tmp_path / "code.diff"
        assert (patch.read_text() if patch.exists() else "") == changes


def test_cost_of_a_run_in_two_parts_is_their_sum():
    first, second = Cost(), Cost()
    state = json.loads(json.dumps(first.state_dict() | {"wall_seconds": 1e6, "cpu_seconds": 5e5}))
    second.load_state_dict(state)
    total = second.gather()
    assert total["wall_seconds"] >= 1e6 and total["cpu_seconds"] >= 5e5
    assert total["peak_memory_gb"]["host"] > 0
    assert total_cost([state, state])["wall_seconds"] == 2e6


def test_cost_counts_processes_that_run_and_that_ended():
    """A child computes until it has used a second of processor time; the cost is asked for while it runs, and after."""
    work = "import time\nwhile time.process_time() < 1: pass\nprint('computed', flush=True)\ninput()"
    cost = Cost()
    child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"computed\n"
    running = cost.here()["cpu_seconds"]
    child.communicate(b"\n")
    ended = cost.here()["cpu_seconds"]
    assert running >= 0.9 and ended >= 0.9
    assert ended < running + 1 + time.process_time()
