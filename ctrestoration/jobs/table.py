"""One line for each run of a folder: state, progress, best metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctrestoration.jobs.outcome import sentence
from ctrestoration.jobs.reader import Watcher
from ctrestoration.jobs.rundir import RunDirectory


def find_runs(folder: Path) -> list[RunDirectory]:
    """The runs in a folder, or the folder itself where it is one, sorted by name."""
    if (folder / "config.yaml").is_file() and (folder / "control").is_dir():
        return [RunDirectory(folder)]
    found = [path.parent for path in folder.glob("*/config.yaml") if (path.parent / "control").is_dir()]
    return [RunDirectory(path) for path in sorted(found)]


def summarize(run: RunDirectory) -> dict[str, Any]:
    """State, position and best validation value of a run, as a JSON object.

    A run of another machine counts as it says in its status: one look cannot tell whether its heartbeat stands still.
    """
    watcher = Watcher(run).poll()
    status = watcher.status or {}
    code = status.get("exit_code")
    return {
        "run": run.root.name,
        "path": str(run.root),
        "state": watcher.state,
        "stage": status.get("stage"),
        "epoch": status.get("epoch"),
        "step": status.get("step"),
        "total": status.get("total"),
        "best": status.get("best"),
        "exit_code": code,
        "message": "Its trainer has died without a word; 'resume' continues it."
        if watcher.state == "lost"
        else status.get("message") or (sentence(code) if code is not None else ""),
    }


def format_table(rows: list[dict[str, Any]]) -> str:
    """The rows as an aligned text table."""
    head = ("RUN", "STATE", "STAGE", "PROGRESS", "BEST", "MESSAGE")
    lines = [head]
    for row in rows:
        step, total = row["step"], row["total"]
        progress = f"{step}/{total} ({100 * step / total:.0f} %)" if step is not None and total else "-"
        best = row["best"] or {}
        value = best.get("value")
        shown = f"{best.get('metric')} {value:.4g}" if value is not None else "-"
        lines.append((row["run"], row["state"], row["stage"] or "-", progress, shown, row["message"] or ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
