"""The part of the viewer's page for an open-vocabulary run: words, their heat maps, what is similar, and files of it all."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mvdecor.apps.viewer.word_renderer import ANSWERS, WordRenderer, words_of
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
        gui: Any = server.gui
        with gui.add_folder("Words", order=0.5):
            self.words = gui.add_text(
                "words", ", ".join(renderer.query.words), hint="separated by commas; at least two"
            )
            self.answer = gui.add_dropdown("answered by", ANSWERS)
            find = gui.add_button("Find")
            self.heat = gui.add_dropdown("heat map of", renderer.query.words)
            self.similar = gui.add_checkbox("a click shows what is similar", False)
            export = gui.add_button("Export masks, heat maps and points")
            self.note = gui.add_html("")
        find.on_click(lambda _: do(self.find))
        self.heat.on_update(lambda _: do(self._choose_heat))
        self.similar.on_update(lambda _: do(self._listen))
        export.on_click(lambda _: do(self.export))

    def use(self, renderer: WordRenderer) -> None:
        """Ask another run, of the words in the box."""
        self._renderer = renderer
        self.find()

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
        self.note.content = f"<div style='font-size:0.85em;padding:0 1em'>{escape(text)}</div>"
