"""Run the layers of tests that need no Slicer application, one process each: `python Testing/run_layers.py core mrml`.

One process a layer, because the stand-in for Slicer's widgets changes Qt's classes for a whole process. The layers that
draw need a few system libraries; where they are missing, those layers are skipped with the command that installs them.
`--missing-packages` prints the Debian packages that are missing, and nothing else.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
DRAWING = ("render", "gui")
LAYERS = ("core", "mrml", *DRAWING, "packaging")
PACKAGES = {
    "libegl1": ["libEGL.so.1"],
    "libgl1": ["libGL.so.1"],
    "libgl1-mesa-dri": ["libEGL_mesa.so.0", "libGLX_mesa.so.0"],
    "libxkbcommon0": ["libxkbcommon.so.0"],
    "libdbus-1-3": ["libdbus-1.so.3"],
    "libfontconfig1": ["libfontconfig.so.1"],
    "libglib2.0-0": ["libgthread-2.0.so.0", "libglib-2.0.so.0"],
}
NO_TESTS = 5


def missing_packages() -> list[str]:
    """The Debian packages whose libraries cannot be loaded; none on systems other than Linux."""
    if not sys.platform.startswith("linux"):
        return []
    return [package for package, libraries in PACKAGES.items() if not any(map(_loads, libraries))]


def main(words: list[str]) -> int:
    """Run the named layers, or all; returns 0 where every one of them passed or was skipped."""
    missing = missing_packages()
    if words == ["--missing-packages"]:
        print(" ".join(missing))
        return 0
    unknown = [word for word in words if word not in LAYERS]
    if unknown:
        print(f"no such layer of tests: {unknown[0]!r}; there are {', '.join(LAYERS)}.", file=sys.stderr)
        return 2
    outcomes = {layer: _run(layer, missing) for layer in words or LAYERS}
    print("\n" + "\n".join(f"{layer:<10} {outcome}" for layer, outcome in outcomes.items()))
    return int(any(outcome.startswith("FAILED") for outcome in outcomes.values()))


def _run(layer: str, missing: list[str]) -> str:
    if not (TESTING / layer).is_dir():
        return "skipped: there is no such folder yet"
    if layer in DRAWING and missing:
        return f"skipped: system packages are missing: apt-get install {' '.join(missing)}"
    print(f"\n--- {layer} ---", flush=True)
    command = [sys.executable, "-m", "pytest", str(TESTING / layer)]
    code = subprocess.run(command, cwd=TESTING.parent, check=False).returncode
    if code == NO_TESTS:
        return "FAILED: no tests were found"
    return "passed" if code == 0 else f"FAILED (pytest ended with {code})"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
