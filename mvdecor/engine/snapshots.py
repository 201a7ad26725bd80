"""The state of a loop, saved at intervals, so that a run that was killed can be resumed."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mvdecor.engine.cost import Cost
from mvdecor.engine.distributed import rank
from mvdecor.errors import InputError
from mvdecor.files import write_atomically

KEEP = 2  # the newest, and the one before in case that is damaged
DIGEST = hashlib.sha256().digest_size


class Snapshots:
    """Saves all that a loop's next steps depend on: weights, optimizer, schedule, loss scaling, what was logged.

    A loop that is restored takes the steps that it would have taken, bit for bit on the CPU. Random generators need no
    saving: the loop seeds them at each step. Files are
    `folder/step_N.pt`: SHA-256 of the rest, then tensors and plain values, which are never unpickled into anything else.
    Of several processes the first one saves, and all read; any number of processes may go on.

    Args:
        folder: where the files are; None saves nothing.
        every: steps between two.
        settings: the settings that the run depends on; None: a saved state is taken whatever it is of.
        more: state of the stage around the loop, with `state_dict` and `load_state_dict` as in `restore`.

    Attributes:
        step: the step that the loop goes on with; 0 if it starts.

    Raises:
        InputError: what `folder` holds is of a run with other settings.
    """

    def __init__(
        self,
        folder: Path | None = None,
        every: int = 500,
        settings: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.every = folder, every
        self._settings, self._more = dict(settings or {}), dict(more or {})
        self._saved = self._newest()
        self.step: int = self._saved["step"] if self._saved else 0
        if self._saved:
            saved, unset = self._saved["settings"], object()
            names = sorted(saved.keys() | self._settings.keys())
            changed = [name for name in names if saved.get(name, unset) != self._settings.get(name, unset)]
            if changed and settings is not None:
                raise InputError(
                    f"{folder} holds the state of a training with other settings or inputs ({', '.join(changed)}): resume it "
                    "with those, "
                    "remove that folder, or choose another out="
                )
            print(f"{folder}: resuming after {self.step} steps", flush=True)

    def restore(self, state: Mapping[str, Any]) -> int:
        """Put the saved state, if there is one, into objects with `load_state_dict`; gives `step`.

        Raises:
            InputError: the saved state lacks one of them.
        """
        if self._saved:
            # what the stage around the loop keeps (its cost) counts once, not once per process
            for name, target in {**state, **(self._more if rank() == 0 else {})}.items():
                if name not in self._saved["state"]:
                    raise InputError(
                        f"{self.folder} holds the state of a training by another revision of mvdecor (it has no {name}): "
                        "resume it with that revision, remove that folder, or choose another out="
                    )
                target.load_state_dict(self._saved["state"][name])
            self._saved = None  # the memory
        return self.step

    def due(self, step: int) -> bool:
        """Whether the state after `step` steps is to be saved."""
        return self.folder is not None and step % self.every == 0

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Save the state after `step` steps if it is due; keeps two files."""
        if self.folder is None or not self.due(step):
            return
        for source in self._more.values():
            if isinstance(source, Cost):
                source.gather()  # of all processes
        if rank() > 0:
            return
        content = {
            "step": step,
            "settings": self._settings,
            "state": {name: source.state_dict() for name, source in {**state, **self._more}.items()},
        }
        stream = io.BytesIO()
        torch.save(content, stream)
        serialized = stream.getvalue()
        write_atomically(self.folder / f"step_{step:09d}.pt", hashlib.sha256(serialized).digest() + serialized)
        for outdated in self._files()[:-KEEP]:
            outdated.unlink()

    def remove(self) -> None:
        """Remove the folder: the run is finished."""
        if self.folder is not None and rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step_*.pt")) if self.folder is not None else []

    def _newest(self) -> dict | None:
        """The newest file that is whole; a damaged one is named and passed over."""
        for file in reversed(self._files()):
            serialized = file.read_bytes()
            if hashlib.sha256(serialized[DIGEST:]).digest() == serialized[:DIGEST]:
                try:
                    return torch.load(io.BytesIO(serialized[DIGEST:]), map_location="cpu", weights_only=True)
                except (pickle.UnpicklingError, RuntimeError, EOFError):
                    pass  # whole, but not written by this code
            print(f"warning: {file} is damaged, the state before it is taken", flush=True)
        return None
