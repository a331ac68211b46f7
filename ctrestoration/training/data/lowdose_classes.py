"""Which numbers of a segmentation mean a class: by the names that the segmentation itself gives its numbers.

LiTS has its liver at 1, TotalSegmentator at 5 and the spleen at 1: a number alone says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from ctrestoration.errors import InputError
from ctrestoration.volume import LabelMap

BODY = "body"
"""The class of whatever is no air, which needs no segmentation: for networks that are trained without a task."""

_SIDES = frozenset({"left", "right"})
_LESION = frozenset({"lesion", "tumor", "tumour", "cancer", "carcinoma", "metastasi", "metastase"})
_FILLERS = frozenset({"primary", "primarie"})

Words = frozenset[str]


def numbers_of(
    classes: Mapping[str, Sequence[int]], labels: LabelMap, who: str, strict: bool = True
) -> dict[str, tuple[int, ...]]:
    """The numbers of each class in a segmentation.

    A class without numbers is found by its name; a class with numbers is held against the names that the labels give
    these. "lesion", "tumor", "cancer" and "liver_tumor" mean one another, sides may be left out ("kidney"). A class
    that no label and no table knows by name is the user's own group of numbers.

    Args:
        classes: name -> its numbers, or none.
        labels: with names, where they have some.
        who: whose labels, for messages.
        strict: whether the names come from a data set. Those that somebody typed refuse a number only where they are
            names of organs or lesions: "Segment_1" may be anything.

    Raises:
        InputError: a number below 1, a number whose name says otherwise, or a class that is not found by its name.
    """
    found = {}
    for name, given in classes.items():
        called = tuple(number for number, label in labels.names.items() if means(name, label))
        if not given:
            if not called and not (labels.names and _is_organ(name)):
                raise InputError(_not_found(name, labels, who))
            found[name] = called
            continue
        found[name] = tuple(given)
        for number in given:
            if number < 1:
                raise InputError(f"The class {name} cannot be number {number}: 0 is background, numbers begin at 1.")
            if _disagrees(name, number, found[name], called, labels, strict):
                raise InputError(_disagreement(name, number, called, labels, who))
    return found


def means(name: str, label: str) -> bool:
    """Whether a class is what a label's name says.

    Args:
        name: of the class.
        label: a data set's or user's name of a number.
    """
    one, other = _words(name), _words(label)
    lesion = bool(one & _LESION)
    if lesion != bool(other & _LESION):
        return False
    if lesion:
        whose, whose_other = one - _LESION - _FILLERS, other - _LESION - _FILLERS
        return not whose or not whose_other or whose == whose_other
    return bool(one) and one in (other, other - _SIDES)


def other_sides(classes: Sequence[str]) -> tuple[int, ...] | None:
    """What every class number is in a mirror image: "kidney_left" becomes "kidney_right".

    Args:
        classes: names of the numbers 1, 2, ...

    Returns:
        The number of each number, background (0) first; None where the other side of a class is no class, so that
        a mirror image has no right labels.
    """
    words = [_words(name) for name in classes]
    numbers = [0]
    for number, own in enumerate(words, start=1):
        if len(own & _SIDES) != 1:
            numbers.append(number)
            continue
        mirrored = own ^ _SIDES
        if mirrored not in words:
            return None
        numbers.append(words.index(mirrored) + 1)
    return tuple(numbers)


def _disagrees(
    name: str, number: int, numbers: Sequence[int], called: Sequence[int], labels: LabelMap, strict: bool
) -> bool:
    label = labels.names.get(number)
    if label is None:  # nobody has named it: only another number of that name speaks against it
        return bool(called) and not set(called) & set(numbers)
    if means(name, label):
        return False
    if _words(label) & _LESION and set(called) & set(numbers):
        return False  # an organ with its lesions
    named = bool(called) or _is_organ(name) or bool(_words(name) & _LESION) or name == BODY
    informative = strict or bool(called) or _is_organ(label) or bool(_words(label) & _LESION)
    return named and informative


def _disagreement(name: str, number: int, called: Sequence[int], labels: LabelMap, who: str) -> str:
    label = labels.names.get(number)
    what = f"number {number} is {label}, not {name}" if label else f"there is no number {number}"
    if called:
        right = ",".join(str(one) for one in called)
        return f"In the labels of {who} {what}: give {name}={right}, or {name} without a number to find it by its name."
    if _is_organ(name):
        return f"In the labels of {who} {what}: give {name} without a number to find it by its name."
    return f"In the labels of {who} {what}, which they do not have: they hold {_list(labels)}."


def _not_found(name: str, labels: LabelMap, who: str) -> str:
    if not labels.names:
        return f"The labels of {who} have no names: say which number is {name}, such as {name}=1."
    return f"The labels of {who} hold nothing of the name {name}: they hold {_list(labels)}."


def _list(labels: LabelMap) -> str:
    shown = [f"{label} ({number})" for number, label in sorted(labels.names.items())[:8]]
    return ", ".join(shown) + (", ..." if len(labels.names) > len(shown) else "")


def _is_organ(name: str) -> bool:
    return _words(name) in _organs()


@cache
def _organs() -> frozenset[Words]:
    """Words of every organ's name that is known, with and without its side."""
    from ctrestoration.anatomy.labels import NAME_ID

    every = {_words(name) for name in NAME_ID}
    return frozenset(every | {words - _SIDES for words in every})


@cache
def _words(name: str) -> Words:
    """The words of a name, without case, order and plural: "Left kidneys" and "kidney_left" are alike."""
    split = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return frozenset(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in split)
