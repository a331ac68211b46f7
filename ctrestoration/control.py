"""Progress and cancel, as one small object that long work takes and reports to.

A front end (terminal, Slicer module, test) makes a `Control` from two callables; work divides it into parts and
reports a fraction between two slices. The same call is where a cancel takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ctrestoration.errors import Cancelled

Item = TypeVar("Item")


class Control:
    """Where long work reports to.

    Args:
        progress: called with (fraction done, 0..1; what is being done).
        cancel: asked at every report; returning True stops the work with `Cancelled`.
    """

    def __init__(
        self,
        progress: Callable[[float, str], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> None:
        self._progress = progress
        self._cancel = cancel
        self._start = 0.0
        self._span = 1.0

    def report(self, fraction: float, message: str) -> None:
        """Say how much of this part is done (0..1), and what is being done.

        Raises:
            Cancelled: where the front end asked to stop.
        """
        if self._cancel is not None and self._cancel():
            raise Cancelled(f"Cancelled while {message[:1].lower()}{message[1:]}.")
        if self._progress is not None:
            self._progress(self._start + self._span * min(max(fraction, 0.0), 1.0), message)

    def part(self, start: float, stop: float) -> Control:
        """The Control of a sub-task that covers the share `start`..`stop` (0..1) of this one."""
        part = Control(self._progress, self._cancel)
        part._start = self._start + self._span * start
        part._span = self._span * (stop - start)
        return part

    def track(self, items: Sequence[Item], message: str) -> Iterator[Item]:
        """Yield the items of a sequence, reporting before each one and at the end."""
        for number, item in enumerate(items):
            self.report(number / len(items), message)
            yield item
        self.report(1.0, message)


SILENT = Control()
