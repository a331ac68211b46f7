"""Progress and cancel."""

from __future__ import annotations

import pytest

from ctrestoration.control import SILENT, Control
from ctrestoration.errors import Cancelled


def test_parts_nest_into_one_scale() -> None:
    seen: list[float] = []
    control = Control(progress=lambda fraction, _: seen.append(fraction))
    half = control.part(0.5, 1.0)
    half.report(0.5, "Working")
    half.part(0.0, 0.5).report(1.0, "Working")
    assert seen == [0.75, 0.75]


def test_fractions_outside_the_scale_are_held_in_it() -> None:
    seen: list[float] = []
    control = Control(progress=lambda fraction, _: seen.append(fraction)).part(0.2, 0.4)
    control.report(-1.0, "Working")
    control.report(7.0, "Working")
    assert seen == pytest.approx([0.2, 0.4])


def test_track_yields_everything_and_ends_at_one() -> None:
    seen: list[tuple[float, str]] = []
    control = Control(progress=lambda *report: seen.append(report))
    assert list(control.track("ab", "Reading")) == ["a", "b"]
    assert seen == [(0.0, "Reading"), (0.5, "Reading"), (1.0, "Reading")]


def test_track_of_nothing_is_done() -> None:
    seen: list[float] = []
    assert list(Control(progress=lambda fraction, _: seen.append(fraction)).track([], "Reading")) == []
    assert seen == [1.0]


def test_a_cancel_acts_between_two_items() -> None:
    done: list[int] = []
    control = Control(cancel=lambda: len(done) == 2)
    with pytest.raises(Cancelled, match="Cancelled while correcting slices"):
        done.extend(control.track([1, 2, 3, 4], "Correcting slices"))
    assert done == [1, 2]


def test_a_cancel_reaches_into_parts() -> None:
    with pytest.raises(Cancelled):
        Control(cancel=lambda: True).part(0.0, 0.5).part(0.5, 1.0).report(0.0, "Working")


def test_silent_says_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(SILENT.track([1], "Working")) == [1]
    assert capsys.readouterr() == ("", "")
