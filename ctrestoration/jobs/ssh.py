"""Training on another machine, by the system's ssh and scp and `ctrestoration` installed there."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.jobs import outcome
from ctrestoration.jobs.durable import replace_json
from ctrestoration.jobs.local import checked_name, verified_copy
from ctrestoration.jobs.rundir import RunDirectory

_OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
_ERRORS: dict[int, type[CTRestorationError]] = {
    2: InputError,
    3: outcome.DataRefusedError,
    74: outcome.StorageError,
    75: outcome.RunInUseError,
}


class SshBackend:
    """Detached trainers on another machine.

    The user's ssh configuration decides about keys, ports and jump hosts; a password is never asked for.

    Args:
        host: as `ssh` takes it, "user@machine" or a name of the ssh configuration.
        mirror: local folder for the copies of status and journals that `tail` keeps up to date.
        python: the interpreter on that machine that has ctrestoration and torch.
        ssh: the program to call; tests put another one in its place.
        scp: the same for copying.
    """

    def __init__(self, host: str, mirror: Path, *, python: str = "python3", ssh: str = "ssh", scp: str = "scp") -> None:
        if not host or host.startswith("-") or any(letter.isspace() for letter in host):
            raise InputError(f"{host!r} is not a host name that ssh takes, such as user@machine.")
        self.host = host
        self.mirror = mirror
        self.python = python
        self._ssh = ssh
        self._scp = scp

    def submit(self, config: Path, run: str, overrides: Sequence[str] = (), processes: int = 1) -> int:
        """See `RunBackend.submit`. Data paths in the run file are paths of the other machine."""
        if not config.is_file():
            raise InputError(f"There is no run file {config}.")
        content = config.read_text(encoding="utf-8")
        request = {"config": content, "overrides": list(overrides), "processes": processes}
        return int(self._call("submit", run, request)["pid"])

    def tail(self, run: str) -> RunDirectory:
        """See `RunBackend.tail`: fetches only what is new, by byte offset."""
        local = RunDirectory(self.mirror / f"{self.host}_{Path(run).name}".replace("@", "_").replace(":", "_"))
        local.root.mkdir(parents=True, exist_ok=True)
        known = {name: _size(getattr(local, name)) for name in ("metrics", "events")}
        generation = (local.read_status() or {}).get("generation")
        answer = self._call("read", run, {**known, "generation": generation})
        for name in known:
            part = answer[name]
            with getattr(local, name).open("r+b" if getattr(local, name).exists() else "w+b") as stream:
                stream.truncate(int(part["offset"]))
                stream.seek(int(part["offset"]))
                stream.write(part["text"].encode("utf-8"))
        if answer["status"] is not None:
            replace_json(local.status, answer["status"], durable=False)
        return local

    def cancel(self, run: str, force: bool = False) -> None:
        """See `RunBackend.cancel`."""
        self._call("cancel", run, {"force": force})

    def fetch(self, run: str, names: Sequence[str], folder: Path) -> list[Path]:
        """See `RunBackend.fetch`."""
        names = [checked_name(name) for name in names]
        digests = self._call("digest", run, {"names": names})["sha256"]
        return [
            verified_copy(folder / Path(name).name, digests[name], lambda part, n=name: self._copy(f"{run}/{n}", part))
            for name in names
        ]

    def _call(self, call: str, run: str, request: dict[str, Any]) -> dict[str, Any]:
        # ssh hands one string to the remote shell, so the words are quoted for it; contents travel on standard input.
        remote = shlex.join([self.python, "-m", "ctrestoration.jobs.serve", call, run])
        result = self._run([self._ssh, *_OPTIONS, "--", self.host, remote], json.dumps(request))
        try:
            answer = json.loads(result)
        except ValueError as error:
            raise outcome.StorageError(
                f"{self.host} gave an answer that is not understood: {result[:80]!r}."
            ) from error
        if "error" in answer:
            raise _ERRORS.get(int(answer["exit_code"]), CTRestorationError)(f"{self.host}: {answer['error']}")
        return dict(answer)

    def _copy(self, source: str, target: Path) -> None:
        self._run([self._scp, "-q", *_OPTIONS, "--", f"{self.host}:{source}", str(target)], "")

    def _run(self, words: list[str], text: str) -> str:
        try:
            done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=120)
        except FileNotFoundError as error:
            raise InputError(
                f"The program {words[0]!r} is not installed: it is needed to reach {self.host}."
            ) from error
        except subprocess.TimeoutExpired as error:
            raise outcome.StorageError(f"{self.host} did not answer within 120 s.") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise outcome.StorageError(f"{self.host} cannot be used: {said[-1] if said else 'no reason given'}.")
        return done.stdout


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
