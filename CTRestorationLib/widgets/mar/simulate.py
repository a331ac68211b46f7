"""The page of step 3, Simulate."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.simulate import SimulatePresenter
from CTRestorationLib.widgets.mar.choices import ScanPanel


class SimulatePanel(ScanPanel):
    """Metal, scanner and dose."""

    uiName = "MARInpaintSimulate"
    Presenter = SimulatePresenter
    buttons = {"simulate": "simulateButton"}  # noqa: RUF012
    boxes = {  # noqa: RUF012
        "material": "materialBox",
        "preset": "presetBox",
        "spectrum": "spectrumBox",
        "fbpMode": "fbpModeBox",
        "fbpWindow": "fbpWindowBox",
    }

    def showSource(self, source: str) -> None:
        """Only what the chosen metal needs."""
        for name in ("metalSelector", "segmentBox", "materialBox"):
            for widget in (name, f"{name}Label"):
                getattr(self.ui, widget).visible = source == "mask"
