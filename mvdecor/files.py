"""Writing a file whole or not at all, and the names of files in files."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvdecor.errors import InputError


def write_atomically(path: Path | str, content: bytes) -> None:
    """Write and sync a file beside its place, then move it there: readers see the old file or the new, never a part.

    The file beside it has the same name at every call, so that what a killed process left is replaced by the next; of
    several processes that write the same file one waits for the other.

    Raises:
        InputError: if the file cannot be written (no permission, disk full, a folder of that name).
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(part, wait=True) as stream:
            os.ftruncate(stream, 0)
            with open(stream, "wb", closefd=False) as file:
                file.write(content)
                file.flush()
                os.fsync(stream)
            os.replace(part, path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place or free it") from error


def write_json(path: Path | str, content: Any) -> None:
    """Write plain values as JSON, by `write_atomically`."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    # what is no text, as in the name of a file, becomes \\udc80, which JSON reads back as it was
    write_atomically(path, text.encode(errors="backslashreplace"))


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write an array as `.npy`, by `write_atomically`."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_atomically(path, stream.getvalue())


def named_file(name: str, source: Path, folders: Sequence[str] = (".",)) -> Path:
    """The file that `source` (a mesh, a material file) names: as it says, or by its last part in `folders` beside it.

    Exporters write backslashes and paths of their own machine; a name that leads out of the folder of `source` is never
    followed, whatever lies there.

    Raises:
        InputError: it leads out of the folder, and there is no file of that name beside.
    """
    plain = os.path.normpath(name.replace("\\", "/"))
    inside = not os.path.isabs(plain) and plain.split("/")[0] != ".."
    beside = [source.parent / folder / os.path.basename(plain) for folder in folders]
    given = [source.parent / plain] if inside else []
    for path in (*given, *beside):
        if os.path.isfile(path):  # False for whatever cannot be a name
            return path
    if not inside:
        raise InputError(f"{source}: names the file {name!r}, outside of its folder: put that file beside it")
    return given[0]


@contextlib.contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[int]:
    """Open a file, made if need be, for this process alone; gives its descriptor. A process that dies lets go of it.

    Raises:
        BlockingIOError: another process has it, and `wait` is False.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the one before may have removed or renamed the file that it had: then there is another of this name
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                yield descriptor
                return
        finally:
            os.close(descriptor)
