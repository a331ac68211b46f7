"""Writing files so that a reader never sees half of one, and an input is never overwritten."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctrestoration.errors import InputError, OutputError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and put it in place only when the block ends well.

    The temporary name keeps the suffix, because image writers choose their format by it.

    Raises:
        OutputError: where the folder is missing, not writable, or the disk is full; the message names the path.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; the output must be a file name inside it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot create the folder {path.parent}: {_reason(error)}.") from error
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    part = path.parent / f".{path.name[: len(path.name) - len(suffix)]}.{uuid.uuid4().hex[:8]}.part{suffix}"
    try:
        yield part
        _flush(part)
        part.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {_reason(error, path.parent)}.") from error
    finally:
        part.unlink(missing_ok=True) if part.is_file() else None


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; its files move into `path` only when the block ends well.

    An existing `path` keeps what else it holds; files of the same name are replaced one by one.

    Raises:
        OutputError: where the folder cannot be created or written.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; the output must be a folder.")
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        path.mkdir(exist_ok=True)
        for source in sorted(part.rglob("*")):
            target = path / source.relative_to(part)
            if source.is_dir():
                target.mkdir(exist_ok=True)
            else:
                source.replace(target)
    except OutputError as error:
        raise OutputError(str(error).replace(str(part), str(path))) from error
    except OSError as error:
        raise OutputError(f"Cannot write to {path}: {_reason(error, path.parent)}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON that any parser reads: no NaN or Infinity literals.

    Raises:
        ValueError: where the content holds NaN or infinity (a defect of ours: use null).
        OutputError: where the file cannot be written.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: str | Path, expected: str) -> Any:
    """Read a JSON file that a user named.

    Args:
        path: the file.
        expected: a clause on what it should be, for the message where it is not there.

    Raises:
        InputError: not there, a folder, or no JSON.
    """
    path = Path(path)
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {fault}: {expected}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not JSON: it holds no text.") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not JSON: {error}.") from error


def check_writable(path: str | Path) -> None:
    """Raise OutputError now where `path` could not be written later: long work should not end in a bad surprise.

    Nothing is created: the nearest existing folder is asked.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; the output must be a file name inside it.")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: {folder} is a file, not a folder.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"Cannot write {path}: the folder {folder} is read-only for this user.")


def not_taken(path: str | Path) -> OutputError:
    """The error of a file whose end never reached the disk, where a library ended without saying why."""
    free = shutil.disk_usage(Path(path).parent).free / 2**20
    return OutputError(f"Cannot write {path}: the disk did not take the whole file ({free:.0f} MiB free).")


def refuse_overwrite(output: str | Path, *inputs: str | Path | None) -> None:
    """Raise InputError where the output would replace one of the inputs."""
    for source in inputs:
        if source is not None and _same(Path(output), Path(source)):
            raise InputError(
                f"The output {output} is also an input: choose another name, inputs are never overwritten."
            )


def _same(output: Path, source: Path) -> bool:
    if output.exists() and source.exists():
        return output.samefile(source)
    return output.resolve() == source.resolve()


def _flush(part: Path) -> None:
    with part.open("rb") as stream:
        os.fsync(stream.fileno())


def _reason(error: OSError, folder: Path | None = None) -> str:
    reason = (error.strerror or str(error)).rstrip(".")
    reason = reason[:1].lower() + reason[1:]
    if folder is not None and error.errno == errno.ENOSPC:
        return f"{reason} ({shutil.disk_usage(folder).free / 2**20:.0f} MiB free)"
    return reason
