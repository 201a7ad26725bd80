"""Files identified by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdecor.files import content_hash


@dataclass(frozen=True)
class Files:
    """Some files that a result depends on, in an order that counts.

    Attributes:
        paths: (name, path) of each file. The name is part of the identity, the path is not: files may be moved together.
    """

    paths: tuple[tuple[str, Path], ...]

    @classmethod
    def of(cls, paths: Iterable[Path | str]) -> Files:
        """Files by their own names."""
        return cls(tuple((Path(path).name, Path(path)) for path in paths))

    def identity(self) -> dict[str, str]:
        """`sha256` over all names and contents; `stat` over names, sizes and times of change, which is quick to compare."""
        stat = self._stat()  # first: a file that changes meanwhile is read again then
        return {"sha256": self._sha256(), "stat": stat}

    def is_same(self, identity: Mapping[str, Any]) -> bool:
        """Whether the files hold what they held when `identity` was taken. Files that nobody touched are not read."""
        return identity["stat"] == self._stat() or identity["sha256"] == self._sha256()

    def _stat(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.paths:
            try:
                status = path.stat()
                times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"  # the second cannot be set back
                digest.update(f"{name}\0{status.st_size}\0{times}\0{status.st_ino}\n".encode(errors="replace"))
            except OSError:
                digest.update(f"{name}\0missing\n".encode(errors="replace"))
        return digest.hexdigest()

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for name, path in self.paths:
            digest.update(f"{name}\0".encode(errors="replace") + content_hash(path))
        return digest.hexdigest()
