"""A small network that says what a slice shows: strided convolutions, then the mean over the image."""

from __future__ import annotations

from torch import Tensor, nn

from ctrestoration.errors import InputError


class Classifier(nn.Module):
    """One number for each class, before the sigmoid.

    Args:
        widths: channels by level; each halves rows and columns.
        in_channels: channels of the input image.
        out_channels: number of classes.

    Input [sample, in_channels, row, column], output [sample, out_channels]. Layer normalization: no statistics of
    the training data, so that a frozen one has no hidden state.

    Raises:
        InputError: no level, or one of no channels.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 64), in_channels: int = 1, out_channels: int = 1) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise InputError(f"A classifier needs at least one level of at least one channel, not {tuple(widths)}.")
        layers: list[nn.Module] = []
        channels = in_channels
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(1, width), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        result: Tensor = self.head(self.features(image).mean(dim=(-2, -1)))
        return result


NETWORK = Classifier
KIND = "classifier"
LIMITS = {"widths": {"min_length": 1, "max_length": 7}}
