"""Is that process still the one we mean? A process id alone is no answer: ids are reused."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Owner:
    """A process, identified beyond its number.

    Attributes:
        host: name of the machine.
        pid: process id on it.
        pid_start: when the process started, in whatever unit the system counts (compared only for equality); "" where
            the system does not tell.
        boot_id: changes at every start of the machine; "" where the system does not tell.
    """

    host: str
    pid: int
    pid_start: str
    boot_id: str

    @classmethod
    def current(cls) -> Owner:
        """The process that asks."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, start_of(pid), boot_id())

    @classmethod
    def from_json(cls, content: Any) -> Owner | None:
        """The owner a lock or status file names, or None where the file does not say."""
        try:
            return cls(
                str(content["host"]),
                int(content["pid"]),
                str(content.get("pid_start", "")),
                str(content.get("boot_id", "")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    def alive(self) -> bool | None:
        """True or False for a process of this machine; None for one of another machine, which cannot be asked."""
        if self.host != socket.gethostname():
            return None
        if self.boot_id and boot_id() and self.boot_id != boot_id():
            return False
        if not exists(self.pid):
            return False
        started = start_of(self.pid)
        return not (self.pid_start and started and self.pid_start != started)


def exists(pid: int) -> bool:
    """Whether a process of that id runs here (a zombie does not)."""
    if os.name == "nt":
        return _windows_start(pid) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _linux_state(pid) != "Z"


def terminate(pid: int, patience_s: float = 3.0) -> None:
    """End a process: politely first, by force where it does not listen. Its loader processes end with it."""
    if os.name == "nt":
        kill_group(pid)
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + patience_s
        while exists(pid):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)


def kill_group(pid: int) -> None:
    """End a process and its children at once: the leader of a session as `Popen(start_new_session=True)` makes it."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(pid)], capture_output=True, check=False, timeout=20)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def start_of(pid: int) -> str:
    """When a process started, as text to compare for equality; "" where it is not known."""
    if os.name == "nt":
        return _windows_start(pid) or ""
    fields = _linux_fields(pid)
    if fields:
        return fields[19]
    if platform.system() == "Darwin":
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
        )
        return answer.stdout.strip()
    return ""


def boot_id() -> str:
    """An identifier of this start of the machine; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _linux_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name, which may itself hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text[text.rfind(")") + 2 :].split()


def _linux_state(pid: int) -> str:
    fields = _linux_fields(pid)
    return fields[0] if fields else ""


def _windows_start(pid: int) -> str | None:
    """Creation time of a process on Windows, or None where it does not run. Not exercised on Linux."""
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    try:
        times = [ctypes.c_ulonglong() for _ in range(4)]
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        if code.value != 259 or not kernel.GetProcessTimes(handle, *[ctypes.byref(t) for t in times]):
            return None
        return str(times[0].value)
    finally:
        kernel.CloseHandle(handle)
