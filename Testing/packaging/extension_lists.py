"""The extension as CMake sees it, and a copy of what Slicer's build would install; in our own words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = Path(__file__).resolve().parent / "stubs"
PACKAGES = ("ctrestoration", "CTRestorationLib")
MODULE_FOLDERS = ("MARInpaint", "TaskAdaptiveRecon", "Training")


@dataclass(frozen=True)
class Asked:
    """One call of slicerMacroBuildScriptedModule."""

    folder: Path
    name: str
    subdir: bool
    generic_tests: bool
    scripts: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass
class Extension:
    """All that the lists ask for."""

    modules: list[Asked] = field(default_factory=list)
    tests: list[Path] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    packed: str = ""


def cmake() -> Path | None:
    """A CMake that is new enough: the one of this environment, else none."""
    found = shutil.which("cmake", path=str(Path(sys.executable).parent))
    return Path(found) if found else None


def configured(build: Path) -> Extension:
    """Configure the extension against the stubs, and give back what it asked for."""
    program = cmake()
    assert program is not None, "no cmake: pip install cmake"
    words = [str(program), "-S", str(ROOT), "-B", str(build), f"-DSlicer_DIR={STUBS}", "-DBUILD_TESTING=ON"]
    for language in ("C", "CXX"):  # nothing is compiled, so no compiler is tried
        words += [f"-DCMAKE_{language}_COMPILER_FORCED=ON", f"-DCMAKE_{language}_COMPILER={sys.executable}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    found = Extension()
    for line in (build / "asked.txt").read_text(encoding="utf-8").splitlines():
        kind, *parts = line.split("|")
        if kind == "module":
            folder, name, subdir, generic, scripts, resources = parts
            found.modules.append(
                Asked(Path(folder), name, subdir == "TRUE", generic == "TRUE", _list(scripts), _list(resources))
            )
        elif kind == "test":
            found.tests.append(Path(parts[0]) / parts[1])
        elif kind == "extension":
            found.facts[parts[0]] = parts[1]
        else:
            found.packed = parts[0]
    return found


def install(extension: Extension, prefix: Path) -> Path:
    """Copy what Slicer's build would install; returns the folder that is on Slicer's path.

    Scripts and resources keep their path below the module's folder; with WITH_SUBDIR they go into a folder of the name
    of the source folder. The first of two resources of the same path wins.
    """
    target = prefix / "lib" / "Slicer-5.13" / "qt-scripted-modules"
    for asked in extension.modules:
        base = target / asked.folder.name if asked.subdir else target
        for path in (*asked.scripts, *asked.resources):
            destination = base / path
            if not destination.exists():
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(asked.folder / path, destination)
    return target


def on_disk(folder: Path, *suffixes: str) -> set[str]:
    """Files below a folder by suffix, as relative paths."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found if path.suffix in suffixes}


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(";") if part)
