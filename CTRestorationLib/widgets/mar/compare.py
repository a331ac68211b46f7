"""The page of step 5, Compare."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.compare import ComparePresenter
from CTRestorationLib.widgets.mar.panel import StepPanel


class ComparePanel(StepPanel):
    """The page Compare."""

    uiName = "MARInpaintCompare"
    Presenter = ComparePresenter
