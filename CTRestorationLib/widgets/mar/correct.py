"""The page of step 4, Correct."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.correct import CorrectPresenter
from CTRestorationLib.widgets.mar.panel import StepPanel


class CorrectPanel(StepPanel):
    """The page Correct."""

    uiName = "MARInpaintCorrect"
    Presenter = CorrectPresenter
