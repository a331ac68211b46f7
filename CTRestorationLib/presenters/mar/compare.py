"""Step 5, Compare."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.step import StepPresenter


class ComparePresenter(StepPresenter):
    """Decisions of the page Compare."""
