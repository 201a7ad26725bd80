"""The files that a mesh is read from: its own, and the materials, images and buffers that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mvdecor.errors import InputError
from mvdecor.files import named_file, text_of, unquoted

IMAGE_FOLDERS = (".", "tex")
LINES = {
    ".obj": re.compile(r"^\s*mtllib[ \t]+(.+?)\s*$", re.M),
    ".mtl": re.compile(r"^\s*map_\w+[ \t]+(.+?)\s*$", re.M | re.I),
    ".ply": re.compile(r"^comment\s+texturefile\s+(.+?)\s*$", re.M | re.I),
}


def files_of_mesh(path: Path) -> list[Path]:
    """`path` and the files it names that exist, each once. Nothing is checked: that is the readers' part.

    It serves to tell whether a mesh is still the one that a result was made from.
    """
    files = [path]
    for file in files:  # grows by what each names
        files += [neighbour for neighbour in _named(file) if neighbour not in files]
    return files


def _named(source: Path) -> Iterator[Path]:
    try:
        names = list(_names(source))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return
    for name in names:
        try:
            file = named_file(name, source, IMAGE_FOLDERS)
        except (InputError, ValueError):
            continue
        if file.is_file():
            yield file


def _json_of_glb(source: Path) -> bytes:
    """The first chunk of a binary glTF file."""
    with source.open("rb") as file:
        header = file.read(20)
        return file.read(int.from_bytes(header[12:16], "little"))


def _names(source: Path) -> Iterator[str]:
    suffix = source.suffix.lower()
    if suffix in (".gltf", ".glb"):
        content = json.loads(_json_of_glb(source) if suffix == ".glb" else source.read_bytes())
        for entry in [*content.get("images", []), *content.get("buffers", [])]:
            if not entry.get("uri", "data:").lower().startswith("data:"):
                yield from dict.fromkeys((entry["uri"], unquote(entry["uri"])))  # either may be the file's name
    elif suffix in LINES:
        content = source.read_bytes()
        if suffix == ".ply":
            content = content.partition(b"end_header")[0]
        text = re.sub(r"\\[ \t]*\n", " ", text_of(content))  # a line may go on in the next
        for line in LINES[suffix].findall(text):
            words = line.split()
            # options may come first, a name may have spaces, and a line may have several names
            names = [" ".join(words[start:]) for start in range(len(words))] + words[:-1]
            yield from dict.fromkeys([*names, *map(unquoted, names)])
