"""The page of step 1, Segment."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.segment import SegmentPresenter
from CTRestorationLib.widgets.mar.panel import StepPanel
from CTRestorationLib.widgets.mar.tables import fill


class SegmentPanel(StepPanel):
    """Metal and vertebrae."""

    uiName = "MARInpaintSegment"
    Presenter = SegmentPresenter
    buttons = {"metal": "metalButton", "spine": "spineButton"}  # noqa: RUF012

    def setup(self) -> None:
        """Connect what is not bound to the parameter node."""
        self.ui.metalThreshold.connect("valueChanged(double)", lambda _value: self.presenter.thresholdMoved())
        self.ui.previewBox.connect("toggled(bool)", self._previewToggled)
        self.ui.metalAutomatic.connect("toggled(bool)", self._automaticToggled)
        self._automaticToggled(True)

    def _automaticToggled(self, on: bool) -> None:
        self.ui.metalThreshold.enabled = not on

    def _previewToggled(self, on: bool) -> None:
        self.presenter.setPreview(on)

    def setPreview(self, on: bool) -> None:
        """Draw the check box."""
        if self.ui.previewBox.checked != on:
            self.ui.previewBox.checked = on

    def showMetalVolume(self, text: str) -> None:
        """Milliliters above the threshold."""
        self.ui.metalVolume.text = text

    def showMetal(self, text: str) -> None:
        """What was found, with its threshold's reason."""
        self.ui.metalText.text = text

    def showSpine(self, text: str) -> None:
        """Notes on the vertebrae."""
        self.ui.spineText.text = text

    def showLevels(self, rows: list[tuple[str, str, str]]) -> None:
        """The vertebrae found: (level, volume in ml, state)."""
        fill(self.ui.vertebraTable, rows)

    def showSource(self, method: str) -> None:
        """Only what the chosen way needs."""
        for name, wanted in (("spineSource", "labels"), ("spineNamed", "fallback")):
            for widget in (name, f"{name}Label"):
                getattr(self.ui, widget).visible = method == wanted
