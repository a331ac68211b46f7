"""Networks: one file each, which defines `NETWORK`, the class, and `KIND`, which recipes can train it.

KIND = "image" says that it maps images [sample, in_channels, row, column] to [sample, out_channels, row, column];
"dual-domain" and "dictionary" are the unrolled networks of metal artifact reduction.
Its part of a run file is made from its constructor and, where there are any, the ranges in `LIMITS`. Saved weights keep
the name of the file and the JSON options, by which `build_network` makes the network again. Files whose name begins
with an underscore hold what several networks share.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def network_names() -> list[str]:
    """The networks there are, sorted."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))


def build_network(name: str, options: Mapping[str, object]) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: name of its file in this folder, e.g. "unet".
        options: keyword arguments of its class, e.g. from the header of a weights file.

    Raises:
        InputError: unknown name, or options that the network does not take.
    """
    kind_of(name)  # refuses unknown ones
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        network: nn.Module = module.NETWORK(**options)
    except TypeError as error:
        raise InputError(f"The network {name!r} cannot be built: {error}.") from error
    return network


def kind_of(name: str) -> str:
    """KIND of the network of that name.

    Raises:
        InputError: unknown network.
    """
    known = network_names()
    if name not in known:
        raise InputError(f"Unknown network {name!r}: known ones are {', '.join(known)}.")
    return str(getattr(importlib.import_module(f"{__name__}.{name}"), "KIND", "unknown"))


@cache
def settings_classes(kind: str = "image") -> tuple[Any, ...]:
    """The settings class of every network of a kind, in alphabetical order of their files; see `_settings`."""
    from ctrestoration.networks._settings import settings_of

    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in network_names()}
    return tuple(
        settings_of(name, module.NETWORK, getattr(module, "LIMITS", None))
        for name, module in modules.items()
        if getattr(module, "KIND", None) == kind
    )
