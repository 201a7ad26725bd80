"""Folders that are read-only, disks that are full: one clear message, nothing half written, and then the same command works.

The real thing: each case runs in a process that has mounts of its own, and is skipped where the system does not allow that.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest
import trimesh
from octants import save_octants

from mvdecor.processes import worker_context
from mvdecor.systems.mvdecor.stages import run_pipeline
from tests import calls

NEW_MOUNTS, NEW_USER = 0x20000, 0x10000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18


def mount(source: str | None, target: Path | str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)"""
    words = [None if word is None else os.fsencode(word) for word in (source, str(target), kind, options)]
    if ctypes.CDLL(None, use_errno=True).mount(*words[:3], ctypes.c_ulong(flags), words[3]):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def read_only(folder: Path) -> None:
    mount(str(folder), folder, None, BIND)
    mount(None, folder, None, BIND | REMOUNT | READ_ONLY)


def small_disk(folder: Path, size: str) -> None:
    folder.mkdir(exist_ok=True)
    mount("tmpfs", folder, "tmpfs", 0, f"size={size}")


def with_little_shared_memory(*words: str) -> tuple[int, str]:
    """Exit code and output of a Python program of its own, workers included, where /dev/shm is of 64 kB."""
    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k")
    done = calls.run(*words)
    return done.returncode, done.stdout + done.stderr


def matching_where_nothing_can_be_written(package: Path, home: Path) -> tuple[int, str]:
    """Exit code and output of a match of two views, compiled where neither the package nor the home can be written to."""
    for folder in (package, home):
        read_only(folder)
    os.environ.update(HOME=str(home), XDG_CACHE_HOME=str(home))
    os.environ.pop("NUMBA_CACHE_DIR", None)
    done = calls.run("-B", "-c", "from mvdecor.apps.doctor import _match; print(_match('cpu'))")
    return done.returncode, done.stdout + done.stderr


def more_room(folder: Path) -> None:
    mount("tmpfs", folder, "tmpfs", REMOUNT, "size=50m")


def apart(work: Callable[..., object], *words: object) -> object:
    """What `work(*words)` gives, run in a process whose mounts nobody else sees and that end with it."""
    ours, theirs = worker_context().Pipe(duplex=False)
    process = worker_context().Process(target=_apart, args=(work, words, theirs))
    process.start()
    theirs.close()
    try:
        allowed, given = ours.recv()
    except EOFError:
        raise AssertionError("the process died") from None
    finally:
        process.join()
    if not allowed:
        pytest.skip(f"no mounts of one's own here: {given}")
    return given


def _apart(work: Callable[..., object], words: Sequence, pipe) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.unshare(NEW_MOUNTS) and libc.unshare(NEW_MOUNTS | NEW_USER):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        mount(None, "/", None, RECURSIVE | PRIVATE)
    except OSError as error:
        pipe.send((False, str(error)))
        return
    pipe.send((True, work(*words)))


def script(log: Path, name: str, *overrides: str) -> tuple[int, str]:
    """Exit code of a script and what it said, run in a process of its own that sees the mounts of this one."""
    log.unlink(missing_ok=True)
    # a fork: `apart` calls this where there are no threads, and the server of other processes has other mounts
    process = get_context("fork").Process(
        target=calls.run_script, args=(calls.script(name, *overrides), [log, log], log.parent)
    )
    process.start()
    calls.wait(process)
    return process.exitcode, log.read_text()


def plain_script(log: Path, name: str, *overrides: str) -> tuple[int, str]:
    """The same with nothing special mounted."""
    done = calls.call(name, *overrides, cwd=log.parent)
    return done.returncode, done.stdout + done.stderr


def script_beside_read_only(folder: Path, log: Path, *command: str) -> tuple[int, str]:
    """A script while a folder is read-only."""
    read_only(folder)
    return script(log, *command)


def script_on_small_disk(disk: Path, size: str, log: Path, *command: str) -> tuple:
    """A script while a disk is full, what it leaves there, the script again with more room, and what there is then."""
    small_disk(disk, size)
    first = script(log, *command)
    left = files(disk)
    more_room(disk)
    return first, left, script(log, *command), files(disk)


def files(folder: Path) -> dict[str, int]:
    """Size of each file below a folder, but for logs, which are written as a run goes."""
    found = {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    return {name: size for name, size in found.items() if "log/" not in f"{name}/"}


def check_refusal(code: int, said: str, folder: Path) -> None:
    """Exit code 2, and one line that names the folder."""
    assert code == 2, said
    assert "Traceback" not in said and said.count("error:") == 1, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert str(folder) in line and ("cannot" in line or "are free" in line), line


@pytest.fixture(scope="module")
def data(tiny, made_up_people) -> tuple[str, ...]:
    return ("experiment=people_cpu", f"data.root={made_up_people}", *tiny, "views.close_ups=0")


@pytest.fixture(scope="module")
def prepared(data, make_config, tmp_path_factory) -> Path:
    """A finished run, and a mesh."""
    out = tmp_path_factory.mktemp("prepared")
    run_pipeline(make_config(*data, f"out={out / 'run'}"))
    trimesh.creation.icosphere(1).export(out / "ball.ply")
    save_octants(out / "octants", ("points",))
    return out


@pytest.fixture(scope="module")
def commands(data, prepared, made_up_people) -> dict[str, tuple[str, ...]]:
    """What each script needs besides `out`."""
    pretrained, tuned = prepared / "run" / "pretrain" / "model", prepared / "run" / "pretrained" / "run_0" / "model"
    table = (
        "experiment=table4_cpu",
        *data[1:],
        "table.runs=1",
        "table.methods=[scratch]",
        "table.columns=[{name: RGB}]",
    )
    return {
        "pretrain": data,
        "finetune": (*data, f"checkpoint={pretrained}"),
        "evaluate": (*data, f"checkpoint={tuned}"),
        "pipeline": data,
        "ceiling": data,
        "table": table,
        "figures": (*data, f"checkpoint={pretrained}", "figures.limit=2", "figures.pairs=2", "figures.points=50"),
        "segment": (f"mesh={prepared / 'ball.ply'}", f"checkpoint={prepared / 'octants'}", "device=cpu"),
        "report": (f"run={prepared / 'run'}", "shapes=0"),
        "splits": ("data=renderpeople", f"data.root={made_up_people}", "num_views=4", "k=[1]"),
        "generate": ("count=8", "format=people", "categories=[Chair]"),
    }


SCRIPTS = (
    *("pretrain", "finetune", "evaluate", "pipeline", "ceiling", "table"),
    *("figures", "segment", "report", "splits", "generate"),
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_read_only_folder(name, commands, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    command = (name, *commands[name], f"out={folder / 'out'}")

    check_refusal(*apart(script_beside_read_only, folder, tmp_path / "said", *command), folder)
    assert files(tmp_path).keys() == {"results/mine", "said"}
    code, said = plain_script(tmp_path / "said", *command)
    assert code == 0 and (folder / "out").exists(), said


@pytest.mark.parametrize(
    ("name", "there"), [("pretrain", True), ("finetune", True), ("evaluate", True), ("render", True), ("render", False)]
)
def test_read_only_cache(name, there, commands, data, tmp_path):
    folder = tmp_path / "disk"
    cache = folder if there else folder / "views"
    folder.mkdir()
    command = (name, *commands.get(name, data), f"views.cache={cache}", f"out={tmp_path / 'out'}")

    check_refusal(*apart(script_beside_read_only, folder, tmp_path / "said", *command), cache)
    assert files(tmp_path).keys() == {"said"}
    code, said = plain_script(tmp_path / "said", *command)
    assert code == 0 and list(cache.glob("*.views")), said
    if name == "evaluate":  # a cache that is full may be read-only
        code, said = apart(script_beside_read_only, folder, tmp_path / "said", *command, f"out={tmp_path / 'two'}")
        assert code == 0, said


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("pretrain", "40k"), ("finetune", "40k"), ("evaluate", "40k")),
        *(("pipeline", "4k"), ("figures", "40k"), ("segment", "40k")),
    ],
)
def test_full_disk(name, size, commands, tmp_path):
    """The disk has a page or ten, then more."""
    disk = tmp_path / "disk"
    command = (name, *commands[name], f"out={disk / 'out'}")
    first, left, (code, said), _ = apart(script_on_small_disk, disk, size, tmp_path / "said", *command)
    check_refusal(*first, disk)
    assert not [file for file in left if Path(file).name.startswith(".")], left
    assert code == 0, said


def test_cache_on_a_full_disk(data, tmp_path):
    """Rendering stops at the file that does not fit, keeps whole ones, and goes on with them."""
    disk, command = tmp_path / "disk", ("render", *data, f"out={tmp_path / 'out'}")
    assert plain_script(tmp_path / "said", *command, f"views.cache={tmp_path / 'whole'}")[0] == 0
    whole = files(tmp_path / "whole")
    command = (*command, f"views.cache={disk}")
    first, left, (code, said), after = apart(script_on_small_disk, disk, "16k", tmp_path / "said", *command)
    check_refusal(*first, disk)
    assert 0 < len(left) < len(whole) and left.items() <= whole.items(), "whole files only"
    assert code == 0 and after == whole, said


def test_batches_of_workers_need_no_room_in_shared_memory(data, tmp_path):
    """A container has 64 MB of it, which a few batches fill; a worker that could not send its batch was waited for."""
    words = calls.script("pretrain", *data, "views.size=64", "training.pretrain.steps=3", "workers=2")
    code, said = apart(with_little_shared_memory, *words, f"out={tmp_path / 'out'}")
    assert code == 0 and (tmp_path / "out" / "pretrain.json").exists(), said


def test_a_read_only_package_and_home_leave_loops_to_be_compiled_anew(tmp_path):
    (tmp_path / "home").mkdir()
    code, said = apart(matching_where_nothing_can_be_written, calls.ROOT / "mvdecor", tmp_path / "home")
    assert code == 0 and "match" in said, said
