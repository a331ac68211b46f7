"""What a job will take, before it starts: counted from slices, learned from earlier jobs."""

from __future__ import annotations

import numpy as np
import pytest

from ctrestoration.volume import Grid
from CTRestorationLib.presenters.mar import choices, estimates
from CTRestorationLib.presenters.mar.metal import margined, rangeProblem

GRID = Grid.from_parts((20, 64, 64), (2.0, 2.0, 3.0))


def flipped() -> Grid:
    """Stored from the head to the feet."""
    affine = np.array(GRID.affine)
    affine[2, 2] *= -1
    return Grid(GRID.shape, affine)


def test_slices_are_counted_from_the_feet() -> None:
    assert estimates.axialCount(GRID) == 20
    low, high = GRID.to_world((30, 30, 4)), GRID.to_world((30, 30, 6))
    assert estimates.axialRange(GRID, [low, high]) == (4, 6)
    assert estimates.axialRange(GRID, [low, high], margin=3.0) == (3, 7)
    assert estimates.axialRange(GRID, [GRID.to_world((30, 30, -9))]) is None
    assert estimates.axialRange(GRID, []) is None
    turned = flipped()
    assert estimates.axialRange(turned, [turned.to_world((30, 30, 0))]) == (19, 19)


def test_work_grows_with_slices_and_metal() -> None:
    scan = estimates.Estimates(GRID, "adn-256")
    assert scan.simulation(20, 0) == 2 * scan.simulation(10, 0)
    assert scan.simulation(20, 20) > 1.5 * scan.simulation(20, 0)
    assert scan.correction(4, projected=True) > scan.correction(4, projected=False) > 0
    assert scan.memory(20) > scan.file(20) > 0
    assert estimates.Estimates(GRID, "clinical").simulation(20, 4) > scan.simulation(20, 4)


def test_rates_are_learned_and_nonsense_is_not_believed() -> None:
    kept: dict[str, float] = {}
    rates = estimates.Rates(kept.get, kept.__setitem__)
    assert not rates.learned("simulate")
    before = rates.seconds("simulate", 1e9)
    rates.learn("simulate", 1e9, 42.0)
    assert rates.learned("simulate")
    assert rates.seconds("simulate", 1e9) == pytest.approx(42.0) != before
    rates.learn("simulate", 1e9, 22.0)
    assert 22.0 < rates.seconds("simulate", 1e9) < 42.0
    rates.learn("simulate", 1e9, 0.1)  # quicker than Python starts
    assert kept["simulate"] > 0
    for nonsense in (float("nan"), -1.0, 0.0):
        kept["simulate"] = nonsense
        assert rates.seconds("simulate", 1e9) == before


def test_ranges() -> None:
    assert rangeProblem(GRID, 3, 5, (4, 9), "The metal") == ""
    assert "no range within 0 to 19" in rangeProblem(GRID, 5, 3, None, "The metal")
    assert "lies in slices 4 to 9" in rangeProblem(GRID, 0, 3, (4, 9), "The metal")
    assert margined((1, 18), 20) == (0, 19)
    assert margined(None, 20) == (0, 19)
    assert [estimates.overlap((0, 3), other) for other in ((2, 9), (3, 3), (4, 9))] == [2, 1, 0]


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (42, "40 s"), (180, "3 min"), (9000, "2.5 h")])
def test_words(seconds: float, words: str) -> None:
    assert estimates.inWords(seconds) == words
    assert estimates.bytesInWords(2.5e9) == "2.5 GB"
    assert estimates.bytesInWords(1.2e6) == "1 MB"


def test_every_choice_is_one_of_the_command_line() -> None:
    from ctrestoration.physics.fbp import WINDOWS
    from ctrestoration.physics.materials import material
    from ctrestoration.physics.presets import scanner_preset
    from ctrestoration.physics.spectra import spectrum

    for words, known in (
        (choices.materials(), material),
        (choices.presets(), scanner_preset),
        (choices.spectra(), spectrum),
    ):
        assert all(known(word) for word, _, _ in words)
    assert [word for word, _, _ in choices.fbpWindows()] == ["", *WINDOWS], "the preset's own first"
    assert all(low < high for _, low, high in choices.WINDOWS)
