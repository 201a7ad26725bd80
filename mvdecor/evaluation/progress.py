"""What an evaluation has measured so far, one file per shape: several processes share it, and a kill loses none of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mvdecor.errors import InputError
from mvdecor.files import write_json


class ShapeRecords:
    """Records by shape id in `folder/ID.json`, each a dict of plain values.

    Args:
        folder: where the files are.
        settings: all that every record depends on; plain values.
        source: the hash of what a shape is read from, by its id. A record of what was there before counts as none.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], source: Callable[[str], str] = lambda id: "") -> None:
        self.folder, self._source = folder, source
        self._digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()

    def read(self, id: str) -> dict | None:
        """A shape's record; None if there is none.

        Raises:
            InputError: it was made with other settings, or is damaged.
        """
        file = self._file(id)
        if not file.exists():
            return None
        try:
            record = json.loads(file.read_bytes())
            made_with, source = record.pop("settings"), record.pop("source")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged ({error}): remove it, and call again") from error
        if made_with != self._digest:
            raise InputError(
                f"{self.folder} holds an evaluation under way of another model or with other settings: remove that folder, "
                "or choose another out="
            )
        return record if source == self._source(id) else None

    def write(self, id: str, record: Mapping[str, Any]) -> None:
        """Keep a shape's record."""
        write_json(self._file(id), {**record, "settings": self._digest, "source": self._source(id)})

    def remove(self) -> None:
        """Remove all: the evaluation is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}.json"
