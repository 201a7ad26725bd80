"""scripts/captures.py on every configs/capture, as a user calls it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdecor.apps.captures import run_captures
from mvdecor.engine.cli import CONFIGS
from mvdecor.errors import InputError
from tests.calls import call
from tests.capture_files import some_cameras, some_images, write_srn, written

VIEWS = {"rendered": 3, "rooms": 5}
CAPTURES = sorted(path.stem for path in Path(CONFIGS, "capture").glob("*.yaml"))


@pytest.mark.parametrize("name", CAPTURES)
def test_each_configuration_reads_its_format(name, make_config, made_up_partnet, tmp_path, capsys):
    overrides = [f"capture={name}", f"out={tmp_path / 'out'}", "limit=2"]
    if name == "rooms":  # made up, without files
        overrides += ["capture.size=32", "capture.views=5"]
    elif name == "rendered":
        overrides += ["data=partnet", f"data.root={made_up_partnet}", "data.category=Chair", "split=train"]
        overrides += ["capture.count=3", "capture.size=32"]
    else:
        written(name, tmp_path / "captures" / "scene")
        overrides.append(f"capture.root={tmp_path / 'captures'}")
    files = run_captures(make_config(*overrides, name="captures"))
    assert len(files) == (2 if name in ("rendered", "rooms") else 1)
    printed = capsys.readouterr().out
    for file in files:
        picture = np.asarray(Image.open(file).convert("RGB"))
        assert picture.shape[0] >= 320 and picture.shape[1] > 400
        assert f"  {file.stem}: {VIEWS.get(name, 4)} views of 32x" in printed


def test_bad_capture_ends_the_command_with_one_line(tmp_path):
    write_srn(tmp_path / "a", some_cameras(), some_images())
    (tmp_path / "a" / "rgb" / "000000.png").unlink()
    done = call("captures", "capture=srn", f"capture.root={tmp_path}", f"out={tmp_path / 'out'}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "000000.txt: this pose has no image named 000000" in done.stderr


def test_error_of_a_reader_is_shown_itself(make_config, tmp_path):
    cfg = make_config("capture=colmap", f"capture.root={tmp_path}", f"out={tmp_path / 'out'}", name="captures")
    with pytest.raises(InputError, match=r"holds no cameras\.bin or cameras\.txt"):
        run_captures(cfg)
    cfg = make_config("capture=colmap", "+capture.dwonscale=2", f"out={tmp_path / 'out'}", name="captures")
    with pytest.raises(InputError, match="dwonscale"):
        run_captures(cfg)


@pytest.mark.parametrize("axes", ["opencv", "opengl"])
def test_cameras_that_look_away_are_told(axes, make_config, tmp_path, capsys):
    write_srn(tmp_path / "a", some_cameras(), some_images())
    for i, pose in enumerate(some_cameras().poses(axes)):
        np.savetxt(tmp_path / "a" / "pose" / f"{i:06d}.txt", pose)
    run_captures(make_config("capture=srn", f"capture.root={tmp_path}", f"out={tmp_path / 'out'}", name="captures"))
    assert ("most cameras look away" in capsys.readouterr().out) == (axes == "opengl")
