"""A page of MARInpaint: its .ui file, its presenter, and buttons that turn into Cancel while their job runs.

A new page is three files: `Resources/UI/MARInpaint<Step>.ui` (top-level qMRMLWidget), `presenters/mar/<step>.py` with a
`StepPresenter`, and `widgets/mar/<step>.py` with a `StepPanel` that names both and fills `setup`.
"""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _


class StepPanel:
    """Base of the pages.

    A subclass sets `uiName` and `Presenter`, and may set `buttons`: action -> name of its QPushButton. `setup` is
    called once with `self.ui` loaded and before the presenter exists; it connects what the .ui does not.

    Attributes:
        widget: the page.
        ui: its widgets by name; those with a SlicerParameterName are bound to the parameter node by the shell.
        presenter: what decides.
    """

    uiName = ""
    Presenter: Any = None
    presenter: Any
    buttons: dict[str, str] = {}  # noqa: RUF012 - read only, one for each subclass

    def __init__(self, shell: Any, session: Any) -> None:
        self.shell = shell
        self.session = session
        self.widget = slicer.util.loadUI(shell.resourcePath(f"UI/{self.uiName}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._texts = {}
        for action, name in self.buttons.items():
            button = getattr(self.ui, name)
            self._texts[action] = (button.text, button.toolTip)
            button.connect("clicked(bool)", lambda _on=False, action=action: self.presenter.press(action))
        self.presenter = self.Presenter(self, session)
        self.setup()

    def setup(self) -> None:
        """Connect and fill what the .ui file does not."""

    def setAction(self, action: str, missing: str, running: bool) -> None:
        """Draw a button: Cancel, ready, or gray with the reason as its tooltip."""
        button = getattr(self.ui, self.buttons[action])
        text, tip = self._texts[action]
        button.text = _("Cancel") if running else text
        button.toolTip = _("Stop this job; nothing half-finished is kept") if running else (missing or tip)
        button.enabled = running or not missing

    def confirm(self, question: str) -> bool:
        """Ask the user."""
        return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle="MARInpaint"))

    def showError(self, sentence: str, detail: str = "") -> None:
        """Tell the user what went wrong."""
        self.session.log(sentence)
        slicer.util.errorDisplay(sentence, windowTitle="MARInpaint", detailedText=detail)

    def guarded(self, work: Any, *arguments: Any) -> bool:
        """Do something small that may meet bad input: its sentence is shown, anything else is a defect and escapes."""
        from ctrestoration.errors import CTRestorationError

        try:
            work(*arguments)
        except CTRestorationError as error:
            self.showError(str(error))
            return False
        return True
