"""Stored pairs: the same bits whatever the workers and interruptions, and every kind of damage is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="stored pairs need h5py")
pytest.importorskip("numba", reason="simulating slices without numba takes too long for a test")

from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.control import Control  # noqa: E402
from ctrestoration.errors import Cancelled, InputError  # noqa: E402
from ctrestoration.implants.generator import generate_case  # noqa: E402
from ctrestoration.io.pairs import DamagedPairError, PairReader, verify_pairs, write_shard  # noqa: E402
from ctrestoration.jobs.durable import sha256_of  # noqa: E402
from ctrestoration.physics.materials import material  # noqa: E402
from ctrestoration.training.data import cases  # noqa: E402
from ctrestoration.training.data.cases import phantom_patient  # noqa: E402
from ctrestoration.training.data.dataset import BuildSettings, build_dataset, split_patients  # noqa: E402

SMALL = BuildSettings(phantoms=3, cases=2, slices=1, size=32, pixel_mm=10.0, seed=4, clean=0)


@pytest.fixture(scope="module", autouse=True)
def phantoms_made_once() -> Iterator[None]:
    """The same few phantoms come again and again here; phantoms have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases, "_phantom_spine", cache(cases._phantom_spine))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "pairs"
    assert build_dataset(folder, SMALL) == {"train": 2, "validation": 2, "test": 2}
    return folder


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_pairs_show_metal_and_what_lies_under_it(built: Path) -> None:
    assert verify_pairs(built) == []
    pairs = [PairReader(built, split).read(index) for split in ("train", "validation", "test") for index in range(2)]
    for pair in pairs:
        assert {name: array.shape for name, array in pair.items()} == dict.fromkeys(pair, (32, 32))
        assert pair["metal"].max() > 0
    streaks = [np.abs(pair["input"] - pair["target"])[pair["metal"] == 0].max() for pair in pairs]
    assert np.median(streaks) > 50, "streaks outside the metal, in HU"


def test_the_manifest_says_what_is_in_every_pair(built: Path) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    described = [
        (shard, case) for split in manifest["splits"].values() for shard in split["shards"] for case in shard["cases"]
    ]
    assert len(described) == SMALL.patients * SMALL.cases
    assert len({case["seed"] for _, case in described}) == len(described)
    shard, case = manifest["splits"]["train"]["shards"][0], manifest["splits"]["train"]["shards"][0]["cases"][0]
    patient = phantom_patient(int(case["patient"].removeprefix("phantom-")), SMALL.size, SMALL.pixel_mm)
    again = generate_case(patient.volume, case["seed"], spine=patient.spine, kind=case["kind"])
    assert json.loads(json.dumps(again.description)).items() <= case.items(), "seed and kind repeat the case"
    with h5py.File(built / shard["file"]) as file:
        metals = [fraction for name, fraction in again.implants.items() if material(name).kind != "polymer"]
        stored = file["metal"][0] / 100
        assert np.abs(np.minimum(sum(metals)[case["slices"][0]], 1) - stored).max() < 0.0051


def test_an_interrupted_build_goes_on_to_the_same_bits(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    reports = [0]

    def cancel() -> bool:
        reports[0] += 1
        return (folder / "train-00000.h5").exists()

    with pytest.raises(Cancelled):
        build_dataset(folder, SMALL, control=Control(cancel=cancel))
    assert not (folder / "manifest.json").exists(), "an unfinished data set does not look finished"
    with pytest.raises(InputError, match="other settings"):
        build_dataset(folder, BuildSettings(phantoms=4, cases=1, slices=1, size=32, pixel_mm=10.0))
    build_dataset(folder, SMALL)
    shards = list(built.glob("*.h5"))
    assert shards
    for path in shards:
        assert sha256_of(path) == sha256_of(folder / path.name)
    assert (folder / "manifest.json").read_text() == (built / "manifest.json").read_text()


def test_patients_are_never_in_two_splits() -> None:
    splits = split_patients(BuildSettings(phantoms=20))
    assert sorted(number for numbers in splits.values() for number in numbers) == list(range(20))
    assert [len(numbers) for numbers in splits.values()] == [14, 3, 3]


@pytest.mark.parametrize("damage", ["truncated", "bit", "missing"])
def test_fault_06_damaged_shard_is_found(copy: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    shard = copy / "train-00000.h5"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content if damage == "bit" else content[: len(content) * 7 // 10])
    assert main(["dataset", "verify", str(copy), "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert not answer["ok"]
    assert "train-00000.h5" in answer["faults"][0]


def test_fault_06_flipped_bit_in_a_pair_is_refused_when_read(copy: Path) -> None:
    shard = copy / "train-00000.h5"
    with h5py.File(shard) as file:
        offset = file["input"].id.get_chunk_info(0).byte_offset
    content = bytearray(shard.read_bytes())
    content[offset + 500] ^= 4
    shard.write_bytes(content)
    with pytest.raises(DamagedPairError, match=r"train-00000.h5, pair 0"):
        PairReader(copy, "train").read(0)


def test_fault_06_wrong_shape_and_values(copy: Path) -> None:
    shard = copy / "train-00000.h5"
    with h5py.File(shard, "r+") as file:
        del file["input"], file["target"]
        file["input"] = np.full((2, 32, 32), np.nan, dtype=np.float32)
        file["target"] = np.zeros((2, 16, 32), dtype=np.int16)
    said = " ".join(verify_pairs(copy))
    assert "input is float32" in said
    assert "NaN" in said
    assert "target is int16 (2, 16, 32)" in said
    with pytest.raises(DamagedPairError, match="float32"):
        PairReader(copy, "train").read(0)


def test_nan_is_never_written(tmp_path: Path) -> None:
    bad = {name: np.full((8, 8), np.nan, dtype=np.float32) for name in ("input", "target", "metal")}
    with pytest.raises(ValueError, match="NaN"):
        write_shard(tmp_path / "x.h5", [bad], [{"patient": "somebody", "count": 1}])
    assert not list(tmp_path.iterdir())


def test_a_patient_in_two_splits_is_said(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["splits"]["test"]["patients"] = manifest["splits"]["train"]["patients"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert any("both" in fault for fault in verify_pairs(copy))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--phantoms", "2"], "at least 3 patients"),
        (["--size", "4"], "--size has to lie in 32..1024"),
        (["--volumes", "nowhere.nrrd"], "no CT volume"),
        (["--preset", "toaster"], "toaster"),
    ],
)
def test_bad_wishes(tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "build", str(tmp_path / "x"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_volume_that_cannot_be_used_is_told_before_anything_is_simulated(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="reads volumes")
    text = tmp_path / "letter.nrrd"
    text.write_text("Dear colleague")
    with pytest.raises(InputError, match=r"letter\.nrrd"):
        build_dataset(tmp_path / "pairs", BuildSettings(phantoms=2, volumes=(str(text),)))
    assert not (tmp_path / "pairs").exists()


def test_a_finished_data_set_is_not_overwritten(built: Path) -> None:
    with pytest.raises(InputError, match="finished data set"):
        build_dataset(built, SMALL)


def test_simulating_while_training_depends_on_the_key_only() -> None:
    from ctrestoration.training.keys import Key
    from ctrestoration.training.sources import simulated

    settings = simulated.Config(name="simulated", phantoms=1, count=4, size=32, pixel_mm=10.0)
    first, second = settings.create(), settings.create()
    second.sample(Key(1, "main", 0, 3))  # what was drawn before must not matter
    one, same, other = (
        source.sample(Key(1, "main", epoch, 0)) for source, epoch in ((first, 0), (second, 0), (first, 1))
    )
    for name in ("input", "target", "metal"):
        assert one[name].shape == (1, 32, 32)
        assert np.array_equal(one[name], same[name])
    assert not np.array_equal(one["metal"], other["metal"]), "placements do not repeat"
