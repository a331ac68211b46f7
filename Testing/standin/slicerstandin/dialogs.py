"""What the program would have asked or told a person: recorded, and answered by the test.

dialogs.answers.append("plan.json")     # the next question gets this
...click...
assert "saved" in dialogs.told[-1][1]        # (kind, text) of everything shown
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

answers: list[Any] = []
told: list[tuple[str, str]] = []
REFUSE = object()


def reset() -> None:
    """Forget answers and records."""
    answers.clear()
    told.clear()


def record(kind: str, text: Any) -> bool:
    """Note something shown to the person."""
    told.append((kind, str(text)))
    return True


def answer(kind: str, text: Any, default: Any = REFUSE) -> Any:
    """The test's answer to a question, else the default; without either the question is an error."""
    record(kind, text)
    if answers:
        return answers.pop(0)
    if default is REFUSE:
        raise RuntimeError(f"{kind} would wait for a person: {text!r}; append to slicerstandin.dialogs.answers")
    return default


def asker(kind: str, default: Any = REFUSE) -> Callable[..., Any]:
    """A static dialog function of Qt; file dialogs are canceled by default, as with an empty answer."""

    def ask(*arguments: Any) -> Any:
        return answer(kind, " ".join(str(item) for item in arguments[1:]), default)

    return ask
