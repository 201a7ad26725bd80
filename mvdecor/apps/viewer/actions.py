"""What controls of a page ask for, one at a time; what goes wrong is said on the page."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

from mvdecor.errors import InputError


class Actions:
    """Runs what controls ask for.

    Args:
        message: HTML of viser, for errors.

    Attributes:
        lock: held while an action runs; callbacks come from several threads.
    """

    def __init__(self, message: Any) -> None:
        self._message = message
        self.lock = threading.RLock()

    def do(self, action: Callable[[], None], clear: bool = True) -> None:
        """Run an action and say what went wrong; `clear`: in place of what was said."""
        with self.lock:
            try:
                action()
                if clear:
                    self._message.content = ""
            except InputError as error:
                self._say(str(error))
            except Exception as error:  # the viewer stays up
                traceback.print_exc()
                self._say(f"{type(error).__name__}: {error} (more in the terminal)")

    def _say(self, text: str) -> None:
        self._message.content = f"<div style='padding:0.3em 1em;font-size:0.85em;color:#c02020'>{escape(text)}</div>"
