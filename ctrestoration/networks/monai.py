"""Networks of MONAI (Apache-2.0), by the name of their class."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ctrestoration.errors import InputError, MissingDependencyError


class MonaiNetwork(nn.Module):
    """A network of MONAI.

    Args:
        kind: class name in monai.networks.nets, such as BasicUNet or SegResNet.
        arguments: its own arguments; dimensions (2) and numbers of channels are filled in.
        multiple: image sizes are padded to multiples of this, and cut again.
        in_channels: channels of the input image.
        out_channels: channels of the output.

    Raises:
        InputError: no such network, or arguments that it does not take.
        MissingDependencyError: MONAI is not installed.
    """

    def __init__(
        self,
        kind: str = "BasicUNet",
        arguments: dict[str, Any] | None = None,
        multiple: int = 32,
        in_channels: int = 1,
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        self.multiple = multiple
        try:
            nets = importlib.import_module("monai.networks.nets")
        except ImportError as error:
            raise MissingDependencyError("monai", "torch", "A network of MONAI") from error
        # Only what the module itself offers as networks: a name never reaches functions or other modules.
        found = getattr(nets, kind, None) if kind.isidentifier() else None
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise InputError(f"MONAI has no network {kind!r} in monai.networks.nets: BasicUNet, SegResNet, ... are.")
        decided = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": out_channels}
        try:
            self.inside = found(**{**(arguments or {}), **decided})
        except (TypeError, ValueError) as error:
            raise InputError(f"MONAI's {kind} cannot be built with {arguments or {}}: {error}.") from error

    def forward(self, image: Tensor) -> Tensor:
        """[sample, in_channels, row, column] to [sample, out_channels, row, column]."""
        rows, columns = image.shape[-2:]
        below, right = -rows % self.multiple, -columns % self.multiple
        padded = functional.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        answer = self.inside(padded)
        if isinstance(answer, (list, tuple)):  # deep supervision: the first is the full size
            answer = answer[0]
        result: Tensor = answer[..., :rows, :columns]
        return result


NETWORK = MonaiNetwork
KIND = "image"
LIMITS = {"multiple": {"ge": 1, "le": 256}}
