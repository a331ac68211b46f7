"""Combo boxes whose items stand for words of the command line, and what both Simulate and Correct show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CTRestorationLib.widgets.mar.panel import StepPanel

_SETTINGS = "CTRestoration/MARInpaint/"


class ChoiceBox:
    """A QComboBox that shows titles and tells words.

    Args:
        combo: the QComboBox.
        chosen: gets the word that the user picked.
    """

    def __init__(self, combo: Any, chosen: Callable[[str], None]) -> None:
        self._combo, self._chosen = combo, chosen
        self._items: list[tuple[str, ...]] = []
        combo.connect("currentIndexChanged(int)", self._picked)

    def show(self, items: Sequence[tuple[str, ...]], word: str) -> None:
        """Offer (word, title[, tooltip]) and select the one of a word, none where it is not offered."""
        items = list(items)
        blocked = self._combo.blockSignals(True)
        try:
            if items != self._items:
                self._items = items
                self._combo.clear()
                for number, item in enumerate(items):
                    self._combo.addItem(item[1])
                    if len(item) > 2:
                        self._combo.setItemData(number, item[2], qt.Qt.ToolTipRole)
            words = [item[0] for item in items]
            index = words.index(word) if word in words else -1
            if self._combo.currentIndex != index:
                self._combo.setCurrentIndex(index)
        finally:
            self._combo.blockSignals(blocked)

    def _picked(self, index: int) -> None:
        if 0 <= index < len(self._items):
            self._chosen(self._items[index][0])


class ScanPanel(StepPanel):
    """What the pages Simulate and Correct have in common: choices, the segment, slices, estimates, what was learned.

    A subclass says in `boxes` which combo box shows which choice.
    """

    uiName = "MARInpaintSimulate"  # Correct's page has widgets of the same names
    boxes: dict[str, str] = {}  # noqa: RUF012 - read only, one for each subclass

    def setup(self) -> None:
        """Connect the combo boxes and the range."""
        self._boxes = {
            name: ChoiceBox(getattr(self.ui, box), partial(self.presenter.choose, name))
            for name, box in {**self.boxes, "segment": "segmentBox"}.items()
        }
        self.ui.partBox.connect("clicked(bool)", lambda on: self.presenter.partToggled(on))

    def showChoices(self, name: str, items: Sequence[tuple[str, ...]], word: str) -> None:
        """Fill a combo box."""
        self._boxes[name].show(items, word)

    def showSegments(self, segments: Sequence[tuple[str, str]], chosen: str) -> None:
        """The segments that may be the metal."""
        self._boxes["segment"].show(segments, chosen)

    def showRange(self, count: int, on: bool) -> None:
        """The range of slices, gray where all are taken."""
        for spin in (self.ui.firstSlice, self.ui.lastSlice):
            spin.enabled = on
        text = _("Slices of {count}, from 0:").format(count=count) if count else _("Slices:")
        if self.ui.rangeRowLabel.text != text:
            self.ui.rangeRowLabel.text = text

    def showEstimate(self, text: str) -> None:
        """How long it will take."""
        self.ui.estimateLabel.text = text

    def showResult(self, text: str) -> None:
        """What came of it."""
        self.ui.resultLabel.text = text

    def showNotice(self, sentence: str) -> None:
        """Something the user should know, that is no error."""
        self.session.log(sentence)
        slicer.util.infoDisplay(sentence, windowTitle="MARInpaint")

    def recall(self, key: str) -> float | None:
        """A number of an earlier session, None where there is none."""
        value = slicer.app.userSettings().value(_SETTINGS + key)
        try:
            return float(value)  # settings give texts
        except (TypeError, ValueError):
            return None

    def remember(self, key: str, value: float) -> None:
        """Keep a number."""
        slicer.app.userSettings().setValue(_SETTINGS + key, repr(float(value)))
