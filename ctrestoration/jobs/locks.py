"""Lock files that say who holds them, so that the lock of a killed owner can be taken over."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from types import TracebackType

from ctrestoration.jobs.outcome import RunInUseError
from ctrestoration.jobs.processes import Owner


class FileLock:
    """An exclusive lock, as a context manager.

    Args:
        path: the lock file.
        what: what is being locked, for the message ("The run directory X").

    Raises:
        RunInUseError: on entering, where a living process, or one on another machine, holds it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.what = what
        self.took_over: Owner | None = None
        self._owner: Owner | None = None

    def __enter__(self) -> FileLock:
        self._owner = Owner.current()
        # Twice: once for the lock that may be stale, once after taking it away.
        for _ in range(3):
            if self._create():
                return self
            self._take_away_if_stale()
        raise RunInUseError(f"{self.what} is being locked by another process at this very moment: try again.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if holder(self.path) == self._owner:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Write the whole lock beside its place, then link it there: nobody ever reads a half-written lock."""
        assert self._owner is not None  # noqa: S101 - set by __enter__
        own = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        own.write_text(json.dumps(self._owner.to_json()), encoding="utf-8")
        try:
            os.link(own, self.path)
            return True
        except FileExistsError:
            return False
        except OSError:
            return self._create_without_links()
        finally:
            own.unlink(missing_ok=True)

    def _create_without_links(self) -> bool:
        """For file systems without hard links (FAT, some network shares)."""
        assert self._owner is not None  # noqa: S101 - set by __enter__
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(self._owner.to_json(), stream)
        return True

    def _take_away_if_stale(self) -> None:
        other = holder(self.path)
        if other is None and not self.path.exists():
            return
        alive = other.alive() if other is not None else None
        if other is not None and alive is False:
            # Rename first: of two processes that saw the same stale lock, only one rename succeeds.
            aside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
            with contextlib.suppress(FileNotFoundError):
                self.path.rename(aside)
                if holder(aside) == other:
                    self.took_over = other
                    aside.unlink()
                else:  # the other one was faster, and this is already its new lock: give it back
                    with contextlib.suppress(FileExistsError):
                        os.link(aside, self.path)
                    aside.unlink()
            return
        if alive:
            raise RunInUseError(
                f"{self.what} is in use by process {other.pid if other else '?'} of this machine; "
                "cancel that one, or wait for its end."
            )
        where = f"process {other.pid} on {other.host}" if other is not None else "an unreadable lock file"
        raise RunInUseError(
            f"{self.what} is held by {where}, which cannot be asked from here; "
            f"if you know that it no longer runs, delete {self.path} and try again."
        )


def holder(path: Path) -> Owner | None:
    """Who holds a lock file, or None where there is none or it cannot be read."""
    try:
        return Owner.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
