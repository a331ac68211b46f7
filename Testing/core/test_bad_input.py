"""What a stranger gets wrong: one sentence that says what would be right, exit code 2, nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from core.dicom_files import stored_ct, write_series

from ctrestoration.cli.main import main

Make = Callable[[Path], Path]


def ct(shape: tuple[int, ...] = (4, 24, 24)) -> np.ndarray:
    """HU of a noisy disk in air; [z, y, x]."""
    random = np.random.default_rng(0)
    y, x = np.indices(shape[-2:])
    array = np.where(np.hypot(y - 11.5, x - 11.5) < 9, 40.0, -1000.0) + random.normal(0, 10, shape)
    return np.maximum(array, -1024).astype(np.float32)


def stored(path: Path, array: np.ndarray, *, colors: bool = False) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=colors), str(path))
    return path


def text(path: Path) -> Path:
    path.write_text("not an image")
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def folder_of_text(path: Path) -> Path:
    return text(folder(path) / "a.txt").parent


def frames(path: Path) -> Path:
    return stored(path, np.stack([ct()] * 3))


def with_nan(path: Path) -> Path:
    array = ct()
    array[2, 5, 7:9] = np.nan
    return stored(path, array)


def wrapped(path: Path) -> Path:
    """Signed CT numbers stored as unsigned ones: air becomes 64536."""
    return stored(path, np.rint(ct()).astype(np.int16).view(np.uint16))


def truncated(path: Path) -> Path:
    stored(path, ct())
    path.write_bytes(path.read_bytes()[:2000])
    return path


def magnetic(path: Path) -> Path:
    write_series(path, stored_ct(), Modality="MR", SeriesDescription="T2")
    return path


BAD_VOLUMES: dict[str, tuple[str, Make, str]] = {
    "missing": ("ct.nrrd", lambda path: path, "does not exist: check the path"),
    "no image": ("ct.txt", text, "is not a medical image that can be read: give a DICOM folder or a file ending in"),
    "no image inside": ("ct.nii.gz", text, "is not a medical image that can be read"),
    "nothing inside": ("ct.nrrd", lambda path: path.touch() or path, "is empty (0 bytes)"),
    "empty folder": ("dicom", folder, "is an empty folder: give a folder that holds the DICOM files of a CT"),
    "folder of text": ("dicom", folder_of_text, "holds no DICOM images among its 1 file"),
    "magnetic resonance": ("dicom", magnetic, "holds no CT: it has series 3 'T2' (6 images, MR)"),
    "truncated": ("ct.nii", truncated, "is damaged or cut off"),
    "NaN": ("ct.nrrd", with_nan, "has 2 voxels that are NaN or infinite, the first at index (7, 5, 2) (i, j, k)"),
    "2D": ("ct.nrrd", lambda path: stored(path, ct()[0]), "is a 2D image (24x24): give a CT volume"),
    "photograph": (
        "ct.png",
        lambda path: stored(path, np.zeros((8, 8, 3), np.uint8), colors=True),
        "is a 2D image (8x8)",
    ),
    "4D": ("ct.nii.gz", frames, "holds 3 volumes (4D): choose one with --frame 0 to --frame 2"),
    "color": (
        "ct.nrrd",
        lambda path: stored(path, np.zeros((3, 8, 8, 3), np.uint8), colors=True),
        "is a color image (3 values per voxel): give a CT in HU",
    ),
    "int8": ("ct.nrrd", lambda path: stored(path, (ct() / 10).astype(np.int8)), "stores 8-bit values (int8)"),
    "uint8": ("ct.nrrd", lambda path: stored(path, np.zeros((4, 8, 8), np.uint8)), "stores 8-bit values (uint8)"),
    "uint16": (
        "ct.nrrd",
        lambda path: stored(path, np.rint(ct() + 1100).astype(np.uint16)),
        "air should lie near -1000; if 0 means air, add --hu-offset -1024",
    ),
    "uint16 of int16": ("ct.nrrd", wrapped, "as signed CT numbers do when stored as unsigned"),
    "positive": (
        "ct.nrrd",
        lambda path: stored(path, (ct() + 1024).clip(0, 4095)),
        "does not hold HU: its values run from",
    ),
    "window": (
        "ct.nrrd",
        lambda path: stored(path, ct().clip(-160, 240)),
        "cut off at the bottom as by a display window",
    ),
    "gray levels": ("ct.nrrd", lambda path: stored(path, (ct() + 1100) / 10), "as in an 8-bit or windowed image"),
    "normalized": ("ct.nrrd", lambda path: stored(path, ct() / 1000), "as in a mask or a normalized image"),
}


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail; returns its one sentence."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("ctrestoration: ")
    assert last.endswith((".", "?"))
    assert "Traceback" not in err
    return last


@pytest.mark.parametrize("command", ["segment", "spine", "simulate", "demo", "correct", "evaluate"])
@pytest.mark.parametrize(("name", "make", "sentence"), BAD_VOLUMES.values(), ids=BAD_VOLUMES.keys())
def test_a_bad_volume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, make: Make, sentence: str
) -> None:
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in" / name)
    out = tmp_path / "out" / "result.nii.gz"
    words = {
        "segment": ["segment", "metal", str(path), str(out)],
        "spine": ["segment", "spine", str(path), str(out)],
        "correct": ["correct", str(path), str(out), "--method", "li"],
        "simulate": ["simulate", "metal", str(path), "--mask", str(path), "--out", str(out)],
        "demo": ["demo", "--ct", str(path), "--out", str(out)],
        "evaluate": ["evaluate", str(path), "--reference", str(path)],
    }[command]
    told = refusal(words, capsys)
    assert sentence in told
    assert str(path) in told
    assert not out.parent.exists()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return stored(tmp_path / "ct.nii.gz", ct())


def commands(good: Path, out: Path) -> dict[str, list[str]]:
    return {
        "segment": ["segment", "metal", str(good), str(out)],
        "spine": ["segment", "spine", str(good), str(out)],
        "correct": ["correct", str(good), str(out), "--method", "li"],
    }


@pytest.mark.parametrize("command", ["segment", "spine", "correct"])
@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("file/mask.nrrd", "is a file, not a folder"),
        ("folder.nrrd", "is a folder; the output must be a file name inside it"),
        ("mask.jpg", "must end in .nrrd, .nii.gz, .nii, .mha"),
        ("mask", "must end in .nrrd, .nii.gz, .nii, .mha"),
        ("ct.nii.gz", "is also an input: choose another name, inputs are never overwritten"),
    ],
)
def test_a_bad_output(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, output: str, sentence: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.nrrd").mkdir()
    before = good.read_bytes()
    assert sentence in refusal(commands(good, tmp_path / output)[command], capsys)
    assert good.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.nii.gz", "file", "folder.nrrd"]


@pytest.mark.parametrize("command", ["segment", "spine", "correct"])
def test_a_read_only_folder(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser, who runs some tests, may write all
    told = refusal(commands(good, tmp_path / "new" / "mask.nrrd")[command], capsys)
    assert f"the folder {tmp_path} is read-only" in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--threshold", "99999"], "The metal threshold must lie between -1000 and 32767 HU"),
        (["--min-volume", "-1"], "must be 0 mm3 or more"),
        (["--series", "4"], "is no DICOM folder, so there is no series '4'"),
        (["--frame", "1"], "has no frame 1: choose one from 0 to 0"),
    ],
)
def test_a_bad_setting(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert sentence in refusal([*commands(good, tmp_path / "mask.nrrd")["segment"], *words], capsys)
    assert not (tmp_path / "mask.nrrd").exists()


@pytest.mark.parametrize("words", [["segment", "metal"], ["segment"], [], ["nothing"], ["correct", "a", "b"]])
def test_missing_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("ctrestoration")
    assert "--help" in err
    assert err.count("\n") == 1


def test_what_the_sentence_says_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shifted = stored(tmp_path / "shifted.nrrd", np.rint(ct() + 1024).clip(0, 4095).astype(np.uint16))
    assert main(["segment", "metal", str(shifted), str(tmp_path / "mask.nrrd"), "--hu-offset", "-1024"]) == 0
    several = frames(tmp_path / "frames.nii.gz")
    assert main(["segment", "metal", str(several), str(tmp_path / "mask.nrrd"), "--frame", "2"]) == 0
    assert "none found; the mask is empty" in capsys.readouterr().out


def test_an_empty_mask_is_nothing_to_correct(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = stored(tmp_path / "mask.nrrd", np.zeros((4, 24, 24), np.uint8))
    out = tmp_path / "out.nrrd"
    words = ["correct", str(good), str(out), "--method", "nmar"]
    assert main([*words, "--metal", str(mask)]) == 0
    assert f"the metal mask {mask} is empty: nothing to correct" in capsys.readouterr().out
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out))), ct())
    assert main(words) == 0
    assert "no metal found, nothing to correct; threshold 2500 HU" in capsys.readouterr().out
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(out))), ct())


@pytest.mark.parametrize("command", ["correct", "evaluate"])
def test_a_mask_on_another_grid(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    mask = stored(tmp_path / "mask.nrrd", np.zeros((4, 24, 20), np.uint8))
    words = {
        "correct": ["correct", str(good), str(tmp_path / "out.nrrd"), "--method", "li"],
        "evaluate": ["evaluate", str(good), "--reference", str(good)],
    }[command]
    told = refusal([*words, "--metal", str(mask)], capsys)
    assert f"{mask} lies on another grid than the CT: 20x24x4 voxels (x, y, z), the CT has 24x24x4" in told
    assert not (tmp_path / "out.nrrd").exists()


def test_a_metal_mask_that_is_none(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["correct", str(good), str(tmp_path / "out.nrrd"), "--method", "li", "--metal"]
    assert "is no metal mask: it holds negative values" in refusal([*words, str(good)], capsys)
    assert "does not exist: check the path of the mask" in refusal([*words, str(tmp_path / "no.nrrd")], capsys)


def test_two_outputs_of_one_name(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out.nrrd")
    words = ["correct", str(good), out, "--method", "li", "--synthesized", out]
    assert "is asked for twice" in refusal(words, capsys)


def test_an_unknown_method_lists_the_known(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(["correct", str(good), str(tmp_path / "out.nrrd"), "--method", "nmra"], capsys)
    assert "Unknown method 'nmra': known ones are" in told
    assert "li, nmar" in told
    assert "Did you mean 'nmar'?" in told


def simulate(good: Path, mask: np.ndarray, tmp_path: Path, *more: str) -> list[str]:
    words = ["simulate", "metal", str(good), "--mask", str(stored(tmp_path / "mask.nrrd", mask))]
    return [*words, "--out", str(tmp_path / "out"), *more]


def metal(shape: tuple[int, int, int] = (4, 24, 24)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[1, 10:12, 10:12] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "more", "sentence"),
    [
        (metal() * 0, [], "puts no metal into"),
        (metal((4, 24, 20)), [], "lies on another grid than the CT: 20x24x4 voxels (x, y, z), the CT has 24x24x4"),
        (metal(), ["--material", "unobtainium"], "titanium"),
        (metal(), ["--preset", "siemens"], "known ones are syndeeplesion-640"),
        (metal(), ["--spectrum", "121"], "121"),
        (metal(), ["--photons", "-5"], "-5"),
    ],
)
def test_a_bad_simulation(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mask: np.ndarray, more: list[str], sentence: str
) -> None:
    assert sentence in refusal(simulate(good, mask, tmp_path, *more), capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["simulate", "demo"])
@pytest.mark.parametrize("seed", ["-1", "1.5", "x"])
def test_a_bad_seed(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, seed: str) -> None:
    words = {"simulate": simulate(good, metal(), tmp_path), "demo": ["demo", "--out", str(tmp_path / "out")]}[command]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--seed", seed])
    assert stop.value.code == 2
    assert f"a seed is a whole number from 0 on, not '{seed}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "demo"])
def test_a_file_in_the_place_of_the_output_folder(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "out").touch()
    words = {
        "simulate": simulate(good, metal(), tmp_path),
        "demo": ["demo", "--ct", str(good), "--out", str(tmp_path / "out")],
    }[command]
    assert f"{tmp_path / 'out'} is a file" in refusal(words, capsys)


def test_a_demo_without_a_spine(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(["demo", "--ct", str(good), "--out", str(tmp_path / "out")], capsys)
    assert "no spin" in told
    assert not (tmp_path / "out").exists()


def test_a_demo_on_an_unknown_scanner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(["demo", "--preset", "siemens", "--out", str(tmp_path / "out")], capsys)
    assert "Unknown scanner preset 'siemens': known ones are" in told


def test_images_on_different_grids_are_not_compared(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = stored(tmp_path / "other.nrrd", ct((5, 24, 24)))
    told = refusal(["evaluate", str(good), "--reference", str(other)], capsys)
    assert "lie on different grids: size 24x24x5 against 24x24x4 voxels" in told


def test_one_slice_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = ct((1, 24, 24))
    array[0, 10:14, 10:14] = 5000
    path = stored(tmp_path / "ct.nrrd", array)
    assert main(["segment", "metal", str(path), str(tmp_path / "mask.seg.nrrd")]) == 0
    assert "metal: 1 piece, 16.0 mm3" in capsys.readouterr().out
