"""Recipes: one file each. A file defines `Config` (its settings, with `name` as tag) and `Config.create(run)`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any


@cache
def config_classes() -> tuple[Any, ...]:
    """The settings class of every recipe in this folder, in alphabetical order of their files."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    return tuple(importlib.import_module(f"{__name__}.{name}").Config for name in names)
