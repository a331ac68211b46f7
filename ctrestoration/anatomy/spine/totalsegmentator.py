"""TotalSegmentator as an external program, where it and its weights are already installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ctrestoration.anatomy.labels import LEVEL_ID, LEVELS, TOTALSEGMENTATOR_NAMES
from ctrestoration.control import SILENT, Control
from ctrestoration.errors import Cancelled, InputError
from ctrestoration.volume import LabelMap, Volume

_WEIGHTS = "Dataset292_TotalSegmentator_part2_vertebrae_1532subj"
_FAST_WEIGHTS = "Dataset297_TotalSegmentator_total_3mm_1559subj"


def find_totalsegmentator(*, fast: bool = False) -> tuple[str | None, str]:
    """The program's path, and why it cannot be used: (path, "") or (None, sentence)."""
    program = shutil.which("TotalSegmentator")
    if program is None:
        return None, "TotalSegmentator is not installed (no program of that name is on the path)."
    home = Path(os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator"))
    folder = Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", home / "nnunet" / "results"))
    weights = _FAST_WEIGHTS if fast else _WEIGHTS
    if not (folder / weights).is_dir():
        task = "total_fast" if fast else "total"
        return None, (
            f"TotalSegmentator's weights {weights} are not in {folder}, and nothing is downloaded unasked: "
            f"run 'totalseg_download_weights -t {task}' once, or copy the folder there."
        )
    return program, ""


def run_totalsegmentator(volume: Volume, *, fast: bool = False, control: Control = SILENT) -> LabelMap:
    """Vertebrae and sacrum by TotalSegmentator, on the volume's grid.

    Raises:
        InputError: not installed, no weights, or the program failed; the message carries its last line.
        Cancelled: the program is stopped.
    """
    program, reason = find_totalsegmentator(fast=fast)
    if program is None:
        raise InputError(reason)
    from ctrestoration.io.images import write_volume
    from ctrestoration.io.labels import read_labels

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "ct.nii.gz", Path(folder) / "vertebrae.nii.gz"
        write_volume(volume, source)
        wanted = [f"vertebrae_{level}" for level in LEVELS] + ["sacrum"]
        words = [program, "-i", str(source), "-o", str(target), "--ml", "--roi_subset", *wanted]
        _run(words + (["--fast"] if fast else []), Path(folder) / "log.txt", control)
        if not target.is_file():
            raise InputError("TotalSegmentator ended without writing a segmentation.")
        labels = read_labels(target, volume.grid)
    names = {value: TOTALSEGMENTATOR_NAMES[value] for value in (*LEVEL_ID.values(), 25)}
    return LabelMap(labels.array, labels.grid, names, "TotalSegmentator")


def _run(words: list[str], log: Path, control: Control) -> None:
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                control.report(0.5, "Running TotalSegmentator")
                time.sleep(0.2)
        except (Cancelled, KeyboardInterrupt):
            process.terminate()
            process.wait(timeout=20)
            raise
    if process.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise InputError(
            f"TotalSegmentator failed with code {process.returncode}: {lines[-1] if lines else 'no output'}"
        )
