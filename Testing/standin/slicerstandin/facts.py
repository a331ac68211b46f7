"""Names that Qt, CTK and Slicer really have (facts.json): what the stand-in may offer and the lint believes."""

from __future__ import annotations

import functools
import json
from pathlib import Path

FACTS = Path(__file__).resolve().parents[1] / "facts.json"
KINDS = ("properties", "signals", "slots", "invokables")


@functools.cache
def classes() -> dict[str, dict]:
    """Every class known: name -> base, properties, signals, slots, invokables, source."""
    return json.loads(FACTS.read_text(encoding="utf-8"))["classes"]


@functools.cache
def names(class_name: str, kind: str) -> frozenset[str]:
    """Properties (names) or signals, slots, invokables (signatures) of a class, inherited ones included."""
    if class_name not in classes():
        return frozenset()
    own = classes()[class_name]
    inherited = names(own["base"], kind) if own.get("base") else frozenset()
    return frozenset(own.get(kind, ())) | inherited


@functools.cache
def members(class_name: str) -> frozenset[str]:
    """Bare names of everything that a class offers to Python, signatures cut at the bracket."""
    return frozenset(entry.split("(")[0] for kind in KINDS for entry in names(class_name, kind))


def source(class_name: str) -> str:
    """Qt, CTK or Slicer; empty where the class is unknown."""
    return classes().get(class_name, {}).get("source", "")


def inherits(class_name: str, base: str) -> bool:
    """Whether a class is, or derives from, another."""
    while class_name:
        if class_name == base:
            return True
        class_name = classes().get(class_name, {}).get("base") or ""
    return False
