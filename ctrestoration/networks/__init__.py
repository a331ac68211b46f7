"""Networks: one file each, which defines `NETWORK`, the class. They are rebuilt from a name and JSON options."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ctrestoration.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def build_network(name: str, options: Mapping[str, object]) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: name of its file in this folder, e.g. "unet".
        options: keyword arguments of its class, e.g. from the header of a weights file.

    Raises:
        InputError: unknown name, or options that the network does not take.
    """
    known = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    if name not in known:
        raise InputError(f"Unknown network {name!r}: known ones are {', '.join(known)}.")
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        network: nn.Module = module.NETWORK(**options)
    except TypeError as error:
        raise InputError(f"The network {name!r} cannot be built: {error}.") from error
    return network
