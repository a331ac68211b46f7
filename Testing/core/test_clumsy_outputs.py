"""Outputs that a stranger puts in the wrong place: refused before the work, and what is there stays as it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from core.test_bad_input import ct, metal, refusal, stored

from ctrestoration.cli import main as entry
from ctrestoration.cli.main import main
from ctrestoration.errors import OutputError
from ctrestoration.files import atomic, atomic_folder
from ctrestoration.implants.mesh import Mesh, write_mesh

PHANTOM = ["--size", "4", "16", "16", "--spacing", "10", "10", "10"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("input.nii.gz", ["simulate", "metal", "{ct}", "--mask", "{mask}", "--out", "{folder}"]),
        ("reference.nii.gz", ["simulate", "metal", "{ct}", "--mask", "{mask}", "--out", "{folder}"]),
        ("lowdose.nii.gz", ["simulate", "lowdose", "{ct}", "--out", "{folder}"]),
        ("reference.nii.gz", ["simulate", "lowdose", "{ct}", "--out", "{folder}"]),
        ("volumes/ct.nii.gz", ["demo", "--ct", "{ct}", "--out", "{folder}"]),
    ],
)
def test_results_in_the_folder_of_their_input_never_replace_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: list[str]
) -> None:
    (tmp_path / "run" / "volumes").mkdir(parents=True)
    volume = stored(tmp_path / "run" / name, ct())
    mask = stored(tmp_path / "mask.nrrd", metal())
    before = volume.read_bytes()
    told = refusal([word.format(ct=volume, mask=mask, folder=tmp_path / "run") for word in words], capsys)
    assert f"The output {volume} is also an input" in told
    assert volume.read_bytes() == before


def test_the_mask_of_an_earlier_simulation_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    volume = stored(tmp_path / "ct.nii.gz", ct())
    mask = stored(tmp_path / "run" / "metal.seg.nrrd", metal())
    words = ["simulate", "metal", str(volume), "--mask", str(mask), "--out", str(tmp_path / "run")]
    assert f"The output {mask} is also an input" in refusal(words, capsys)


def test_one_file_written_in_two_ways_is_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is named for two outputs" in refusal(["phantom", "spine", "a.nii.gz", "--labels", "./a.nii.gz"], capsys)


def test_the_truth_is_asked_for_before_the_phantom_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "ct.nii.gz"
    words = ["phantom", "spine", str(out), *PHANTOM, "--truth", str(tmp_path / "file" / "truth.json")]
    assert "is a file, not a folder" in refusal(words, capsys)
    assert not out.exists()


def test_a_mesh_that_cannot_be_written_leaves_no_metal_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["implants", "place", str(tmp_path / "ct.nii.gz"), str(tmp_path / "plan.json"), str(tmp_path / "m.nii.gz")]
    assert "meshes are written as .stl or .vtp" in refusal([*words, "--mesh", str(tmp_path / "m.obj")], capsys)
    (tmp_path / "file").touch()
    assert "is a file, not a folder" in refusal([*words, "--mesh", str(tmp_path / "file" / "m.stl")], capsys)


def test_a_plan_is_refused_before_the_spine_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    words = ["implants", "plan", str(tmp_path / "none.nii.gz"), str(tmp_path / "file" / "plan.json")]
    assert "is a file, not a folder" in refusal(words, capsys)


@pytest.mark.parametrize("words", [["implants", "place", "{ct}", "{bad}", "{out}"]])
def test_a_folder_or_an_image_is_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    volume = stored(tmp_path / "ct.nii.gz", ct())
    out = tmp_path / "out.nii.gz"
    for bad, sentence in ((tmp_path, "is a folder"), (volume, "is not JSON: it holds no text.")):
        told = refusal([word.format(ct=volume, bad=bad, out=out) for word in words], capsys)
        assert sentence in told
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files stands for the full disk")
@pytest.mark.parametrize("suffix", [".stl", ".vtp"])
def test_a_mesh_on_a_full_disk_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str) -> None:
    import resource

    pytest.importorskip("vtkmodules")
    random = np.random.default_rng(0)
    mesh = Mesh(random.normal(0, 9, (3000, 3)), random.integers(0, 3000, (9000, 3)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*m\.(stl|vtp): .*MiB free\)\."):
            write_mesh([mesh], tmp_path / f"m{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_failed_file_of_a_folder_is_named_where_the_user_wants_it(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError) as told,
        atomic_folder(tmp_path / "out") as folder,
        atomic(folder / "acquisition.npz"),
    ):
        raise OSError(28, "No space left on device")
    assert str(told.value).startswith(f"Cannot write {tmp_path / 'out' / 'acquisition.npz'}: no space left on device")


def test_an_interrupt_while_the_commands_load_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "build_parser", interrupted)
    assert main(["environment"]) == 130
    assert capsys.readouterr().err == "ctrestoration: Cancelled; nothing half-written was left.\n"


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
def test_vertebrae_without_levels_are_never_planned_as_cervical_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    volume, spine, plan = (str(tmp_path / name) for name in ("ct.nii.gz", f"spine{suffix}", "plan.json"))
    size = ["--size", "40", "128", "128", "--spacing", "2.5", "2.5", "3"]
    assert main(["phantom", "spine", volume, *size, "--seed", "7"]) == 0
    assert main(["segment", "spine", volume, spine, "--method", "fallback"]) == 0
    capsys.readouterr()
    told = refusal(["implants", "plan", volume, "--spine", spine, plan], capsys)
    assert "does not say which levels they are" in told
    assert "--name 2=L3" in told
    assert not Path(plan).exists()
    named = str(tmp_path / f"named{suffix}")
    assert main(["segment", "spine", volume, named, "--method", "fallback", "--name", "2=L3"]) == 0
    assert main(["implants", "plan", volume, "--spine", named, plan, "--no-rods"]) == 0
    assert {screw["level"] for screw in json.loads(Path(plan).read_text())["screws"]} <= {"L2", "L3", "L4"}
