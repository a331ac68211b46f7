"""The page of step 4, Correct."""

from __future__ import annotations

from slicer.i18n import tr as _

from CTRestorationLib.presenters.mar.correct import CorrectPresenter
from CTRestorationLib.widgets.mar.choices import ScanPanel


class CorrectPanel(ScanPanel):
    """Volume, method and device."""

    uiName = "MARInpaintCorrect"
    Presenter = CorrectPresenter
    buttons = {"correct": "correctButton"}  # noqa: RUF012
    boxes = {"method": "methodBox", "device": "deviceBox"}  # noqa: RUF012

    def setDevice(self, enabled: bool, reason: str) -> None:
        """Gray where there is no choice, with the reason as tooltip."""
        self.ui.deviceBox.enabled = enabled
        self.ui.deviceBox.toolTip = reason or _("Where the method computes")

    def setUncertainty(self, offered: bool) -> None:
        """Gray for methods that give none."""
        self.ui.uncertaintyBox.enabled = offered
        tip = _("How sure the method is of every voxel") if offered else _("This method does not say how sure it is.")
        self.ui.uncertaintyBox.toolTip = tip

    def showSinograms(self, text: str, offered: bool) -> None:
        """Which sinograms are corrected; the check box is gray where there are none."""
        self.ui.sinogramLabel.text = text
        self.ui.fromAcquisition.enabled = offered

    def setMetal(self, needed: bool) -> None:
        """The metal of the image; gray where the sinograms bring theirs."""
        for name in ("metalSelector", "segmentBox"):
            for widget in (name, f"{name}Label"):
                getattr(self.ui, widget).enabled = needed
