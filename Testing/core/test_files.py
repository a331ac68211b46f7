"""Files complete or not there at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ctrestoration import files
from ctrestoration.errors import InputError, OutputError
from ctrestoration.files import atomic, atomic_folder, check_writable, refuse_overwrite, write_json

unprivileged = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_write(path: Path, error: BaseException) -> None:
    with atomic(path) as part:
        part.write_text("half")
        raise error


def half_write_folder(path: Path, error: BaseException) -> None:
    with atomic_folder(path) as part:
        (part / "report.html").write_text("half")
        raise error


@pytest.mark.parametrize("name", ["mask.nii.gz", "ct.nrrd", "mask.seg.nrrd", "plain"])
def test_the_temporary_file_keeps_its_suffix(tmp_path: Path, name: str) -> None:
    with atomic(tmp_path / name) as part:
        assert part.parent == tmp_path
        assert part.name != name
        assert part.name.endswith(name[name.index(".") :] if name.endswith(".nii.gz") else Path(name).suffix)
        part.write_text("whole")
    assert names(tmp_path) == [name]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    path.write_text("old")
    with pytest.raises(KeyError):
        half_write(path, KeyError())
    assert path.read_text() == "old"
    assert names(tmp_path) == ["ct.nrrd"]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_write(tmp_path / "ct.nrrd", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"Cannot write .*ct\.nrrd: .*\(\d+ MiB free\)\."),
        atomic(tmp_path / "ct.nrrd"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_missing_folders_are_made(tmp_path: Path) -> None:
    with atomic(tmp_path / "a" / "b" / "ct.nrrd") as part:
        part.write_text("whole")
    assert (tmp_path / "a" / "b" / "ct.nrrd").read_text() == "whole"


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a folder"), atomic(tmp_path):
        pass
    with pytest.raises(OutputError, match="Cannot create the folder"), atomic(tmp_path / "file" / "ct.nrrd"):
        pass


@unprivileged
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="read-only"):
            check_writable(tmp_path / "ct.nrrd")
        with pytest.raises(OutputError, match="permission denied"), atomic(tmp_path / "ct.nrrd") as part:
            part.write_text("half")
    finally:
        tmp_path.chmod(0o700)


def test_check_writable_creates_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "ct.nrrd")
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_writable(tmp_path / "file" / "ct.nrrd")
    with pytest.raises(OutputError, match="is a folder"):
        check_writable(tmp_path)


def test_check_writable_asks_the_folder_for_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="read-only"):
        check_writable(tmp_path / "ct.nrrd")


def test_a_folder_appears_whole_and_keeps_what_else_it_held(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "report.html").write_text("old")
    with atomic_folder(tmp_path / "out") as part:
        (part / "images").mkdir()
        (part / "images" / "a.png").write_text("a")
        (part / "report.html").write_text("new")
        assert (tmp_path / "out" / "report.html").read_text() == "old"
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["images", "notes.txt", "report.html"]
    assert (tmp_path / "out" / "report.html").read_text() == "new"


def test_a_folder_stopped_half_way_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_write_folder(tmp_path / "out", KeyboardInterrupt())
    assert names(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file; the output must be a folder"), atomic_folder(tmp_path / "out"):
        pass


def test_json_has_no_infinity(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"psnr_db": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr_db": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"psnr_db": float("inf")})
    assert names(tmp_path) == ["a.json"]


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    ct = tmp_path / "ct.nrrd"
    ct.write_text("")
    (tmp_path / "link.nrrd").symlink_to(ct)
    (tmp_path / "hard.nrrd").hardlink_to(ct)
    refuse_overwrite(tmp_path / "other.nrrd", ct, None)
    for output in ("ct.nrrd", "link.nrrd", "hard.nrrd"):
        with pytest.raises(InputError, match="never overwritten"):
            refuse_overwrite(tmp_path / output, ct)
