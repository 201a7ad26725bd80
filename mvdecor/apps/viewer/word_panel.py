"""The part of the viewer's page for an open-vocabulary run: words, their heat maps, what is similar, and files of it all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdecor.apps.viewer.background import Progress
from mvdecor.apps.viewer.distillation import Distillation
from mvdecor.apps.viewer.html import small
from mvdecor.apps.viewer.word_renderer import ANSWERS, WordRenderer, words_of
from mvdecor.errors import InputError
from mvdecor.figures.word_maps import heat_colours

if TYPE_CHECKING:
    import viser

POINTS = 20_000
"""Of an exported cloud at most."""


class WordPanel:
    """Controls for words.

    Args:
        server: of the page.
        renderer: answers.
        out: folder of what is exported.
        do: runs what a control asks for, one at a time, and says what went wrong.
        show: shows the answer: of a new query if True, else of another heat map.
        colour_points: shows the points in given colours, uint8 [P, 3].

    Attributes:
        words: the text box.
        answer: what answers.
        heat: the word whose heat map is shown.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        renderer: WordRenderer,
        out: Path,
        do: Callable[[Callable[[], None]], None],
        show: Callable[[bool], None],
        colour_points: Callable[[np.ndarray], None],
    ) -> None:
        self._server, self._renderer, self._out = server, renderer, out
        self._do, self._show, self._colour_points = do, show, colour_points
        self._distillation: Distillation | None = None
        gui: Any = server.gui
        with gui.add_folder("Words", order=0.5):
            self.words = gui.add_text(
                "words", ", ".join(renderer.query.words), hint="separated by commas; at least two"
            )
            self.answer = gui.add_dropdown("answered by", ANSWERS)
            find = gui.add_button("Find")
            self.distil = gui.add_button("Distil for these words", hint="trains features, in the background")
            self.stop = gui.add_button("Stop", hint="what it saved stays; started again, it goes on", visible=False)
            self._bar = gui.add_progress_bar(0, visible=False)
            self._status = gui.add_html("")
            self.heat = gui.add_dropdown("heat map of", renderer.query.words)
            self.similar = gui.add_checkbox("a click shows what is similar", False)
            export = gui.add_button("Export masks, heat maps and points")
            self.note = gui.add_html("")
        find.on_click(lambda _: do(self.find))
        self.distil.on_click(lambda _: do(self.start_distillation))
        self.stop.on_click(lambda _: do(self.close))
        self.heat.on_update(lambda _: do(self._choose_heat))
        self.similar.on_update(lambda _: do(self._listen))
        export.on_click(lambda _: do(self.export))

    def use(self, renderer: WordRenderer) -> None:
        """Ask another run, of the words in the box. A distillation of the run before is stopped."""
        self.close()
        self._renderer = renderer
        self.find()

    def start_distillation(self) -> None:
        """Distil for the words in the box, in the background.

        Raises:
            InputError: bad words; a distillation is running; `out` cannot be written.
        """
        if self._distillation is not None:
            raise InputError("a distillation is running: wait for it, or stop it")
        words = self._renderer.scene.words(words_of(self.words.value))
        distillation = Distillation(self._renderer.scene.cfg, words, self._out)
        distillation.start()
        self._distillation = distillation
        self._show_distillation(distillation.progress())

    def tick(self) -> None:
        """Look how far a distillation is; once it has finished, its features answer.

        Raises:
            InputError: it failed; the message says why.
        """
        if self._distillation is None:
            return
        ended, progress = self._distillation, self._distillation.progress()
        if progress.state != "running":
            self._distillation = None
        self._show_distillation(progress)
        if progress.state == "failed":
            raise InputError(progress.text)
        if progress.state == "finished":
            self._renderer.adopt(ended.checkpoint)
            self.words.value, self.answer.value = ", ".join(ended.words), ANSWERS[0]
            self.find()

    def close(self) -> None:
        """Stop a distillation that is running."""
        if self._distillation is not None:
            self._distillation.stop()
            self.tick()

    def _show_distillation(self, progress: Progress) -> None:
        running = self._distillation is not None
        self._status.content, self._bar.value = small(progress.text), 100 * progress.share
        self.distil.disabled = self._bar.visible = self.stop.visible = running

    def find(self) -> None:
        """Ask for the words in the box."""
        seconds = self._renderer.ask(words_of(self.words.value), self.answer.value)
        self.heat.options = self._renderer.query.words
        self.heat.value = self._renderer.query.words[0]
        self._say(f"{len(self._renderer.query.words)} words in {seconds:.1f} s")
        self._show(True)

    def export(self) -> None:
        """Write what the words find in all views below `out`."""
        folder = self._out / "words"
        self._renderer.export(folder, POINTS)
        self._say(f"written: {folder}")

    def show_similar(self, origin: np.ndarray, direction: np.ndarray) -> None:
        """Colour the points by how like the one that a ray meets they are."""
        cosines = self._renderer.similar(origin, direction)
        if cosines is None:
            self._say("that click missed all points")
            return
        self._colour_points(heat_colours(cosines.clip(0, 1)))
        self._say("bright: similar to the clicked point")

    def _choose_heat(self) -> None:
        if self.heat.value in self._renderer.query.words:
            self._renderer.heat = self._renderer.query.words.index(self.heat.value)
            self._show(False)

    def _listen(self) -> None:
        """Take clicks into the scene, or leave them to the cameras."""
        scene: Any = self._server.scene
        if not self.similar.value:
            scene.remove_click_callback()
            return

        @scene.on_click
        def _(event: Any) -> None:
            origin, direction = np.array(event.ray_origin), np.array(event.ray_direction)
            self._do(lambda: self.show_similar(origin, direction))

    def _say(self, text: str) -> None:
        self.note.content = small(text)
