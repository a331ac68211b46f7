"""Whose scan it is: one split for each patient, none in training and validation, classes by name, sides mirrored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
pytest.importorskip("h5py", reason="training pairs are HDF5 files")
pytest.importorskip("torch", reason="training needs PyTorch")

from ctrestoration.cli.main import main
from ctrestoration.errors import CTRestorationWarning, InputError
from ctrestoration.io.images import write_labels, write_volume
from ctrestoration.io.pairs import SPLITS, PairReader, read_manifest, verify_pairs, write_manifest, write_shard
from ctrestoration.studies.task_adaptive import SCALES, build_settings
from ctrestoration.training.data.lowdose_cases import split_of
from ctrestoration.training.data.lowdose_classes import means, numbers_of, other_sides
from ctrestoration.training.data.lowdose_dataset import LowDoseBuild
from ctrestoration.training.data.patients import Person, file_patients, shared_people
from ctrestoration.training.keys import Key
from ctrestoration.training.runfile import DataConfig
from ctrestoration.training.sources import lowdose, pairs, scans
from ctrestoration.volume import Grid, LabelMap, Volume

SMALL = {"size": 32, "pixel_mm": 10.0, "views": 50, "fine_pixels": 32, "bins": 40}
SHARES = (0.7, 0.15, 0.15)
MIXING = 7
"""A split_seed that puts some of lits-0 to lits-11 into validation that 0 puts into train."""


def scan(number: int = 0) -> tuple[Volume, LabelMap]:
    """A body with an organ of number 1 and a lesion of number 2, brighter by the patient's number."""
    grid = Grid.from_parts((3, 24, 30), (11.0, 11.0, 5.0), (50.0, -80.0, 700.0))
    y, x = np.mgrid[:24, :30]
    hu = np.where(((y - 12) / 10) ** 2 + ((x - 15) / 13) ** 2 < 1, 40.0 + number, -1000.0)
    labels = np.zeros(grid.shape, dtype=np.uint16)
    labels[1, 8:16, 6:16] = 1
    labels[1, 10:13, 9:12] = 2
    return Volume(np.stack([hu] * 3).astype(np.float32), grid), LabelMap(labels, grid)


def write_lits(folder: Path, numbers: list[int]) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        volume, labels = scan(number)
        write_volume(volume, folder / f"volume-{number}.nii")
        write_labels(labels, folder / f"segmentation-{number}.nii")


def write_msd(folder: Path, numbers: list[int], name: str = "LIVER", organ: str = "liver") -> None:
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    stem = name.lower()
    for number in numbers:
        volume, labels = scan(number)
        write_volume(volume, folder / "imagesTr" / f"{stem}_{number}.nii.gz")
        write_labels(labels, folder / "labelsTr" / f"{stem}_{number}.nii.gz")
    files = [{"image": f"./imagesTr/{stem}_{n}.nii.gz", "label": f"./labelsTr/{stem}_{n}.nii.gz"} for n in numbers]
    facts = {"name": name, "modality": {"0": "CT"}, "labels": {"0": "background", "1": organ, "2": "cancer"}}
    (folder / "dataset.json").write_text(json.dumps({**facts, "training": files}))


def files_in(folder: Path, name: str = "ct.nii.gz") -> Path:
    """A scan of that name in a folder, each with another content."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, labels = scan(sum(map(ord, folder.name)))
    write_volume(volume, folder / name)
    write_labels(labels, folder / "labels.nii.gz")
    return folder / name


def source(**changes: Any) -> lowdose.LowDose:
    return lowdose.Config.model_validate({"name": "lowdose", "phantoms": 0, **SMALL, **changes}).create()


# Patients of files.


def test_imported_cases_keep_their_patients_through_the_split(tmp_path: Path) -> None:
    """Every case is called ct.nrrd: by its name alone, all would be in one split."""
    wanted = {split: [n for n in range(20) if split_of(f"lits-{n}", 0, SHARES) == split][:2] for split in SPLITS}
    numbers = sorted(number for some in wanted.values() for number in some)
    write_lits(tmp_path / "lits", numbers)
    assert main(["dataset", "import", "lits", str(tmp_path / "lits"), "--out", str(tmp_path / "cases")]) == 0
    folders = sorted(path for path in (tmp_path / "cases").iterdir() if path.is_dir())
    about = json.loads((folders[0] / "case.json").read_text())
    assert about["patient"] == f"lits-{numbers[0]}"
    assert "ct.nrrd" in about["files"]
    words = ["dataset", "build", str(tmp_path / "pairs"), "--task", "lowdose", "--phantoms", "0", "--cases", "1",
             "--slices", "1", "--size", "32", "--pixel", "10", "--views", "50", "--bins", "40", "--fine-pixels", "32",
             "--volumes", *(str(folder / "ct.nrrd") for folder in folders),
             "--labels", *(str(folder / "labels.seg.nrrd") for folder in folders)]  # fmt: skip
    assert main(words) == 0
    manifest = read_manifest(tmp_path / "pairs")
    for split, some in wanted.items():
        assert manifest["splits"][split]["patients"] == sorted(f"lits-{number}" for number in some)
    files = [{"ct": folder / "ct.nrrd", "labels": folder / "labels.seg.nrrd"} for folder in folders]
    for split, some in wanted.items():
        assert sorted(source(volumes=files, split=split).names()) == sorted(f"lits-{number}" for number in some)


def test_files_of_one_name_are_told_apart_and_a_unique_name_stays(tmp_path: Path) -> None:
    paths = [
        tmp_path / "a" / "ct.nii.gz", tmp_path / "b" / "ct.nii.gz", tmp_path / "b" / "b" / "ct.nii.gz",
        tmp_path / "p01.extra.nii.gz", tmp_path / "1.2.840.1.nrrd", tmp_path / "1.2.840.2.nrrd",
    ]  # fmt: skip
    names = [person.name for person in file_patients(paths)]
    assert names[0] == "a/ct"
    assert names[3:] == ["p01", "1.2.840.1", "1.2.840.2"], "as before, to the first dot, where that is enough"
    assert len(set(names)) == len(names)
    assert [person.name for person in file_patients([paths[0], paths[0]])] == ["ct", "ct"], "one file, one patient"
    with pytest.raises(InputError, match="patients of one name: rename one"):
        file_patients([tmp_path / "a" / "ct.nii.gz", tmp_path / "a" / "ct.nrrd"])


def test_a_case_file_names_whose_scan_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ct.nrrd"
    for content, name in (
        ('{"patient": "p7"}', "p7"), ('{"patient": "p7", "files": ["other.nrrd"]}', "ct"), ('{"kind": "x"}', "ct"),
    ):  # fmt: skip
        (tmp_path / "case.json").write_text(content)
        assert file_patients([path])[0].name == name
    for content, words in (("{", "cannot be read"), ('{"patient": 7}', "has to be a name in quotes, not 7")):
        (tmp_path / "case.json").write_text(content)
        with pytest.raises(InputError, match=words):
            file_patients([path])


# Training and validation.


def test_lits_and_the_decathlon_share_people_who_are_never_on_both_sides(tmp_path: Path) -> None:
    numbers = list(range(12))
    write_lits(tmp_path / "lits", numbers)
    write_msd(tmp_path / "msd", numbers)
    lits, msd = ({"name": name, "folder": str(tmp_path / name)} for name in ("lits", "msd"))
    small = {"name": "lowdose", "phantoms": 0, **SMALL}
    apart = {"train": {**small, "dataset": lits}, "validation": {**small, "dataset": msd, "split": "validation"}}
    training, validation = DataConfig.model_validate(apart).create()
    names = [{person.name for person in side.people()} for side in (training, validation)]  # type: ignore[union-attr]
    assert names[0]
    assert names[1]
    assert not names[0] & names[1]
    mixed = {**apart, "validation": {**small, "dataset": msd, "split": "validation", "split_seed": MIXING}}
    there = {n for n in numbers if split_of(f"lits-{n}", MIXING, SHARES) == "validation"}
    shared = sorted(f"lits-{n}" for n in there if split_of(f"lits-{n}", 0, SHARES) == "train")
    assert shared
    with pytest.raises(InputError, match=rf"in data\.train and in data\.validation \({', '.join(shared[:5])}"):
        DataConfig.model_validate(mixed).create()


def test_phantoms_and_stored_patients_on_both_sides_are_refused(tmp_path: Path) -> None:
    small = {"name": "lowdose", "phantoms": 2, **SMALL}
    with pytest.raises(InputError, match=r"2 patients are in data\.train and in data\.validation \(phantom-"):
        DataConfig.model_validate({"train": small, "validation": small}).create()
    DataConfig.model_validate({"train": small, "validation": {**small, "split": "validation"}}).create()
    stored = stored_pairs(tmp_path / "pairs", ("liver",), np.zeros((32, 32)))
    data = {"name": "pairs", "folder": str(stored)}
    DataConfig.model_validate({"train": data, "validation": {**data, "split": "validation"}}).create()
    with pytest.raises(InputError, match=r"1 patient is in data\.train and in data\.validation \(p-train\)"):
        DataConfig.model_validate({"train": data, "validation": data}).create()


def test_files_are_the_same_patient_by_place_content_or_name(tmp_path: Path) -> None:
    a, b = files_in(tmp_path / "a"), files_in(tmp_path / "b")
    copy = tmp_path / "c" / "else.nii.gz"
    copy.parent.mkdir()
    copy.write_bytes(a.read_bytes())
    both = file_patients([a, b])
    assert shared_people(file_patients([a]), file_patients([b])) == [], "ct is the name of anybody's file"
    assert shared_people(both, file_patients([a])) == ["a/ct"], "called ct there"
    assert shared_people(both, file_patients([copy])) == ["a/ct"]
    here, there = (file_patients([files_in(tmp_path / side, "p1.nii.gz")]) for side in ("x", "y"))
    assert shared_people(here, there) == ["p1"]
    stored = [Person(both[0].stored_name)]
    assert shared_people(stored, file_patients([a])) == ["ct"]
    assert shared_people(file_patients([b]), stored) == []
    assert shared_people(stored, [Person(file_patients([a])[0].stored_name)]) != []


# Classes.


@pytest.mark.parametrize(
    ("name", "label", "same"),
    [
        ("liver", "Liver", True), ("liver", "liver_tumor", False), ("lesion", "liver_tumor", True),
        ("lesion", "cancer", True), ("liver_tumor", "cancer", True), ("liver_tumor", "pancreas tumour", False),
        ("tumor", "colon cancer primaries", True), ("lesion", "liver", False), ("kidney", "kidney_left", True),
        ("kidney_left", "kidney", False), ("kidney_left", "Left Kidneys", True), ("kidney_left", "kidney_right", False),
    ],
)  # fmt: skip
def test_names_of_labels(name: str, label: str, same: bool) -> None:
    assert means(name, label) is same


def named(names: dict[int, str]) -> LabelMap:
    return LabelMap(np.zeros((1, 2, 2), dtype=np.uint16), Grid.from_parts((1, 2, 2)), names)


def test_numbers_are_held_against_names() -> None:
    organs = named({1: "spleen", 2: "kidney_right", 3: "kidney_left", 5: "liver"})
    liver = named({1: "liver", 2: "liver_tumor"})
    assert numbers_of({"liver": (1,), "lesion": (2,)}, liver, "x") == {"liver": (1,), "lesion": (2,)}
    assert numbers_of({"liver": (), "lesion": ()}, liver, "x") == {"liver": (1,), "lesion": (2,)}
    assert numbers_of({"liver": (1, 2)}, liver, "x") == {"liver": (1, 2)}, "an organ with its lesions"
    assert numbers_of({"kidney": ()}, organs, "x") == {"kidney": (2, 3)}
    assert numbers_of({"abdomen": (1, 5)}, organs, "x") == {"abdomen": (1, 5)}, "a group of the user's own"
    assert numbers_of({"pancreas": ()}, organs, "x") == {"pancreas": ()}, "an organ that this patient does not show"
    assert numbers_of({"liver": (1,)}, named({}), "x") == {"liver": (1,)}
    assert numbers_of({"liver": (1,)}, named({1: "Segment_1"}), "x", strict=False) == {"liver": (1,)}
    for classes, labels, strict, words in (
        ({"liver": (1,)}, organs, True, "number 1 is spleen, not liver: give liver=5, or liver without a number"),
        ({"liver": (1,)}, organs, False, "number 1 is spleen, not liver"),
        ({"liver": (5, 1)}, organs, True, "number 1 is spleen, not liver"),
        ({"lesion": (2,)}, organs, True, "number 2 is kidney_right, not lesion, which they do not have"),
        ({"liver": (1,)}, named({1: "Vessel", 2: "Tumour"}), True, "number 1 is Vessel, not liver"),
        ({"liver": (9,)}, organs, True, "there is no number 9: give liver=5"),
        ({"lesion": ()}, organs, True, "hold nothing of the name lesion"),
        ({"liver": ()}, named({}), True, "have no names: say which number is liver"),
        ({"liver": (0,)}, liver, True, "numbers begin at 1"),
        ({"body": (1,)}, liver, True, "number 1 is liver, not body"),
    ):
        with pytest.raises(InputError, match=words):
            numbers_of(classes, labels, "x", strict)


def test_another_data_set_than_lits_is_found_by_name_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    legs = (0, 3)
    for number in range(8):
        folder = tmp_path / "total" / f"s{number:04d}"
        volume, labels = scan(number)
        (folder / "segmentations").mkdir(parents=True)
        write_volume(volume, folder / "ct.nii.gz")
        for organ, value in (("spleen", 1), ("liver", 2)):
            shown = value == 1 or number not in legs
            mask = LabelMap(((labels.array == value) & shown).astype(np.uint16), labels.grid)
            write_labels(mask, folder / "segmentations" / f"{organ}.nii.gz")
    total = ("totalsegmentator", str(tmp_path / "total"))
    words = ["dataset", "build", str(tmp_path / "out"), "--task", "lowdose", "--phantoms", "3", "--dataset", *total,
             "--cases", "1", "--slices", "1", "--size", "32", "--pixel", "10", "--views", "50", "--bins", "40",
             "--fine-pixels", "32"]  # fmt: skip
    assert main(words) == 2
    assert "number 1 is spleen, not liver: give liver without a number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "before anything is simulated"
    with pytest.raises(InputError, match="number 1 is spleen, not liver"):
        build_settings(SCALES["tiny"], total).patient(0)
    assert main([*words, "--classes", "liver"]) == 0
    told = capsys.readouterr().err
    assert all(
        f"totalsegmentator-s{number:04d} shows none of the classes liver and is left out" in told for number in legs
    )
    assert verify_pairs(tmp_path / "out") == []
    manifest = read_manifest(tmp_path / "out")
    assert manifest["settings"]["classes"] == {"liver": []}
    patients = {name for split in manifest["splits"].values() for name in split["patients"]}
    assert len(patients) == 3 + 6
    assert not patients & {f"totalsegmentator-s{number:04d}" for number in legs}
    everybody = source(dataset={"name": total[0], "folder": total[1]}, split="all", classes={"liver": []})
    assert 1 in everybody.sample(Key(0, "main", 0, 0))["labels"], "the next one's"
    found = everybody.patient(1)
    assert int(found.labels.sum()) * 100 == pytest.approx(9 * 121, rel=0.2), "the liver's pixels, not the spleen's"
    for bad, told in (("liver=x", "takes NAME=N"), ("=1", "every name once")):
        assert main([*words, "--classes", bad]) == 2
        assert told in capsys.readouterr().err


def test_tasks_of_the_decathlon_have_their_own_classes(tmp_path: Path) -> None:
    numbers = list(range(8))
    write_msd(tmp_path / "liver", numbers)
    write_msd(tmp_path / "pancreas", numbers, "Pancreas", "pancreas")
    for folder, words in (("liver", None), ("pancreas", "number 1 is pancreas, not liver")):
        settings = build_settings(SCALES["tiny"], ("msd", str(tmp_path / folder)))
        if words is None:
            assert set(np.unique(settings.patient(0).labels)) == {0, 1, 2}
            continue
        with pytest.raises(InputError, match=words):
            settings.patient(0)


def test_the_body_of_a_data_set_is_all_but_air(tmp_path: Path) -> None:
    write_lits(tmp_path / "lits", [0])
    dataset = {"name": "lits", "folder": str(tmp_path / "lits")}
    found = source(dataset=dataset, split="all", classes={"body": [1]}).patient(0)
    assert np.array_equal(found.labels > 0, found.volume.array > -300)


# Sides.


def test_other_sides() -> None:
    assert other_sides(("liver", "lesion")) == (0, 1, 2)
    assert other_sides(("kidney_left", "liver", "kidney_right")) == (0, 3, 2, 1)
    assert other_sides(("LeftKidney", "right kidney")) == (0, 2, 1)
    assert other_sides(("kidney_left", "liver")) is None
    assert other_sides(()) == (0,)


def test_scans_that_are_all_in_one_split_are_told_of(tmp_path: Path) -> None:
    path = files_in(tmp_path / "one", "p01.nii.gz")
    labels = str(path.with_name("labels.nii.gz"))
    settings = LowDoseBuild(phantoms=3, volumes=(str(path),), labels=(labels,), **SMALL)
    with pytest.warns(CTRestorationWarning, match=r"Only phantoms are in \w+ and \w+, your scans are 1 in \w+:"):
        settings.check()


def test_a_shard_of_nobody_is_sound(tmp_path: Path) -> None:
    folder = stored_pairs(tmp_path / "pairs", ("liver",), np.zeros((32, 32)))
    manifest = read_manifest(folder)
    digest = write_shard(folder / "more.h5", [], [{"patient": "p-legs", "count": 0}])
    size = (folder / "more.h5").stat().st_size
    empty = {"file": "more.h5", "count": 0, "bytes": size, "sha256": digest, "cases": []}
    manifest["splits"]["train"]["shards"].insert(0, empty)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert verify_pairs(folder) == []
    assert PairReader(folder, "train").read(0)["input"].shape == (32, 32)


def test_mirrored_kidneys_change_places_in_simulated_slices() -> None:
    classes = {"kidney_left": [3], "kidney_right": [2]}
    size = {**SMALL, "size": 64, "pixel_mm": 6.0}
    plain, flipping, single = (
        source(phantoms=1, classes=some, flip=flip, **size)
        for some, flip in ((classes, False), (classes, True), ({"kidney_left": [3]}, True))
    )
    mirrored = 0
    for epoch in range(8):
        key = Key(0, "main", epoch, 0)
        before, after = plain.sample(key), flipping.sample(key)
        if np.array_equal(before["input"], after["input"]):
            assert np.array_equal(before["labels"], after["labels"])
        else:
            mirrored += 1
            assert np.array_equal(before["input"], after["input"][..., ::-1])
        for labels in (before["labels"], after["labels"]):
            columns = [np.flatnonzero((labels == number).any(axis=(0, 1))) for number in (1, 2)]
            if all(some.size for some in columns):
                assert columns[0].mean() > columns[1].mean(), "the left kidney is on the image's right"
            elif columns[0].size:
                assert columns[0].mean() > 32
        lone = single.sample(key)["labels"]
        assert not lone[..., :32].any(), "a class without its other side is never mirrored"
    assert 0 < mirrored < 8
    assert plain.fingerprint() != flipping.fingerprint()


def stored_pairs(folder: Path, classes: tuple[str, ...], labels: Any) -> Path:
    """A stored data set with one pair in each split."""
    image = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    pair = {"input": image, "target": image, "metal": np.zeros_like(image), "labels": labels.astype(np.float32)}
    splits = {}
    folder.mkdir()
    for split in SPLITS:
        cases = [{"patient": f"p-{split}", "count": 1}]
        digest = write_shard(folder / f"{split}.h5", [pair], cases)
        size = (folder / f"{split}.h5").stat().st_size
        shard = {"file": f"{split}.h5", "count": 1, "bytes": size, "sha256": digest, "cases": cases}
        splits[split] = {"patients": [f"p-{split}"], "count": 1, "shards": [shard]}
    write_manifest(folder, splits, (32, 32), {"classes": {name: [] for name in classes}}, ("labels",))
    return folder


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [(("liver", "lesion"), (1, 2)), (("kidney_left", "kidney_right"), (2, 1)), (("kidney_left", "liver"), None)],
)
def test_mirrored_stored_pairs(tmp_path: Path, classes: tuple[str, ...], numbers: tuple[int, int] | None) -> None:
    labels = np.zeros((32, 32))
    labels[4:8, 2:6], labels[4:8, 20:26] = 1, 2
    folder = stored_pairs(tmp_path / "pairs", classes, labels)
    stored = PairReader(folder, "train").read(0)
    found = pairs.Config(name="pairs", folder=folder).create()
    samples = [found.sample(Key(0, "main", epoch, 0)) for epoch in range(16)]
    mirrored = [sample for sample in samples if not np.array_equal(sample["input"][0], stored["input"])]
    if numbers is None:
        assert not mirrored
        return
    assert 0 < len(mirrored) < 16
    wanted = np.zeros((32, 32))
    wanted[4:8, 26:30], wanted[4:8, 6:12] = numbers
    assert all(np.array_equal(sample["labels"][0], wanted) for sample in mirrored)
    assert all(np.array_equal(sample["input"][0], stored["input"][:, ::-1]) for sample in mirrored)


def test_a_build_takes_the_split_of_a_unique_file_as_before(tmp_path: Path) -> None:
    path = files_in(tmp_path / "anywhere", "p01.nii.gz")
    settings = LowDoseBuild(phantoms=3, volumes=(str(path),), labels=(str(path.with_name("labels.nii.gz")),), **SMALL)
    (split,) = [name for name, numbers in settings.splits().items() if 3 in numbers]
    assert split == split_of("p01", 0, SHARES)
    assert settings.to_json()["scans"] == ["p01"]
    assert settings.patient(3).name == file_patients([path])[0].stored_name


@pytest.mark.parametrize("name", ["simulated", "scans", "sinograms"])
def test_nobody_simulated_is_trained_and_validated_on(name: str) -> None:
    two = {"name": name, "phantoms": 2, "count": 4, "size": 32, "pixel_mm": 10.0}
    with pytest.raises(InputError, match=r"1 patient is in data\.train .*\(phantom-1\).*first_seed"):
        DataConfig.model_validate({"train": two, "validation": {**two, "first_seed": 1}}).create()
    DataConfig.model_validate({"train": two, "validation": {**two, "first_seed": 2}}).create()


def test_stored_scans_know_who_was_scanned(tmp_path: Path) -> None:
    folders = []
    for first in (0, 1, 2):
        settings = scans.Config(name="scans", phantoms=2, first_seed=first)
        folders.append(tmp_path / str(first))
        folders[-1].mkdir()
        (folders[-1] / "manifest.json").write_text(
            json.dumps({"settings": settings.model_dump(mode="json"), "files": {"00000.npz": ""}})
        )
    stored = [{"name": "stored_scans", "folder": folder} for folder in folders]
    with pytest.raises(InputError, match=r"\(phantom-1\)"):
        DataConfig.model_validate({"train": stored[0], "validation": stored[1]}).create()
    more = {**stored[0], "more": [folders[1]]}
    with pytest.raises(InputError, match=r"\(phantom-2\)"):
        DataConfig.model_validate({"train": more, "validation": stored[2]}).create()
    DataConfig.model_validate({"train": stored[0], "validation": stored[2]}).create()
