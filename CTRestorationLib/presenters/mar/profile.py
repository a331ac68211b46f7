"""The part of Compare that draws HU along a line."""

from __future__ import annotations

from typing import Any

from CTRestorationLib.presenters.mar.session import Session
from CTRestorationLib.presenters.mar.step import StepPresenter

_REDRAW_MILLISECONDS = 60


class Profile(StepPresenter):
    """A line, its chart, and the chart following the line."""

    def __init__(self, view: Any, session: Session) -> None:
        super().__init__(view, session)
        self._placing: Any = None
        self._chart: Any = None
        self._followed: Any = None
        self._due = False

    def images(self) -> list[Any]:
        """The volumes that get a curve."""
        raise NotImplementedError

    def profilable(self) -> str:
        """What keeps a profile from being drawn: "" or one sentence."""
        if not self.images():
            return "Choose a reference or check a volume first: each gets a curve."
        if not self.nodes.comparison.isLine(self.parameters.compareLine):
            return "Draw a line across the metal first, or choose a line that is there."
        return ""

    def placeProfile(self) -> None:
        """Let the user click both ends of a line; a second press calls it off."""
        if self._placing is not None:
            self.stopPlacing()
        else:
            self._placing = self.nodes.placeLine(
                "Profile",
                # Later: taking the line away while it tells of its point crashes the application.
                lambda first, last: self.session.later(lambda: self._placed(first, last)),
                lambda: self.session.later(self.stopPlacing),
            )
        self.showProfileState()

    def stopPlacing(self) -> None:
        """No placing any more."""
        if self._placing is not None:
            self._placing.stop()
            self._placing = None
            self.showProfileState()

    def _placed(self, first: Any, last: Any) -> None:
        if self._placing is None:
            return  # called off, or the scene was closed, since the click
        self.stopPlacing()
        line = self.nodes.comparison.newLine(self.nodes.uniqueName("Profile line"), first, last)
        self.parameters.compareLine = line
        if self.images():
            self.drawProfile()

    def drawProfile(self) -> None:
        """Plot HU along the line, and keep the plot up to date while the line is dragged."""
        from ctrestoration.errors import CTRestorationError

        if self.profilable():
            return
        comparison, line = self.nodes.comparison, self.parameters.compareLine
        try:
            self._chart = comparison.profile(line, self.images(), self._chart)
        except CTRestorationError as error:
            self.view.showError(str(error))
            return
        comparison.showChart(self._chart)
        self._unfollow()
        identifier = line.GetID()
        self._followed = comparison.follow(line, lambda: self._moved(identifier))

    def _moved(self, identifier: str) -> None:
        """An end moved: redraw soon, once."""
        if not self._due:
            self._due = True
            self.view.later(_REDRAW_MILLISECONDS, lambda: self._redraw(identifier))

    def _redraw(self, identifier: str) -> None:
        from ctrestoration.errors import CTRestorationError

        self._due = False
        line = self.parameters.compareLine
        if self._followed is None or line is None or line.GetID() != identifier or self.profilable():
            return
        try:
            self._chart = self.nodes.comparison.profile(line, self.images(), self._chart)
        except CTRestorationError as error:  # dragged out of the volume: the curves wait for its return
            self.session.log(str(error))

    def showProfileState(self) -> None:
        """The buttons of the profile."""
        self.view.setProfile(self._placing is not None, self.profilable())

    def _unfollow(self) -> None:
        if self._followed is not None:
            self._followed.removeAll()
            self._followed = None

    def forgetProfile(self) -> None:
        """The scene is about to be emptied."""
        self._unfollow()
        self._chart, self._due = None, False
