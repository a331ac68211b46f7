"""What weights there are: the shipped ones, and those of finished runs. Needs neither torch nor safetensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError
from ctrestoration.jobs.durable import sha256_of
from ctrestoration.jobs.outcome import DataRefusedError

SHIPPED = Path(__file__).parent
_LARGEST_HEADER = 16 << 20


def find_models(folder: Path | None = None) -> list[dict[str, Any]]:
    """The shipped weights, and those below a folder of runs.

    Returns:
        For each: name, task, file, sha256, size_mb, card (path of the card, or None), as `models list --json` prints.

    Raises:
        InputError: the folder does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    paths = shipped_files()
    paths += sorted(folder.rglob("*.safetensors")) if folder is not None else []
    return [describe(path) for path in paths]


def shipped_files() -> list[Path]:
    """The weights files of this package."""
    return sorted(SHIPPED.glob("*.safetensors"))


def describe(path: Path) -> dict[str, Any]:
    """One weights file, from its header alone."""
    about = read_header(path)
    card = path.with_suffix(".md")
    return {
        "name": str(about.get("name", path.stem)),
        "task": str(about.get("task", "unknown")),
        "file": str(path),
        "sha256": sha256_of(path),
        "size_mb": round(path.stat().st_size / 1e6, 3),
        "card": str(card) if card.is_file() else None,
    }


def read_header(path: Path) -> dict[str, Any]:
    """The facts that were stored with the weights; empty where the file is not ours.

    A safetensors file begins with the length of a JSON header (8 bytes, little endian) and that header.

    Raises:
        DataRefusedError: the file is no safetensors file.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError("header too long")
            metadata = json.loads(stream.read(length)).get("__metadata__", {})
            about = json.loads(metadata.get("ctrestoration", "{}"))
    except (OSError, ValueError, struct.error, AttributeError) as error:
        raise DataRefusedError(f"{path} is damaged or no safetensors file.") from error
    return about if isinstance(about, dict) else {}


def find_model(name: str, folder: Path | None = None) -> Path:
    """The weights file of a name, or the file itself where a path is given.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    if Path(name).suffix or Path(name).is_file():
        return Path(name)
    models = {model["name"]: model["file"] for model in find_models(folder)}
    if name not in models:
        known = ", ".join(models) if models else "none are shipped with this version"
        raise InputError(f"There are no weights called {name!r}: {known}. A path of a .safetensors file works too.")
    return Path(models[name])
