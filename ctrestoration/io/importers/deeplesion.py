"""DeepLesion: `Images_png/000001_01_01/103.png`, 16-bit, HU = value - 32768; geometry and lesions in `DL_info.csv`."""

from __future__ import annotations

import re
import struct
from functools import partial
from pathlib import Path

import numpy as np

from ctrestoration.errors import InputError
from ctrestoration.io.importers import Case, Draft, Imported, Survey, checked_folder
from ctrestoration.io.importers.deeplesion_info import LESION_NAMES, Series, read_info
from ctrestoration.volume import AIR_HU, Grid, LabelMap, Volume

NAME = "deeplesion"
TITLE = "NIH DeepLesion"
SOURCE = "Yan et al., J. Med. Imaging 5 (2018) 036501; terms of the NIH Clinical Center."

HU_SHIFT = 32768
_SERIES = re.compile(r"^(\d{6})_(\d{2})_(\d{2})$")


def survey(folder: Path) -> Survey:
    """See `Importer.survey`. A series whose slice numbers have gaps becomes one case for each run without a gap."""
    folder = checked_folder(folder)
    draft = Draft()
    facts = read_info(folder)
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
            draft.cases.append(_case(series, run, facts[series.name]))
    notes = (
        "Only some 30 mm on both sides of each key slice were published.",
        "Positions in the patient are not known: slice n lies at z = -n times the interval, slices run head to feet.",
        "Labels are the boxes of lesions, filled, on key slices alone: for detection, no segmentation; lesions marked "
        "as possibly noisy have none, and other slices may show lesions that nobody marked.",
        "Only the official validation and test lesions have a type.",
    )
    return draft.finish(NAME, folder, "Images_png/<patient>_<study>_<series>/<slice>.png and DL_info.csv", notes)


def _case(series: Path, run: list[int], info: Series) -> Case:
    found = [lesion for lesion in info.lesions if lesion.slice in run]
    noisy = sum(lesion.noisy for lesion in found)
    notes: tuple[str, ...] = (f"{noisy} of {len(found)} lesions possibly noisy, without label.",) if noisy else ()
    if not found:
        notes = ("no lesion listed on its slices.",)
    patient = f"deeplesion-{series.name.split('_')[0]}"
    load = partial(_load, series, run, info)
    return Case(f"{series.name}-{run[0]:03d}", patient, load, notes, split=info.split)


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


def _load(series: Path, numbers: list[int], info: Series) -> Imported:
    from ctrestoration.io._itk import simpleitk

    sitk = simpleitk()
    slices = []
    # Numbers run from head to feet, z from feet to head.
    upwards = numbers[::-1]
    for number in upwards:
        path = series / f"{number:03d}.png"
        try:
            stored = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError as error:
            raise InputError(f"{path} is a damaged PNG: download its archive again.") from error
        slices.append(np.maximum(stored.astype(np.float32) - HU_SHIFT, AIR_HU))
    if len({one.shape for one in slices}) > 1:
        raise InputError(f"{series} holds slices of different sizes.")
    z = info.spacing[2]
    grid = Grid.from_parts((len(slices), *slices[0].shape), info.spacing, (0.0, 0.0, -z * upwards[0]))
    lesions = [
        {**lesion.to_json(), "z_index": upwards.index(lesion.slice)}
        for lesion in info.lesions
        if lesion.slice in numbers
    ]
    facts = {"split": info.split, "lesions": lesions}
    volume = Volume(np.stack(slices), grid, f"{series.name} {numbers[0]}", {"source": "DeepLesion"})
    return Imported(volume, _boxes(series.name, upwards, info, grid), facts=facts)


def _boxes(series: str, upwards: list[int], info: Series, grid: Grid) -> LabelMap | None:
    """Boxes of the lesions that are sure, filled on their key slices, small ones over large ones; None without any."""
    array = np.zeros(grid.shape, dtype=np.uint16)
    sure = [lesion for lesion in info.lesions if lesion.slice in upwards and not lesion.noisy]
    for lesion in sorted(sure, key=lambda lesion: -lesion.area):
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in lesion.box)
        inside = array[upwards.index(lesion.slice), y0 : y1 + 1, x0 : x1 + 1]
        if not inside.size:
            raise InputError(f"DL_info.csv: the box {lesion.box} of {series}, slice {lesion.slice}, is off the image.")
        inside[:] = lesion.label
    names = {label: LESION_NAMES[label] for label in sorted({lesion.label for lesion in sure})}
    return LabelMap(array, grid, names, f"{series} lesion boxes") if sure else None
