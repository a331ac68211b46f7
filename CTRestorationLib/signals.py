"""A signal in plain Python, so that what decides needs no Qt to be heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Slot = Callable[..., Any]


class Signal:
    """Calls what was connected, in that order.

    A slot may connect and disconnect while the signal is emitted; that takes effect at the next one. An exception in
    one slot does not keep the others from being called; the first one is raised when all were.
    """

    def __init__(self) -> None:
        self._slots: list[Slot] = []

    def connect(self, slot: Slot) -> None:
        """Call `slot` from now on; a second time is the same as once."""
        if slot not in self._slots:
            self._slots.append(slot)

    def disconnect(self, slot: Slot) -> None:
        """Call `slot` no more; one that was never connected is no error."""
        if slot in self._slots:
            self._slots.remove(slot)

    def emit(self, *arguments: Any) -> None:
        """Call every slot with these arguments."""
        first: Exception | None = None
        for slot in list(self._slots):
            try:
                slot(*arguments)
            except Exception as error:
                first = first or error
        if first is not None:
            raise first
