"""The controls of trainings: pretraining on the shapes shown, rounds of fine-tuning, and the shapes to look at next."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from mvdecor.apps.viewer.background import duration
from mvdecor.apps.viewer.html import small
from mvdecor.apps.viewer.rounds import Pretraining, Round
from mvdecor.apps.viewer.session import Session
from mvdecor.errors import InputError
from mvdecor.percent import percent

NONE = "–"
MAX_RANKED = 12
"""Shapes of the ranking that are shown."""
MAX_STEPS = 100_000
LONG = 180.0
"""Seconds of a round, above which the page says how many steps would fit."""


class TrainingPanel:
    """Buttons that start and stop trainings, how far they are, and the ranking of the shapes without labels.

    Args:
        gui: of the viser server.
        session: what is trained on.
        do: runs what a control asks for, and says what went wrong.
        open_shape: shows a shape.
        adopted: called after a round has finished and its predictions are the session's.
    """

    def __init__(
        self,
        gui: Any,
        session: Session,
        do: Callable[[Callable[[], None]], None],
        open_shape: Callable[[str], None],
        adopted: Callable[[], None],
    ) -> None:
        self._session, self._adopted = session, adopted
        self._running: Round | Pretraining | None = None
        self._expected_for: tuple[int, int] | None = None
        self._pretrain = gui.add_button(
            "Pretrain on these meshes",
            hint="without labels, in the background; rounds then start from it",
            visible=session.pretraining is not None,
        )
        self._steps = gui.add_number("steps of a round", session.steps, min=1, max=MAX_STEPS, step=1)
        self._expected = gui.add_html("")
        self._start = gui.add_button("Fine-tune on what is labelled")
        self._stop = gui.add_button("Stop", hint="what it saved stays; started again, it goes on", visible=False)
        self._bar = gui.add_progress_bar(0, visible=False)
        self._status = gui.add_html("")
        self._ranking = gui.add_html("")
        self._uncertain = gui.add_dropdown("open", [NONE], visible=False)
        self._pretrain.on_click(lambda _: do(self._start_pretraining))
        self._start.on_click(lambda _: do(self._fine_tune))
        self._stop.on_click(lambda _: do(self._stop_training))
        self._steps.on_update(lambda _: do(self._set_steps))
        self._uncertain.on_update(lambda _: do(lambda: self._open(open_shape)))

    @property
    def next_uncertain(self) -> str | None:
        """The most uncertain shape without labels; None if there is none."""
        return next(iter(self._ranked()), (None, 0.0))[0]

    def tick(self) -> None:
        """Look how far the training is.

        Raises:
            InputError: it failed; the message says why.
        """
        self._expect()
        if self._running is None:
            return
        progress = self._running.progress()
        self._status.content, self._bar.value = small(progress.text), 100 * progress.share
        if progress.state == "running":
            self.list_ranking()
            return
        ended, self._running = self._running, None
        self._show_running()
        if progress.state == "failed":
            raise InputError(progress.text)
        if progress.state == "finished" and isinstance(ended, Round):
            self._session.adopt_round(ended)
            self._adopted()
            self.list_ranking()

    def close(self) -> None:
        """End a training that is still running."""
        if self._running is not None:
            self._running.stop()

    def list_ranking(self) -> None:
        """The most uncertain of the shapes without labels, and a list to open them from."""
        ranking = self._ranked()
        if not ranking:
            return
        rows = "".join(f"<li>{escape(id)} <small>({percent(value)})</small></li>" for id, value in ranking[:MAX_RANKED])
        title = f"Without labels, by the share of the area expected to be wrong ({len(ranking)}):"
        self._ranking.content = f"<div style='font-size:0.85em;padding:0 1em'>{title}<ol>{rows}</ol></div>"
        options = (NONE, *(id for id, _ in ranking))
        if tuple(self._uncertain.options) != options:
            self._uncertain.options, self._uncertain.visible = options, True

    def _ranked(self) -> list[tuple[str, float]]:
        latest = self._running if isinstance(self._running, Round) else self._session.round
        folder = self._session.labels
        if latest is None or folder is None or not (ranking := latest.ranking()):
            return []
        labelled = set(folder.labelled([id for id, _ in ranking]))
        return [(id, value) for id, value in ranking if id not in labelled]

    def _open(self, open_shape: Callable[[str], None]) -> None:
        if self._uncertain.value != NONE:
            open_shape(self._uncertain.value)

    def _set_steps(self) -> None:
        self._session.steps = int(self._steps.value)

    def _expect(self) -> None:
        """Say how long a round will take, whenever that has changed."""
        folder = self._session.labels
        assert folder is not None
        expected_for = (self._session.steps, len(folder.labelled(self._session.ids)))
        if self._running is None and expected_for != self._expected_for:
            self._expected_for = expected_for
            seconds = self._session.seconds_of_round()
            text = f"about {duration(seconds)} ({self._session.device}): {self._session.recipe}"
            if seconds > LONG and (steps := self._session.steps_within(LONG)) > 0:
                text += f". {steps} steps would take {duration(LONG)}"
            self._expected.content = small(text)

    def _fine_tune(self) -> None:
        self._begin(self._session.new_round)

    def _start_pretraining(self) -> None:
        pretraining = self._session.pretraining
        assert pretraining is not None
        self._begin(lambda: pretraining)

    def _begin(self, make: Callable[[], Round | Pretraining]) -> None:
        if self._running is not None:
            raise InputError("a training is running: wait for it, or stop it")
        training = make()
        training.start()
        self._running = training
        self._bar.value, self._status.content = 0, small(training.progress().text)
        self._show_running()

    def _stop_training(self) -> None:
        if self._running is not None:
            self._running.stop()  # the next tick says so

    def _show_running(self) -> None:
        running = self._running is not None
        self._start.disabled = self._pretrain.disabled = running
        self._bar.visible = self._stop.visible = running
