"""The one family of user-facing errors: what is wrong, where, and what would be right.

The command line prints the message as one sentence and exits with `exit_code`; the Slicer modules show the same
sentence. Anything else that escapes is a defect of ours and keeps its traceback.
"""

from __future__ import annotations


class CTRestorationError(Exception):
    """Base of every error that a user can do something about. The message is one clear sentence."""

    exit_code = 2


class InputError(CTRestorationError):
    """The input, a setting or a path is not usable: the message names it and says what would be."""


class OutputError(CTRestorationError):
    """A result could not be written; nothing half-written was left behind."""


class MissingDependencyError(CTRestorationError):
    """An optional library is needed for what was asked; the message names the extra that brings it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the Python package '{library}', which is not installed: "
            f"pip install 'ctrestoration[{extra}]'."
        )


class Cancelled(CTRestorationError):  # noqa: N818 - a stop that was asked for is no error
    """The user stopped the work; what was already complete stays, nothing half-written does."""

    exit_code = 130


class CTRestorationWarning(UserWarning):
    """A notice the user should read although the work goes on."""
