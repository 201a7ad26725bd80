"""Atomic file writes, reading text in any encoding, and resolving file names found inside mesh files."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvdecor.errors import InputError

PARENTS = 2
"""How many folders up the name of an image or material may lead, as `../images/wood.png` does."""
LOOKED_UP = (".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".gif", ".webp", ".mtl")


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


def nearest_folder(path: Path) -> Path:
    """A path, or the nearest one above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def is_writable(folder: Path) -> bool:
    """Whether files can be written to a folder, which may have to be made first."""
    nearest = nearest_folder(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def content_hash(path: Path | str) -> bytes:
    """SHA-256 of a file's content; b"missing" where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b"missing"


def write_json(path: Path | str, content: Any) -> None:
    """Write plain values as JSON, by `write_atomically`. Numbers that are not finite, which JSON lacks, become text: "nan"."""
    text = json.dumps(_with_finite_numbers(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # what is no text, as in the name of a file, becomes \\udc80, which JSON reads back as it was
    write_atomically(path, text.encode(errors="backslashreplace"))


def read_json(path: Path | str, remedy: str) -> Any:
    """The plain values of a JSON file.

    Raises:
        InputError: it is missing or malformed; the message ends with the remedy.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {remedy}") from error


def write_array(path: Path | str, array: np.ndarray) -> None:
    """Write an array as `.npy`, by `write_atomically`."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_atomically(path, stream.getvalue())


def _with_finite_numbers(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _with_finite_numbers(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_finite_numbers(value) for value in content]
    return str(float(content)) if isinstance(content, float) and not math.isfinite(content) else content


def text_of(content: bytes) -> str:
    """A text file as any program may write it: UTF-8 or UTF-16 with a byte order mark, or ASCII and what else; any line ends.

    Bytes that are not UTF-8 (a comment in Latin-1) become surrogates, by which Python also names files of such names.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", errors="replace")
    else:
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unquoted(name: str) -> str:
    """The name of a file without the double quotes that some programs put around it."""
    return name[1:-1] if len(name) > 2 and name[0] == name[-1] == '"' else name


def named_file(name: str, source: Path, folders: Sequence[str] = (".",)) -> Path:
    """The file that `source` (a mesh, a material file) names: as it says, or by its last part in `folders` beside it.

    Exporters write backslashes and paths of their own machine. A name that leads out of the folder of `source` is followed
    only to an image or a material file (by its suffix) in a folder that lies beside that of `source` or one level higher,
    as `../images/wood.png`, and only if it is really there: not through a link to elsewhere, not from the file system's
    root. So a mesh from elsewhere can show no other file of this machine. A file that differs from the name by capital letters
    or composed accents alone is taken where it is the only one: Windows and macOS do not tell them apart.

    Raises:
        InputError: it leads elsewhere, and there is no file of that name beside.
    """
    normalized = os.path.normpath(name.replace("\\", "/"))
    inside = not os.path.isabs(normalized) and normalized.split("/")[0] != ".."
    candidates = [source.parent / folder / os.path.basename(normalized) for folder in folders]
    as_named = [source.parent / normalized] if inside or _is_beside(normalized, source) else []
    for path in (*as_named, *candidates):
        if os.path.isfile(path):  # False for whatever cannot be a name
            return path
    for path in (*(as_named if inside else ()), *candidates):
        if (spelled := _spelled_otherwise(path)) is not None:
            return spelled
    if not as_named:
        raise InputError(f"{source}: names the file {name!r}, outside of its folder: put that file beside it")
    return as_named[0]


def _spelled_otherwise(path: Path) -> Path | None:
    """The only file in its folder whose name differs by capital letters or by how accents are composed; None if none is."""

    def plain(name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold()

    try:
        names = [name for name in os.listdir(path.parent) if plain(name) == plain(path.name)]
    except (OSError, ValueError):  # no such folder, a name that cannot be one
        return None
    return path.parent / names[0] if len(names) == 1 and os.path.isfile(path.parent / names[0]) else None


def _is_beside(relative_path: str, source: Path) -> bool:
    """Whether a normalised name leads up by at most `PARENTS` folders, and down into another, to a file that may be read."""
    parts = relative_path.split("/")
    up = parts.count("..")
    if not 0 < up <= PARENTS or len(parts) < up + 2 or os.path.splitext(relative_path)[1].lower() not in LOOKED_UP:
        return False
    try:
        folder = source.parent.resolve()
        top = folder.parents[up - 1]
        return top != top.parent and (folder / relative_path).resolve().is_relative_to(top)
    except (
        OSError,
        ValueError,
        IndexError,
        RuntimeError,
    ):  # no such folder, a name that cannot be one, a loop of links
        return False


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
