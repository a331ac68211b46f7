"""DeepLesion: `Images_png/000001_01_01/103.png`, 16-bit, HU = value - 32768; geometry in `DL_info.csv`."""

from __future__ import annotations

import csv
import re
import struct
from functools import partial
from pathlib import Path

import numpy as np

from ctrestoration.errors import InputError
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.volume import AIR_HU, Grid, Volume

NAME = "deeplesion"
TITLE = "NIH DeepLesion"
SOURCE = "Yan et al., J. Med. Imaging 5 (2018) 036501; terms of the NIH Clinical Center."

HU_SHIFT = 32768
_SERIES = re.compile(r"^(\d{6})_(\d{2})_(\d{2})$")


def survey(folder: Path) -> Survey:
    """See `Importer.survey`. A series whose slice numbers have gaps becomes one case for each run without a gap."""
    folder = checked_folder(folder)
    draft = Draft()
    facts = _facts(folder)
    for series in sorted(path for path in folder.rglob("*") if path.is_dir() and _SERIES.match(path.name)):
        if series.name not in facts:
            draft.skip(series, "is not in DL_info.csv, which has its pixel size")
            continue
        numbers = []
        for path in sorted(series.glob("*.png")):
            if not path.stem.isdigit() or not _is_gray16(path):
                draft.skip(path, "is no 16-bit gray PNG (a broken download?)")
                continue
            numbers.append(int(path.stem))
        for run in _runs(sorted(numbers)):
            name = f"{series.name}-{run[0]:03d}"
            patient = f"deeplesion-{series.name.split('_')[0]}"
            draft.cases.append(Case(name, patient, partial(_load, series, run, facts[series.name])))
    notes = (
        "Only some 30 mm on both sides of each key slice were published.",
        "Positions are not known: the origin of every case is 0, its axes are taken as LPS.",
    )
    return draft.finish(NAME, folder, "Images_png/<patient>_<study>_<series>/<slice>.png and DL_info.csv", notes)


def _facts(folder: Path) -> dict[str, tuple[float, float, float]]:
    """Series -> spacing (x, y, z) in mm."""
    path = next(iter(sorted(folder.rglob("DL_info.csv"))), None)
    if path is None:
        raise InputError(f"{folder} holds no DL_info.csv: it has the pixel size of every series.")
    found = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            series = row["File_name"].rsplit("_", 1)[0]
            x, y, z = (float(part) for part in row["Spacing_mm_px_"].split(","))
            found[series] = (x, y, z)
    return found


def _is_gray16(path: Path) -> bool:
    """From the PNG header alone: signature, then bit depth 16 and color type 0 in the IHDR chunk, then its end."""
    with path.open("rb") as stream:
        head = stream.read(33)
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(max(0, size - 12))
        end = stream.read()
    if len(head) < 33 or head[:8] != b"\x89PNG\r\n\x1a\n" or b"IEND" not in end:
        return False
    _, _, depth, color = struct.unpack(">IIBB", head[16:26])
    return bool(depth == 16 and color == 0)


def _runs(numbers: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _load(series: Path, numbers: list[int], spacing: tuple[float, float, float]) -> Imported:
    from ctrestoration.io._itk import simpleitk

    sitk = simpleitk()
    slices = []
    for number in numbers:
        path = series / f"{number:03d}.png"
        try:
            stored = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError as error:
            raise InputError(f"{path} is a damaged PNG: download its archive again.") from error
        slices.append(np.maximum(stored.astype(np.float32) - HU_SHIFT, AIR_HU))
    if len({one.shape for one in slices}) > 1:
        raise InputError(f"{series} holds slices of different sizes.")
    grid = Grid.from_parts((len(slices), *slices[0].shape), (spacing[0], spacing[1], abs(spacing[2])))
    return Imported(Volume(np.stack(slices), grid, f"{series.name} {numbers[0]}", {"source": "DeepLesion"}))
