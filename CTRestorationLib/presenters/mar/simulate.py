"""Step 3, Simulate."""

from __future__ import annotations

from CTRestorationLib.presenters.mar.step import StepPresenter


class SimulatePresenter(StepPresenter):
    """Decisions of the page Simulate."""
