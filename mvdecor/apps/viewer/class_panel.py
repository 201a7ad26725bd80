"""The list of classes: colours, faces and areas of the labels; locks, names, and what is hidden."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np

from mvdecor.apps.viewer.colours import areas_by_label
from mvdecor.apps.viewer.label_panel import Page
from mvdecor.apps.viewer.labels import UNLABELLED
from mvdecor.apps.viewer.session import Session
from mvdecor.errors import InputError
from mvdecor.figures import label_palette
from mvdecor.figures.palette import LIGHT_GREY
from mvdecor.percent import percent


class ClassPanel:
    """Controls of the labels of a session.

    Args:
        gui: of viser; its controls go to the open container.
        session: whose labels they are.
        page: where shapes are shown.
        renamed: called after a label got another name.
    """

    def __init__(self, gui: Any, session: Session, page: Page, renamed: Callable[[], None]) -> None:
        self._session, self._page, self._renamed = session, page, renamed
        self._table = gui.add_html("")
        self._class = gui.add_dropdown("class", [*session.label_names, UNLABELLED])
        lock = gui.add_button_group("", ("lock", "unlock"))
        view = gui.add_button_group("", ("hide", "isolate", "show all"))
        self._name = gui.add_text("new name", "")
        rename = gui.add_button("Rename the class")
        lock.on_click(lambda _: page.do(lambda: self._lock(lock.value == "lock")))
        view.on_click(lambda _: page.do(lambda: self._show(view.value)))
        rename.on_click(lambda _: page.do(self._rename))
        for key, modifier, action in (("H", None, "hide"), ("I", None, "isolate"), ("H", "shift", "show all")):
            command = gui.add_command(f"{action}: class or all", hotkey=key, modifier=modifier)
            command.on_trigger(lambda _, action=action: page.do(lambda: self._show(action)))

    def describe(self) -> None:
        """Bring the list up to date with the labels of the shape in view."""
        session, id = self._session, self._page.id
        names, labels = session.label_names, session.labels_of(id)
        assert labels is not None
        areas = areas_by_label(session.shape(id), labels, len(names))
        faces = np.bincount(np.where(labels < 0, len(names), labels), minlength=len(names) + 1)
        colours = [*(tuple(colour) for colour in label_palette(len(names)).tolist()), LIGHT_GREY]
        rows = "".join(
            f"<tr><td><span style='display:inline-block;width:0.8em;height:0.8em;border-radius:2px;background:rgb{colour}'>"
            f"</span></td><td>{escape(name)}{' 🔒' if number in session.locked else ''}</td>"
            f"<td style='text-align:right'>{count}</td><td style='text-align:right'>{percent(area, 1)}</td></tr>"
            for number, (name, colour, count, area) in enumerate(
                zip((*names, UNLABELLED), colours, faces.tolist(), areas.tolist(), strict=True)
            )
        )
        head = "<tr><td></td><td>class</td><td style='text-align:right'>faces</td><td style='text-align:right'>area</td></tr>"
        self._table.content = f"<table style='font-size:0.85em;margin:0 1em;width:90%'>{head}{rows}</table>"

    @property
    def _label(self) -> int:
        name = self._class.value
        return -1 if name == UNLABELLED else self._session.label_names.index(name)

    def _named_label(self) -> int:
        if self._label < 0:
            raise InputError(f"{UNLABELLED} is no class: choose one to lock or to rename")
        return self._label

    def _lock(self, locked: bool) -> None:
        (self._session.locked.add if locked else self._session.locked.discard)(self._named_label())
        self.describe()

    def _show(self, action: str) -> None:
        id = self._page.id
        faces_shown, labels = self._session.shown(id), self._session.labels_of(id)
        assert labels is not None
        of_class = labels == self._label
        faces = {"hide": faces_shown & ~of_class, "isolate": of_class, "show all": np.ones_like(faces_shown)}[action]
        self._session.show(id, faces)
        self._page.show("")

    def _rename(self) -> None:
        number = self._named_label()
        self._session.rename(number, self._name.value)
        self._class.options = [*self._session.label_names, UNLABELLED]
        self._class.value = self._class.options[number]
        self._name.value = ""
        self._renamed()
