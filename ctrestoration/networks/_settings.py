"""The settings of a network in a run file, taken from its constructor. Needs pydantic; networks themselves do not."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ctrestoration.networks import build_network

if TYPE_CHECKING:
    from torch import nn

DECIDED_BY_RECIPES = ("in_channels", "out_channels")
"""Arguments of networks that follow from what a recipe feeds them, not from the run file."""


class NetworkSettings(BaseModel):
    """Settings of a network: its fields are keyword arguments of the class `NETWORK` of its file.

    Attributes:
        name: of the network's file; a subclass fixes it as Literal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    name: str

    def options(self, **decided: int) -> dict[str, Any]:
        """The arguments by which `build_network` makes it, as JSON types.

        Args:
            decided: arguments that the recipe gives, such as in_channels.
        """
        return {**self.model_dump(mode="json", exclude={"name"}), **decided}

    def build(self, **decided: int) -> nn.Module:
        """The network with fresh weights."""
        return build_network(self.name, self.options(**decided))


def settings_of(
    name: str, network: type[nn.Module], limits: Mapping[str, Mapping[str, Any]] | None = None
) -> type[NetworkSettings]:
    """Settings with the arguments, types, defaults and "Args:" descriptions of a network's constructor.

    Args:
        name: of the network's file.
        network: its class.
        limits: argument -> what `pydantic.Field` calls its range ("ge", "lt", "min_length"), for forms and documents;
            the constructor checks as well.
    """
    described = dict(re.findall(r"^ {4,8}(\w+): (.+)$", inspect.getdoc(network) or "", re.MULTILINE))
    types = typing.get_type_hints(network.__init__)
    fields: dict[str, Any] = {"name": (Literal[name], Field(description="Which network."))}
    for argument, parameter in list(inspect.signature(network.__init__).parameters.items())[1:]:
        if argument in DECIDED_BY_RECIPES:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        text = described.get(argument, argument)
        text = text[:1].upper() + text[1:]
        fields[argument] = (
            types.get(argument, Any),
            Field(default=default, description=text, **(limits or {}).get(argument, {})),
        )
    summary = (inspect.getdoc(network) or name).split("\n")[0]
    return create_model(f"{network.__name__}Settings", __base__=NetworkSettings, __doc__=summary, **fields)
