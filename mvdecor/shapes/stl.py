"""STL files, binary or text, of one or more solids."""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HEAD = 84  # bytes before the first triangle of a binary file: 80 of any text, and the number of triangles
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
IGNORED = ("outer", "endloop")
KEYWORDS = re.compile(
    rb"(?<=\S)[ \t]+(facet(?=\s+normal\s)|outer(?=\s+loop\s)|vertex(?=\s+[-+.\d])|endloop|endfacet|endsolid|solid)(?=\s)",
    re.IGNORECASE,
)
"""Words of the format that do not begin their line, and the space before."""


def read_stl(path: Path) -> NDArray[np.float64]:
    """float64 [F, 3, 3], the corners of each triangle, in the file's order. Normals and attributes are left out.

    Raises:
        ValueError: neither binary nor text STL, or another number of triangles than the file says.
    """
    content = path.read_bytes()
    if _is_text(content):
        return _read_text(path, content)
    return _read_binary(path, content)


def _is_text(content: bytes) -> bool:
    """Binary files may begin with "solid" too, so their size decides first."""
    if len(content) >= HEAD and len(content) == HEAD + TRIANGLE.itemsize * struct.unpack_from("<I", content, 80)[0]:
        return False
    start = content[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    return start[:5].lower() == b"solid" and b"\0" not in start


def _read_binary(path: Path, content: bytes) -> NDArray[np.float64]:
    if len(content) < HEAD:
        raise ValueError("it is neither a binary STL nor one that begins with 'solid'")
    (count,) = struct.unpack_from("<I", content, 80)
    room, tail = divmod(len(content) - HEAD, TRIANGLE.itemsize)
    if count > room or (count < room and tail == 0):
        raise ValueError(f"its triangle count is {count}, but it has bytes for {room} triangles")
    left_out = len(content) - HEAD - count * TRIANGLE.itemsize
    if count == 0 and room > 0:
        raise ValueError(f"its triangle count is 0, but {left_out} bytes follow")
    if left_out:
        warnings.warn(f"{path}: {left_out} bytes after its {count} triangles are left out", stacklevel=3)
    triangles = np.frombuffer(content, dtype=TRIANGLE, count=count, offset=HEAD)
    if count and (triangles["attribute"] != 0).any():
        warnings.warn(f"{path}: the attributes of its triangles (colours, in some programs) are left out", stacklevel=3)
    return triangles["corners"].astype(np.float64)


def _read_text(path: Path, content: bytes) -> NDArray[np.float64]:
    corners: list[list[bytes]] = []
    complete, in_facet, left_out = 0, False, 0
    text = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n")
    text = KEYWORDS.sub(rb"\n\1", text)  # line ends mean nothing: a file may have none
    for line in io.BytesIO(text):
        words = line.split()
        key = words[0].lower().decode("latin-1") if words else ""
        if key == "vertex" and in_facet:
            corners.append(words[1:4])
        elif key == "facet":
            in_facet = True
        elif key == "endfacet":
            complete += 1
            in_facet = False
            if len(corners) != 3 * complete:
                raise ValueError(f"facet {complete} has not three corners")
        elif key not in ("", "solid", "endsolid", *IGNORED):
            left_out += 1
    if in_facet or len(corners) != 3 * complete:
        raise ValueError(f"it ends within facet {complete + 1}")
    if left_out:
        warnings.warn(f"{path}: {left_out} lines that are no STL are left out", stacklevel=3)
    return np.array(corners, dtype=np.float64).reshape(-1, 3, 3)
