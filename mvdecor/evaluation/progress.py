"""What an evaluation under way has measured so far, a file a shape, so that several processes share it and none is lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdecor.errors import InputError
from mvdecor.files import write_json


class ShapeRecords:
    """Records by shape id in `folder/ID.json`, each a dict of plain values.

    Args:
        folder: where the files are.
        settings: all that the records depend on; plain values.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
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
            made_with = record.pop("settings")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged ({error}): remove it, and call again") from error
        if made_with != self._digest:
            raise InputError(
                f"{self.folder} holds an evaluation under way of another model or with other settings: remove that folder, "
                "or choose another out="
            )
        return record

    def write(self, id: str, record: Mapping[str, Any]) -> None:
        """Keep a shape's record."""
        write_json(self._file(id), {**record, "settings": self._digest})

    def remove(self) -> None:
        """Remove all: the evaluation is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, id: str) -> Path:
        return self.folder / f"{id}.json"
