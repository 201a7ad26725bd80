"""A bad shape is named once per command, and once more at its end."""

import pytest

from mvdecor.errors import InputError
from mvdecor.shapes.annotations import SplitFile
from mvdecor.shapes.loading import announce_skipped, list_skipped


def test_a_shape_that_many_stages_skip_is_warned_of_once(capsys, tmp_path):
    reason = f"{tmp_path}/chair.obj: is empty"  # of this test alone: what was said is kept for the process
    for _ in range(10):
        announce_skipped("chair", reason)
    announce_skipped("chair", f"{reason}, otherwise")
    assert capsys.readouterr().out.splitlines() == [
        f"warning: skipped shape chair: {reason}",
        f"warning: skipped shape chair: {reason}, otherwise",
    ]
    for _ in range(3):
        list_skipped([("chair", reason)])
    list_skipped([["chair", reason], ["table", reason]])  # as JSON gives them
    list_skipped([])
    list_skipped([("chair", reason), ("table", reason)], again=True)
    one, two = f"  chair: {reason}", f"  table: {reason}"
    head = "skipped {} shapes that could not be read:"
    assert capsys.readouterr().out.splitlines() == [head.format(1), one, head.format(1), two, head.format(2), one, two]


def test_a_missing_split_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match=r"split\.json: no such file, so there is no list 'train'; write this file"):
        SplitFile(tmp_path / "split.json").ids("train")
    (tmp_path / "split.json").write_text('{"test": ["a"]}')
    with pytest.raises(InputError, match=r"split\.json: has no list 'train'; write"):
        SplitFile(tmp_path / "split.json").ids("train")
