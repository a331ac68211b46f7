"""Labeled low-dose slices: what a sample holds, who is in which split, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")

from ctrestoration.errors import InputError
from ctrestoration.evaluate.circle import circle_mask
from ctrestoration.io.images import write_labels, write_volume
from ctrestoration.training.data.lowdose_cases import OUTSIDE_HU, labeled_volume, scan_slice, split_of
from ctrestoration.training.data.resampling import labels_on
from ctrestoration.training.keys import Key
from ctrestoration.training.sources.lowdose import Config, LowDose
from ctrestoration.volume import Grid, LabelMap, Volume

SMALL = {"name": "lowdose", "phantoms": 1, "size": 32, "pixel_mm": 10.0, "views": 50, "fine_pixels": 32, "count": 3}


def source(**changes: Any) -> LowDose:
    return Config.model_validate({**SMALL, **changes}).create()


def labeled_ct(name: str = "ct") -> tuple[Volume, LabelMap]:
    """A water cylinder with a liver and a lesion in one slice of three, voxels of 4x4x5 mm."""
    grid = Grid.from_parts((3, 40, 50), (4.0, 4.0, 5.0), (-100.0, -80.0, 0.0))
    y, x = np.mgrid[:40, :50]
    array = np.where((y - 20) ** 2 + (x - 25) ** 2 < 17**2, 0.0, -1000.0)
    labels = np.zeros(grid.shape, dtype=np.uint16)
    labels[1, 15:25, 18:30] = 5
    labels[1, 18:20, 20:24] = 7
    return Volume(np.stack([array] * 3).astype(np.float32), grid, name), LabelMap(labels, grid)


def test_a_sample_is_a_function_of_its_key() -> None:
    first, again = source(), source()
    key = Key(1, "main", 0, 2)
    sample, repeated = first.sample(key), again.sample(key)
    assert set(sample) == {"input", "target", "labels"}
    for name, array in sample.items():
        assert array.shape == (1, 32, 32)
        assert array.dtype == np.float32
        assert array.tobytes() == repeated[name].tobytes()
    other = first.sample(Key(1, "main", 1, 2))
    assert not np.array_equal(sample["input"], other["input"])


def test_neighbors_have_noise_of_their_own_and_the_middle_stays_as_it_is() -> None:
    single, several = source(), source(slices=5)
    key = Key(1, "validation", 0, 2)
    alone, sample = single.sample(key), several.sample(key)
    assert all(np.array_equal(alone[name], sample[name]) for name in alone)
    assert set(sample) - set(alone) == {"around", "around_target"}
    assert sample["around"].shape == sample["around_target"].shape == (4, 32, 32)
    inside = circle_mask((32, 32))
    noise = [sample["input"][0] - sample["target"][0], *(sample["around"] - sample["around_target"])]
    correlation = np.corrcoef([one[inside] for one in noise])
    assert np.abs(correlation - np.eye(5)).max() < 0.3, "slices are scanned one by one"
    patient = several.patient(0)
    z = next(z for z in patient.slices if np.allclose(sample["target"][0][inside], scanned(patient, z)[inside]))
    for place, full in zip((z - 2, z - 1, z + 1, z + 2), sample["around_target"], strict=True):
        assert np.array_equal(full, scanned(patient, place))
    assert several.fingerprint() != single.fingerprint()


def scanned(patient: Any, z: int) -> Any:
    scanner = {"preset": "true-scale", "photons": 4096.0, "views": 50, "fine_pixels": 32}
    return scan_slice(patient, z, 0, scanner)["target"]


def test_the_last_slice_is_its_own_neighbor_noise_included() -> None:
    volume, labels = labeled_ct()
    one = source(slices=3)
    one._made[0] = labeled_volume("one", volume, labels, 32, 10.0, {"liver": (5, 7)})
    pair = scan_slice(one._made[0], 2, 7, one.settings.scanner())
    around = one._around(one._made[0], 2, 7, pair, one.settings.scanner())
    assert np.array_equal(around["around"][1], pair["input"])
    assert not np.array_equal(around["around"][0], pair["input"])


def test_content_lies_in_the_circle_and_noise_is_not_clipped() -> None:
    sample = {name: array[0] for name, array in source(photons=200.0).sample(Key(0, "validation", 0, 0)).items()}
    outside = ~circle_mask((32, 32))
    assert (sample["input"][outside] == OUTSIDE_HU).all()
    assert (sample["target"][outside] == OUTSIDE_HU).all()
    assert (sample["labels"][outside] == 0).all()
    assert 1 in sample["labels"]
    assert sample["input"].min() < OUTSIDE_HU - 20
    assert sample["target"].min() >= OUTSIDE_HU - 0.01


def test_noise_grows_with_the_dose_taken_away() -> None:
    patient = source().patient(0)
    errors = []
    for photons in (1e6, 1e3):
        scanner = {"preset": "true-scale", "photons": photons, "views": 50, "fine_pixels": 32}
        pair = scan_slice(patient, patient.slices[0], 0, scanner)
        errors.append(np.std(pair["input"] - pair["target"]))
    assert errors[1] > 1.5 * errors[0]


def test_doses_are_drawn_from_a_range_and_one_dose_stays_as_it_was() -> None:
    key = Key(1, "main", 0, 2)
    one, ranged = source(photons=300.0), source(photons=300.0, photons_to=3e6)
    assert one.fingerprint() != ranged.fingerprint()
    noise = [ranged.sample(Key(1, "main", epoch, 2)) for epoch in range(6)]
    spreads = [float((sample["input"] - sample["target"]).std()) for sample in noise]
    assert max(spreads) > 3 * min(spreads)
    assert max(spreads) <= 1.2 * float((one.sample(key)["input"] - one.sample(key)["target"]).std())
    same = source(photons=300.0, photons_to=300.0)
    assert np.array_equal(same.sample(key)["input"], one.sample(key)["input"])


def test_a_ct_without_segmentation_serves_what_has_no_task(tmp_path: Path) -> None:
    write_volume(labeled_ct()[0], tmp_path / "ct.nii.gz")
    files = [{"ct": str(tmp_path / "ct.nii.gz")}]
    found = source(phantoms=0, volumes=files, split="all", classes={"body": (1,)})
    sample = found.sample(Key(0, "main", 0, 0))
    assert np.array_equal(sample["labels"] > 0, sample["target"] > -300)
    assert sample["labels"].any()
    with pytest.raises(InputError, match="knows no liver: give its labels"):
        source(phantoms=0, volumes=files, split="all")


def test_no_patient_is_in_two_splits(tmp_path: Path) -> None:
    volume, labels = labeled_ct()
    files = []
    for number in range(12):
        ct, seg = tmp_path / f"p{number}.nii.gz", tmp_path / f"p{number}-labels.nii.gz"
        write_volume(volume, ct)
        write_labels(labels, seg)
        files.append({"ct": ct, "labels": seg})
    names = [set(source(phantoms=3, volumes=files, split=split).names()) for split in ("train", "validation", "test")]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    assert len(set.union(*names)) == 9 + 12
    assert len(source(phantoms=0, volumes=files, split="all").names()) == 12


def test_one_person_in_two_data_sets_is_on_one_side() -> None:
    shares = (0.5, 0.25, 0.25)
    splits = [split_of(f"lits-{number}", 3, shares) for number in range(400)]
    assert splits == [split_of(f"lits-{number}", 3, shares) for number in range(400)]
    assert 150 < splits.count("train") < 250
    assert 60 < splits.count("test") < 140


def test_labels_follow_their_ct_to_the_square_grid() -> None:
    volume, labels = labeled_ct()
    made = labeled_volume("one", volume, labels, 64, 2.5, {"liver": (5, 7), "lesion": (7,)})
    assert made.slices == [1]
    pixels = 2.5**2
    assert (made.labels == 2).sum() * pixels == pytest.approx(2 * 4 * 16, rel=0.25)
    assert (made.labels > 0).sum() * pixels == pytest.approx(10 * 12 * 16, rel=0.1)
    turned = LabelMap(labels.array[:, ::-1], labels.grid.__class__(labels.grid.shape, _flipped(labels.grid)))
    again = labeled_volume("one", volume, turned, 64, 2.5, {"liver": (5, 7), "lesion": (7,)})
    assert (again.labels != made.labels).mean() < 0.002


def test_labels_of_the_first_slice_survive_rounding() -> None:
    # Not all voxel sizes divide without a rest: coordinates of the first slice come out as -1e-15.
    affine = Grid.from_parts((2, 3, 3), (0.7, 0.7, 0.3), (12.1, -7.3, 0.1)).affine.copy()
    affine[:3, :3] = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0] * [0.7, 0.7, 0.3]
    grid = Grid((2, 3, 3), affine)
    labels = LabelMap(np.ones(grid.shape, dtype=np.uint16), grid)
    assert (labels_on(labels, grid) == 1).all()


def _flipped(grid: Grid) -> np.ndarray[Any, Any]:
    """The affine of the same voxels with rows counted from the other side."""
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (grid.shape[1] - 1)
    affine[:3, 1] *= -1
    return affine


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phantoms": 0}, "Nobody is in the split"),
        ({"views": 7}, "must divide 1000"),
        ({"photons": 1e5, "photons_to": 1e4}, "from 100000 upwards: the upper end 10000"),
        ({"dataset": {"name": "lits", "folder": "/nowhere"}}, "no folder"),
        ({"dataset": {"name": "lots", "folder": "/nowhere"}}, "Did you mean 'lits'"),
        ({"volumes": [{"ct": "/nowhere.nii", "labels": "/nowhere.nii"}]}, "There is no file"),
    ],
)
def test_what_cannot_work_is_refused_when_made(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        source(**changes)


def test_labels_that_are_not_there_are_named() -> None:
    volume, labels = labeled_ct()
    with pytest.raises(InputError, match=r"none of the labels \[1, 2\]"):
        labeled_volume("one", volume, labels, 64, 2.5, {"liver": (1,), "lesion": (2,)})
    with pytest.raises(InputError, match="no 'livre'"):
        source(classes={"livre": (1,)}).patient(0)
