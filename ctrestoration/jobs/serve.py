"""The far end of the ssh backend: `python -m ctrestoration.jobs.serve CALL RUN ...`, one JSON object each way.

Reads the arguments of the call as JSON from standard input, so that nothing needs quoting for a remote shell.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ctrestoration.errors import CTRestorationError, InputError
from ctrestoration.jobs.durable import sha256_of
from ctrestoration.jobs.local import LocalBackend, checked_name
from ctrestoration.jobs.rundir import RunDirectory

_LARGEST_READ = 4 << 20


def read(run: str, request: dict[str, Any]) -> dict[str, Any]:
    """Status, and the complete lines of both journals after the offsets that the caller already has."""
    directory = RunDirectory(Path(run))
    status = directory.read_status()
    fresh = status is not None and request.get("generation") not in (None, status.get("generation"))
    answer: dict[str, Any] = {"status": status}
    for name in ("metrics", "events"):
        known = 0 if fresh else int(request.get(name, 0))
        answer[name] = _lines_after(getattr(directory, name), known)
    return answer


def submit(run: str, request: dict[str, Any]) -> dict[str, Any]:
    """Start a detached trainer here from the text of a run file."""
    # Beside the run and not inside it: the trainer wants an empty run directory, and reads the file a moment later.
    config = Path(f"{run}.yaml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(str(request["config"]), encoding="utf-8")
    overrides, processes = list(request.get("overrides", [])), int(request.get("processes", 1))
    return {"pid": LocalBackend().submit(config, run, overrides, processes)}


def cancel(run: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the trainer here for a clean stop, or end it."""
    LocalBackend().cancel(run, force=bool(request.get("force")))
    return {}


def digest(run: str, request: dict[str, Any]) -> dict[str, Any]:
    """SHA-256 of files of the run."""
    digests = {}
    for name in request["names"]:
        path = Path(run) / checked_name(name)
        if not path.is_file():
            raise InputError(f"The run {run} has no file {name}.")
        digests[name] = sha256_of(path)
    return {"sha256": digests}


def _lines_after(path: Path, offset: int) -> dict[str, Any]:
    if not path.exists():
        return {"offset": 0, "text": ""}
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        if size < offset:
            offset = 0
        stream.seek(offset)
        content = stream.read(_LARGEST_READ)
    return {"offset": offset, "text": content[: content.rfind(b"\n") + 1].decode("utf-8")}


_CALLS = {"read": read, "submit": submit, "cancel": cancel, "digest": digest}


def main(words: list[str]) -> int:
    """Answer one call. Errors of the user come back as {"error", "exit_code"}."""
    call, run = words
    try:
        answer = _CALLS[call](str(Path(run).expanduser()), json.loads(sys.stdin.read() or "{}"))
    except CTRestorationError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
