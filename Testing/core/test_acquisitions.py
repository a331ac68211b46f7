"""Acquisitions come back from their file bit for bit, and a damaged file is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.acquisition import Acquisition
from ctrestoration.errors import InputError
from ctrestoration.volume import Grid, Volume


@pytest.fixture(scope="module")
def acquisition() -> Acquisition:
    array = np.full((3, 24, 30), -1000, dtype=np.float32)
    array[:, 6:18, 6:24] = 40
    metal = np.zeros(array.shape, dtype=bool)
    metal[1, 10:12, 12:15] = True
    volume = Volume(array, Grid.from_parts(array.shape, (1.5, 1.2, 3.0), (5, 6, 7)), "ct")
    return Acquisition.from_image(volume, metal)


def test_round_trip(acquisition, tmp_path) -> None:
    acquisition.save(tmp_path / "a.npz")
    back = Acquisition.load(tmp_path / "a.npz")
    for field in ("sinogram", "trace", "metal"):
        assert np.array_equal(getattr(back, field), getattr(acquisition, field))
    assert np.array_equal(back.image.array, acquisition.image.array)
    assert back.image.grid == acquisition.image.grid
    assert back.geometry == acquisition.geometry
    assert back.image_grid == acquisition.image_grid
    assert back.provenance == acquisition.provenance
    assert back.provenance["source"] == "projected from the image"


def test_a_flipped_bit_is_refused(acquisition, tmp_path) -> None:
    path = tmp_path / "a.npz"
    acquisition.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or no acquisition"):
        Acquisition.load(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b"not a zip"), "damaged or no acquisition"),
        (lambda path: np.savez(path, a=np.zeros(3)), "damaged or no acquisition"),
    ],
)
def test_other_files_are_refused(make, words, tmp_path) -> None:
    make(tmp_path / "a.npz")
    with pytest.raises(InputError, match=words):
        Acquisition.load(tmp_path / "a.npz")


def test_another_suffix_is_refused(acquisition, tmp_path) -> None:
    with pytest.raises(InputError, match=r"ending in \.npz"):
        acquisition.save(tmp_path / "a.h5")


def test_flipped_volume_is_held_in_axial_order(acquisition) -> None:
    array = np.array(acquisition.image.array[::-1, :, ::-1])
    grid = acquisition.image.grid
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world((grid.shape[2] - 1, 0, grid.shape[0] - 1))
    affine[:3, 0] *= -1
    affine[:3, 2] *= -1
    flipped = Acquisition.from_image(
        Volume(array, Grid(grid.shape, affine)), np.array(acquisition.metal[::-1, :, ::-1])
    )
    assert np.array_equal(flipped.sinogram, acquisition.sinogram)
    assert np.array_equal(flipped.image.in_order_of(Grid(grid.shape, affine)).array, array)
