"""Files between Slicer and its jobs: exact, in short steps, and readable by the core; bad ones refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ctrestoration.errors import InputError, OutputError
from ctrestoration.io._itk import read_image
from ctrestoration.io.images import read_labels, read_volume, write_labels, write_volume
from ctrestoration.volume import Grid, LabelMap, Volume
from CTRestorationLib.jobs import exchange
from CTRestorationLib.jobs.exchange import exhaust, readLabels, readVolumeSteps, writeLabels, writeVolumeSteps


def rotation() -> np.ndarray:
    a, b = np.deg2rad(17), np.deg2rad(-9)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return x @ z


GRIDS = {
    "plain": Grid.from_parts((5, 7, 9), (0.7, 0.8, 2.5), (-120.3, 88.1, -1000.7)),
    "oblique": Grid.from_parts((5, 7, 9), (0.7, 0.8, 2.5), (1 / 3, -2 / 3, 1e3), rotation()),
    "flipped": Grid.from_parts((5, 7, 9), (1, 1, 3), (0, 0, 0), np.diag([-1.0, 1.0, -1.0])),
    "left-handed": Grid.from_parts((5, 7, 9), (1, 1, 3), (5, 5, 5), np.diag([1.0, 1.0, -1.0])),
    "turned": Grid.from_parts((5, 7, 9), (1, 2, 3), (5, 5, 5), np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0]])),
    "one slice": Grid.from_parts((1, 7, 9), (1, 2, 3)),
}


def values(grid: Grid, kind: Any = np.float32) -> Any:
    return np.random.default_rng(1).uniform(-1000, 2000, grid.shape).astype(kind)


@pytest.mark.parametrize("name", GRIDS)
def test_the_core_reads_what_was_written_to_the_bit(name: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    exhaust(writeVolumeSteps(Volume(values(grid), grid), tmp_path / "v.nrrd"))
    found = read_volume(tmp_path / "v.nrrd", hu_offset=0)
    np.testing.assert_array_equal(found.array, values(grid))
    np.testing.assert_allclose(found.grid.affine, grid.affine, atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == ["v.nrrd"]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("suffix", "tolerance"), [(".nrrd", 1e-9), (".nii.gz", 1e-4), (".nii", 1e-4)])
def test_what_the_core_wrote_is_read_to_the_bit(name: str, suffix: str, tolerance: float, tmp_path: Path) -> None:
    grid = GRIDS[name]
    write_volume(Volume(values(grid), grid), tmp_path / f"v{suffix}")
    found = exhaust(readVolumeSteps(tmp_path / f"v{suffix}"))
    np.testing.assert_array_equal(found.array, values(grid))
    np.testing.assert_allclose(found.grid.affine, grid.affine, atol=tolerance)
    assert found.name == "v"


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_number_types_are_kept(kind: str, tmp_path: Path) -> None:
    grid = GRIDS["plain"]
    source = SimpleNamespace(array=np.arange(315).reshape(grid.shape).astype(kind), grid=grid, name="x")
    exhaust(writeVolumeSteps(source, tmp_path / "v.nrrd"))
    np.testing.assert_array_equal(read_image(tmp_path / "v.nrrd").array, source.array)
    assert read_image(tmp_path / "v.nrrd").array.dtype == kind
    np.testing.assert_array_equal(exhaust(readVolumeSteps(tmp_path / "v.nrrd")).array, source.array)


def test_an_array_that_is_not_contiguous_or_big_endian_is_written_right(tmp_path: Path) -> None:
    grid = GRIDS["plain"]
    array = np.asfortranarray(values(grid)).astype(">f4")
    exhaust(writeVolumeSteps(SimpleNamespace(array=array, grid=grid, name="x"), tmp_path / "v.nrrd"))
    np.testing.assert_array_equal(exhaust(readVolumeSteps(tmp_path / "v.nrrd")).array, values(grid))


@pytest.mark.parametrize("highest", [3, 1000])
def test_labels_keep_their_names_both_ways(highest: int, tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    array = np.zeros(grid.shape, dtype=np.uint16)
    array[1:3, 2:5, 3:8] = highest
    array[4, 6, 8] = 2
    labels = LabelMap(array, grid, {2: "vertebrae_L3", highest: "métal \\ zwei\nZeilen"})
    exhaust(writeLabels(labels, tmp_path / "a.seg.nrrd"))
    ours = exhaust(readLabels(tmp_path / "a.seg.nrrd"))
    assert ours.names == labels.names
    core = read_labels(tmp_path / "a.seg.nrrd", grid)
    assert set(core.names) == {2, highest}
    assert core.names[2] == "vertebrae_L3"
    for found in (ours, core):
        np.testing.assert_array_equal(found.array, array)
    text = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "Segment0_Extent:=8 8 6 6 4 4" in text
    assert "Segment1_Extent:=3 7 2 4 1 2" in text
    write_labels(labels, tmp_path / "b.seg.nrrd")
    back = exhaust(readLabels(tmp_path / "b.seg.nrrd"))
    np.testing.assert_array_equal(back.array, array)
    assert back.names[2] == "vertebrae_L3"


def test_an_empty_segmentation_is_no_error(tmp_path: Path) -> None:
    grid = GRIDS["plain"]
    exhaust(writeLabels(LabelMap(np.zeros(grid.shape, np.uint16), grid), tmp_path / "a.seg.nrrd"))
    assert exhaust(readLabels(tmp_path / "a.seg.nrrd")).names == {}
    assert not read_labels(tmp_path / "a.seg.nrrd", grid).array.any()


def test_every_step_is_short_and_the_fractions_rise(tmp_path: Path) -> None:
    grid = Grid.from_parts((60, 512, 512))
    volume = Volume(np.zeros(grid.shape, dtype=np.float32), grid)
    labels = LabelMap(np.ones(grid.shape, dtype=np.uint16), grid)

    def fractions(steps: Any) -> list[float]:
        found = list(steps)
        assert found == sorted(found)
        assert found[-1] == 1.0
        return found

    # 63 MB in pieces of 1 MB: how long a piece takes is measured in benchmarks, not here.
    assert len(fractions(writeVolumeSteps(volume, tmp_path / "v.nrrd"))) >= 30
    assert len(fractions(readVolumeSteps(tmp_path / "v.nrrd"))) >= 30
    assert len(fractions(writeLabels(labels, tmp_path / "l.seg.nrrd"))) >= 60
    assert len(fractions(readLabels(tmp_path / "l.seg.nrrd"))) >= 15


def test_a_large_slice_is_parted_by_rows() -> None:
    cuts = list(exchange._slabs((2, 2048, 2048), 4))
    assert len(cuts) == 32
    covered = np.zeros((2, 2048, 2048), dtype=np.uint8)
    for cut in cuts:
        covered[cut] += 1
    assert (covered == 1).all()


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    grid = Grid.from_parts((40, 256, 256))
    steps = writeVolumeSteps(Volume(np.zeros(grid.shape, dtype=np.float32), grid), tmp_path / "v.nrrd")
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_says_why(tmp_path: Path) -> None:
    grid = GRIDS["plain"]
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="Cannot write"):
        exhaust(writeVolumeSteps(Volume(values(grid), grid), tmp_path / "file" / "v.nrrd"))


def test_sheared_axes_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    sheared = Grid((5, 7, 9), affine)
    with pytest.raises(InputError, match="not at right angles"):
        exhaust(writeVolumeSteps(Volume(values(sheared), sheared, "tilted"), tmp_path / "v.nrrd"))
    grid = GRIDS["plain"]
    source = SimpleNamespace(array=values(grid).astype(complex), grid=grid, name="x")
    with pytest.raises(InputError, match="complex128"):
        exhaust(writeVolumeSteps(source, tmp_path / "v.nrrd"))


def test_bad_files_are_refused_with_their_name(tmp_path: Path) -> None:
    grid = GRIDS["plain"]
    good = tmp_path / "good.nrrd"
    exhaust(writeVolumeSteps(Volume(values(grid), grid), good))
    write_volume(Volume(values(grid), grid), tmp_path / "packed.nii.gz")
    data, packed = good.read_bytes(), (tmp_path / "packed.nii.gz").read_bytes()
    bad = {
        "cut.nrrd": (data[:-10], "is cut off"),
        "header.nrrd": (data[:40], "is cut off"),
        "text.nrrd": (b"hello\n", "is no NRRD file"),
        "kind.nrrd": (data.replace(b"encoding: raw", b"encoding: hex"), "'hex'; expected raw or gzip"),
        "space.nrrd": (data.replace(b"left-posterior-superior", b"scanner-xyz"), "scanner-xyz"),
        "type.nrrd": (data.replace(b"type: float", b"type: block"), "not understood"),
        "flat.nrrd": (data.replace(b"sizes: 9 7 5", b"sizes: 9 35"), "three dimensions"),
        "cut.nii.gz": (packed[:-200], "is cut off"),
        "text.nii.gz": (b"hello, no gzip at all" * 40, "is damaged"),
        "text.nii": (b"hello" * 100, "no NIfTI-1 image"),
        "image.mha": (b"", "expected .nrrd, .nii or .nii.gz"),
    }
    for name, (content, words) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            exhaust(readVolumeSteps(tmp_path / name))
        assert name in str(caught.value), name
        assert words in str(caught.value), name
    with pytest.raises(InputError, match=r"nowhere.nrrd cannot be read"):
        exhaust(readVolumeSteps(tmp_path / "nowhere.nrrd"))


def test_scaled_nifti_values_are_what_the_file_means(tmp_path: Path) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii"))
    data = bytearray((tmp_path / "v.nii").read_bytes())
    data[112:120] = np.array([2.0, -1024.0], dtype="<f4").tobytes()
    (tmp_path / "v.nii").write_bytes(bytes(data))
    assert exhaust(readVolumeSteps(tmp_path / "v.nii")).array.ravel()[:3].tolist() == [-1024, -1022, -1020]
