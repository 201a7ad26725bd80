"""The wrapper of every stage: locks the output folder, and turns common failures into clear errors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.distributed import DistError

from mvdecor.engine.distributed import barrier, one_voice, rank
from mvdecor.engine.history import Diverged
from mvdecor.errors import InputError
from mvdecor.files import locked, write_json

LOCK = ".lock"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def guard(out: Path) -> Iterator[None]:
    """Keep `out` to this run, let only the first process print, and turn common failures into an `InputError`.

    A loss that is lost leaves `out/diverged.json`: the step, and the shapes and views of its batch. Several processes leave
    together; the first of them has the lock.

    Raises:
        InputError: another process works in `out`; or what went wrong inside.
    """
    try:
        with one_voice(), alone_in(out) if rank() == 0 else contextlib.nullcontext():
            yield
            barrier()
    except Diverged as error:
        file = out / ("diverged.json" if rank() == 0 else f"diverged_{rank()}.json")
        write_json(file, error.record)
        raise InputError(f"{error} ({file})") from error
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{out}: the GPU's memory is full: lower views.size, training.pretrain.pairs, training.finetune.batch_size "
            "or evaluation.batch_size. A training resumes from its last saved state if no setting of it changed"
        ) from error
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        action = "be opened" if error.errno in (errno.EACCES, errno.EPERM) else "be written"
        raise InputError(
            f"{out}: {error.filename or 'a file'} cannot {action} ({error.strerror}): make room or set its rights, and run "
            "the same command again"
        ) from error
    except RuntimeError as error:
        if (lost := _of_other_process(error, out)) is None:
            raise
        raise lost from error
    except MemoryError as error:
        raise InputError(
            f"{out}: the memory is full: keep views on disk (views.cache) or render them at every step "
            "(views.keep=false), or use fewer shapes"
        ) from error


def _of_other_process(error: RuntimeError, out: Path) -> InputError | None:
    """What to say if the error is that a worker or another process of the run ended."""
    reason = str(error).splitlines()[0] if str(error) else ""
    if "DataLoader worker" in reason:
        return InputError(
            f"{out}: {reason.rstrip('. ')}. Often the memory was full: set fewer workers=, or views.keep=false with "
            "views.cache. Run the same command again to resume from the last saved state"
        )
    if isinstance(error, DistError) or "gloo" in reason:
        return InputError(
            f"{out}: process {rank()} lost another process of the run ({reason}): see why that one ended. Run the "
            "same command again to resume from the last saved state, with any number of processes"
        )
    return None


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made; one that was killed keeps nobody out.

    Raises:
        InputError: another process is in it.
    """
    new_folders = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOCK
    try:
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(locked(file))
            except BlockingIOError:
                owner = file.read_text(errors="replace") or "another process"
                raise InputError(
                    f"out={folder}: {owner} is at work there: wait for it, or choose another out="
                ) from None
            try:
                os.ftruncate(lock, 0)
                os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
                yield
            finally:
                file.unlink()
    finally:
        with contextlib.suppress(OSError):  # not empty
            for path in new_folders:
                path.rmdir()
