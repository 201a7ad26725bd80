"""What identifies the captures that a stage reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mvdecor.captures import CaptureSet
from mvdecor.engine.content import Files


def capture_files(captures: CaptureSet, ids: Iterable[str]) -> Files:
    """The files of captures, in the order of the ids; of a reader that names none, what the captures hold."""
    files: Callable[[str], list[Path]] = getattr(captures, "files", lambda id: [])
    paths: list[tuple[str, Path]] = []
    for id in ids:
        file_names = [(f"{id}/{path.name}", path) for path in files(id)]
        paths += file_names or [(f"{id} {captures.load(id).fingerprint()}", Path(os.devnull, "no file"))]
    return Files(tuple(paths))
