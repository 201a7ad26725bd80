"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mvdecor.errors import InputError


def write_atomically(path: Path | str, content: bytes) -> None:
    """Write and sync a file beside its place, then move it there: readers see the old file or the new, never a part.

    The file beside it has the same name at every call, so that what a killed process left is replaced by the next.

    Raises:
        InputError: if the file cannot be written (no permission, disk full, a folder of that name).
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place or free it") from error
