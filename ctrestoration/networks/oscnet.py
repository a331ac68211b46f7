"""OSCNet and OSCNet+: DICDNet whose filters are few shapes in eight orientations, as streaks are.

Wang et al., "Orientation-shared convolution representation for CT metal artifact learning", MICCAI 2022; OSCNet+
(IEEE TMI 43 (2024) 502) predicts the shapes from each image anew.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrestoration.networks._rotated import ORIENTATIONS, rotated_basis
from ctrestoration.networks.dicdnet import FILTER_SIZE, FILTERS, DICDNet

SHAPES = FILTERS // ORIENTATIONS

_ROW_FLOOR = 1e-6
"""Added to each coefficient, so that a shape of which the ReLU leaves nothing still has unit length."""


class OSCNet(DICDNet):
    """See the module's docstring.

    Args:
        stages: N.
        blocks: residual blocks of every proximal network.
        adaptive: predict the filters from the image (OSCNet+), at each stage anew.
    """

    basis: Tensor

    def __init__(self, stages: int = 10, blocks: int = 3, adaptive: bool = False) -> None:
        self._adaptive = adaptive
        super().__init__(stages, blocks)

    def _make_filters(self) -> None:
        self.register_buffer("basis", rotated_basis(FILTER_SIZE), persistent=False)
        functions = self.basis.shape[-1]
        self.first_coefficients = nn.Parameter(0.1 * torch.randn(SHAPES, functions))
        if self._adaptive:
            self.shapes = _ShapeNetwork(functions)
        else:
            self.coefficients = nn.Parameter(0.1 * torch.randn(SHAPES, functions))

    def dictionary(self, image: Tensor, artifact_image: Tensor) -> Tensor:
        """See `DICDNet.dictionary`."""
        if self._adaptive:
            return self._turned(self.shapes(image, artifact_image))
        return self._turned(self.coefficients[None])

    def first_dictionary(self) -> Tensor:
        """See `DICDNet.first_dictionary`."""
        return self._turned(self.first_coefficients[None])

    def _turned(self, coefficients: Tensor) -> Tensor:
        """[sample, shape, function] -> filters / 10 [sample, shape * orientation, row, column]."""
        return torch.einsum("bsf,rhwf->bsrhw", coefficients, self.basis).flatten(1, 2) / 10


class _ShapeNetwork(nn.Module):
    """Coefficients of the filter shapes from the present estimate and the uncorrected image."""

    def __init__(self, functions: int) -> None:
        super().__init__()
        self.functions = functions
        self.layers = nn.ModuleList(nn.Conv2d(source, 6, 3, padding=1) for source in (2, 6, 6))
        self.head = nn.Linear(6, SHAPES * functions)

    def forward(self, image: Tensor, artifact_image: Tensor) -> Tensor:
        """[sample, shape, function], not negative, each row of unit length."""
        features = torch.cat([image, artifact_image], dim=1) / 255
        for layer in self.layers:
            features = torch.relu(layer(features))
        coefficients = self.head(features.mean(dim=(2, 3))).unflatten(1, (SHAPES, self.functions))
        return functional.normalize(torch.relu(coefficients) + _ROW_FLOOR, dim=2)


NETWORK = OSCNet
KIND = "dictionary"
