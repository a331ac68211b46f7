"""The page of step 3, Simulate."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.simulate import SimulatePresenter
from CTRestorationLib.widgets.mar.panel import StepPanel


class SimulatePanel(StepPanel):
    """The page Simulate."""

    uiName = "MARInpaintSimulate"
    Presenter = SimulatePresenter
