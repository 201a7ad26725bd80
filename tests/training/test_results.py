"""What a stage leaves, and how it is found again."""

import json

import pytest

from mvdecor.engine.record import Cost, finished, total_cost, write_result
from mvdecor.errors import InputError


def test_a_result_is_found_again_with_the_same_settings_only(make_config, tmp_path):
    file = tmp_path / "a" / "pretrain.json"
    cfg = make_config("loss.temperature=0.1", "out=x")
    assert finished(file, cfg, ("loss",)) is None
    write_result(file, {"figure": 1}, cfg)
    result = finished(file, make_config("loss.temperature=0.1", "out=y", "seed=7"), ("loss",))
    assert result is not None and result["figure"] == 1 and result["seed"] == 0
    assert set(result["machine"]["packages"]) >= {"torch", "numpy"}
    with pytest.raises(InputError, match=r"pretrain\.json holds a result made with other settings \(loss\)"):
        finished(file, make_config("loss.temperature=0.2"), ("loss", "views"))
    file.write_text(file.read_text()[:-20])
    with pytest.raises(InputError, match=r"pretrain\.json: damaged result .*remove it or choose another out="):
        finished(file, cfg, ("loss",))


def test_changed_code_is_kept_beside_the_result(make_config, tmp_path, monkeypatch):
    for changes in ("", "--- a\n+++ b\n"):
        monkeypatch.setattr("mvdecor.engine.record.code_changes", lambda changes=changes: changes)
        write_result(tmp_path / "table.json", {}, make_config())
        kept = tmp_path / "code.diff"
        assert (kept.read_text() if kept.exists() else "") == changes


def test_cost_of_a_run_in_two_parts_is_their_sum():
    first, second = Cost(), Cost()
    state = json.loads(json.dumps(first.state_dict() | {"wall_seconds": 100.0, "cpu_seconds": 50.0}))
    second.load_state_dict(state)
    spent = second.spent()
    assert 100 <= spent["wall_seconds"] < 101 and 50 <= spent["cpu_seconds"] < 51
    assert spent["peak_memory_gb"]["host"] > 0
    assert total_cost([state, state])["wall_seconds"] == 200
