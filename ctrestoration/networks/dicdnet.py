"""DICDNet: the artifact as a sum of learned filters convolved with sparse feature maps, unrolled in the image domain.

Wang et al., "DICDNet: deep interpretable convolutional dictionary network for metal artifact reduction in CT images",
IEEE TMI 41 (2022) 869, Eq. 7-13: outside the metal Y = X + A, A = sum_n C_n (*) M_n.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ctrestoration.errors import InputError
from ctrestoration.networks._blocks import DUAL_CHANNELS, DualStart, ResidualStack, split, step_sizes

FILTERS, FILTER_SIZE = 32, 9


class ImageDomainResult(NamedTuple):
    """What each stage says: X_0 (the start), X_1 ... X_N, and the final refinement last; artifacts of stages 1 ... N.

    Attributes:
        images: network images [sample, 1, row, column].
        artifacts: A_1 ... A_N, same shape.
    """

    images: list[Tensor]
    artifacts: list[Tensor]


class DICDNet(nn.Module):
    """See the module's docstring; network units as in `networks._operator`.

    Args:
        stages: N.
        blocks: residual blocks of every proximal network. The published setting has 1,277,332 parameters.

    Raises:
        InputError: fewer than one stage or block.
    """

    def __init__(self, stages: int = 10, blocks: int = 3) -> None:
        super().__init__()
        if stages < 1 or blocks < 1:
            raise InputError(f"DICDNet takes 1 or more stages and blocks, not {stages} and {blocks}.")
        channels = DUAL_CHANNELS + 1
        self._make_filters()
        self.start = DualStart(ResidualStack(channels, blocks))
        self.map_steps = nn.ModuleList(ResidualStack(FILTERS, blocks) for _ in range(stages))
        self.image_steps = nn.ModuleList(ResidualStack(channels, blocks) for _ in range(stages))
        self.final = ResidualStack(channels, blocks)
        self.thresholds = nn.ParameterList(nn.Parameter(torch.full((FILTERS, 1, 1), 0.5)) for _ in range(stages))
        self.first_threshold = step_sizes(1, 1.0)
        # The first stage starts the maps instead of moving them.
        self.eta_maps = step_sizes(stages - 1, 1.0)
        self.eta_image = step_sizes(stages, 5.0)

    def _make_filters(self) -> None:
        """Learnable filters, shared by the stages, and those of the start."""
        self.filters = nn.Parameter(0.1 * torch.randn(1, FILTERS, FILTER_SIZE, FILTER_SIZE))
        self.first_filters = nn.Parameter(0.1 * torch.randn(1, FILTERS, FILTER_SIZE, FILTER_SIZE))

    def dictionary(self, image: Tensor, artifact_image: Tensor) -> Tensor:
        """C / 10 [1 or sample, FILTERS, row, column] for the present estimate."""
        return self.filters / 10

    def first_dictionary(self) -> Tensor:
        """C_0 / 10, for the start."""
        return self.first_filters / 10

    def forward(self, image: Tensor, image_li: Tensor, outside: Tensor) -> ImageDomainResult:
        """Every stage's image and artifact.

        Args:
            image: the uncorrected image Y [sample, 1, row, column], network units.
            image_li: the LI-corrected image, same shape.
            outside: I, 1 outside metal, else 0, same shape.
        """
        clean, dual = self.start(image_li)
        result = ImageDomainResult([clean], [])
        maps = self._first_maps(image, clean, outside)
        for stage, image_step in enumerate(self.image_steps):
            filters = self.dictionary(clean, image)
            if stage:
                error = outside * (synthesize(filters, maps) + clean - image)
                moved = maps - self.eta_maps[stage - 1] / 10 * analyze(filters, error)
                maps = self._sparse(stage, moved)
            artifact = synthesize(filters, maps)
            weight = self.eta_image[stage] / 10 * outside
            moved = (1 - weight) * clean + weight * (image - artifact)
            clean, dual = split(image_step(torch.cat([moved, dual], dim=1)))
            result.images.append(clean)
            result.artifacts.append(artifact)
        final, _ = split(self.final(torch.cat([clean, dual], dim=1)))
        result.images.append(final)
        return result

    def _first_maps(self, image: Tensor, clean: Tensor, outside: Tensor) -> Tensor:
        bright = torch.relu(outside * (image - clean) - self.first_threshold)
        return self._sparse(0, analyze(self.first_dictionary(), bright))

    def _sparse(self, stage: int, maps: Tensor) -> Tensor:
        return torch.relu(self.map_steps[stage](maps) - self.thresholds[stage])


def synthesize(filters: Tensor, maps: Tensor) -> Tensor:
    """sum_n C_n (*) M_n: maps [sample, n, row, column] -> [sample, 1, row, column]; filters may differ by sample."""
    if len(filters) == 1:
        return functional.conv2d(maps, filters, padding=FILTER_SIZE // 2)
    samples, count, rows, columns = maps.shape
    summed = functional.conv2d(
        maps.reshape(1, samples * count, rows, columns), filters, padding=FILTER_SIZE // 2, groups=samples
    )
    return summed.reshape(samples, 1, rows, columns)


def analyze(filters: Tensor, image: Tensor) -> Tensor:
    """The transpose of `synthesize`: [sample, 1, row, column] -> [sample, n, row, column]."""
    # Convolution with turned filters is the same as `conv_transpose2d`, at a third of its time on a CPU.
    turned = filters.flip(-2, -1).flatten(0, 1).unsqueeze(1)
    samples, _, rows, columns = image.shape
    if len(filters) == 1:
        return functional.conv2d(image, turned, padding=FILTER_SIZE // 2)
    spread = functional.conv2d(
        image.reshape(1, samples, rows, columns), turned, padding=FILTER_SIZE // 2, groups=samples
    )
    return spread.reshape(samples, filters.shape[1], rows, columns)


NETWORK = DICDNet
KIND = "dictionary"
