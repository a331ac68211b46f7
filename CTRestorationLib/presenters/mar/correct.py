"""Step 4, Correct."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.step import StepPresenter


class CorrectPresenter(StepPresenter):
    """Decisions of the page Correct."""
