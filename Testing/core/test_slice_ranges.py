"""A range of axial slices: where it lies in turned volumes, and that working on it equals working on the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ctrestoration.errors import InputError
from ctrestoration.simulate.metal import simulate_metal
from ctrestoration.volume import Grid, Volume, axial_part

SETTINGS = {"preset": "adn-256", "photons": 1e6}


def turned(order: tuple[int, int, int], flips: tuple[int, int, int]) -> Volume:
    """A small block whose voxel axes run along L, P, S in some order and sign."""
    sizes = (5, 4, 3)  # along L, P, S
    direction = np.zeros((3, 3))
    for axis, world in enumerate(order):
        direction[world, axis] = -1 if flips[axis] else 1
    shape = tuple(sizes[world] for world in order)[::-1]
    grid = Grid.from_parts(shape, (1.0, 2.0, 3.0), (7.0, -8.0, 9.0), direction)
    return Volume(np.arange(60, dtype=np.float32).reshape(shape), grid)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 1, 1), (0, 1, 0)])
def test_a_part_is_the_same_slices_at_the_same_place(order, flips) -> None:
    whole = turned(order, flips)
    part = whole.part(axial_part(whole.grid, 1, 2))
    axial = whole.axial()
    np.testing.assert_array_equal(part.axial().array, axial.array[1:3])
    assert part.axial().grid.mismatch(axial.grid.crop((1, 0, 0), axial.grid.shape)) is None


@pytest.mark.parametrize(("first", "last"), [(-1, 1), (2, 1), (0, 3), (3, 3)])
def test_a_range_outside_the_volume_is_refused_with_the_range_there_is(first: int, last: int) -> None:
    with pytest.raises(InputError, match="within 0 to 2, counted from the feet"):
        axial_part(turned((0, 1, 2), (0, 0, 0)).grid, first, last)


def test_a_part_of_a_scan_gets_the_whole_scans_numbers() -> None:
    array = np.full((4, 48, 48), -1000.0, dtype=np.float32)
    array[:, 8:40, 8:40] = 30.0
    metal = np.zeros(array.shape, dtype=np.float32)
    metal[1:, 20:24, 20:24] = 1.0
    volume = Volume(array, Grid.from_parts(array.shape, (6.0, 6.0, 5.0)))
    whole = simulate_metal(volume, {"titanium": metal}, seed=3, **SETTINGS)
    where = axial_part(volume.grid, 2, 3)
    part = simulate_metal(volume.part(where), {"titanium": metal[where]}, seed=3, first_slice=2, **SETTINGS)
    np.testing.assert_array_equal(part.acquisition.image.array, whole.acquisition.image.array[2:])
    cut = whole.acquisition.part(2, 3)
    np.testing.assert_array_equal(part.acquisition.sinogram, cut.sinogram)
    np.testing.assert_array_equal(part.acquisition.metal, cut.metal)
    assert part.acquisition.image.grid.mismatch(cut.image.grid) is None
