"""What the five steps have in common: buttons that know what they lack, and turn into Cancel while their job runs."""

from __future__ import annotations

from typing import Any, Protocol

from CTRestorationLib.presenters.mar.session import Session


class StepView(Protocol):
    """What a presenter needs of its panel."""

    def setAction(self, action: str, missing: str, running: bool) -> None:
        """Draw the button of an action: gray with the sentence as its tooltip, or ready, or Cancel."""

    def confirm(self, question: str) -> bool:
        """Ask; True to go on."""


class StepPresenter:
    """Base of the steps.

    A subclass lists its buttons in `actions`, says in `missing` what one of them lacks ("" = it may be pressed; else
    one sentence, its tooltip), and does the work in `run`. `refresh` brings the panel up to date with the scene; the
    shell calls it when the page is shown, when a parameter changes, and when a job begins or ends. It must be cheap.
    """

    actions: tuple[str, ...] = ()

    def __init__(self, view: Any, session: Session) -> None:
        self.view = view
        self.session = session

    @property
    def nodes(self) -> Any:
        """What reaches into the scene."""
        return self.session.nodes

    @property
    def parameters(self) -> Any:
        """The parameter node."""
        return self.session.parameters

    def missing(self, action: str) -> str:
        """What the action lacks: "" or one sentence."""
        return self.session.missing()

    def run(self, action: str) -> None:
        """Do it."""
        raise NotImplementedError

    def press(self, action: str) -> None:
        """The button was clicked: cancel what it started, or start where nothing is missing."""
        if self.session.runs(action):
            self.session.cancel()
        elif self.missing(action):
            self.refresh()
        else:
            self.run(action)

    def refresh(self) -> None:
        """Redraw the buttons; a subclass adds what else it shows."""
        for action in self.actions:
            running = self.session.runs(action)
            self.view.setAction(action, "" if running else self.missing(action), running)

    def sceneClosed(self) -> None:
        """Forget nodes; the scene is about to be emptied."""

    def hidden(self) -> None:
        """The page or the module is left: take away what is shown only while it is open."""
