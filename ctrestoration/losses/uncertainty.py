"""The uncertainty-constraint (UC) loss: train hardest where a network's first epochs disagree.

A network is trained for a few epochs; the weights of those epochs, applied to one training image, disagree where the
image is hard (edges, streaks). Their pixelwise standard deviation, scaled to 0..1, weights the pixels of the loss with
which the network is then trained:

    U = Norm(std_i f(x; w_i)),  L = sqrt(mean_p W_p (f(x)_p - y_p)^2),  W = U or 1 + lambda U,
    or L = RMSE + lambda RMSE_U, with the plain root mean square error and the one weighted by U.

Any network will do:

    snapshots = Snapshots(network)
    for epoch in range(5):
        train_one_epoch(network)          # plain RMSE
        snapshots.take()
    for x, y in data:                     # from scratch, or going on
        u = snapshots.uncertainty(x)
        loss = weighted_rmse(network(x), y, pixel_weights(u)).mean()
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ctrestoration.errors import InputError

Weighting = Literal["u", "one_plus_u", "rmse_plus_u"]
_TINY = 1e-12
"""Under a root, so that its slope stays finite at 0."""


class Snapshots:
    """Weights of a network's first epochs, and what they disagree about.

    Args:
        network: the network in training; it is not changed.
        run: how the network is applied to what a batch holds; None: `network(inputs)`. It is called with the copies.
    """

    def __init__(self, network: nn.Module, run: Callable[[nn.Module, Tensor], Tensor] | None = None) -> None:
        self._network = network
        self._run = run or (lambda module, inputs: module(inputs))
        self.networks: list[nn.Module] = []

    def take(self) -> None:
        """Keep the present weights; call it after each of the first epochs."""
        self.add(copy.deepcopy(self._network))

    def add(self, network: nn.Module) -> None:
        """Keep a network with weights of an earlier epoch, e.g. read from a file."""
        self.networks.append(network.eval().requires_grad_(False))

    @torch.no_grad()
    def uncertainty(self, inputs: Tensor, exclude: Tensor | None = None, clip: float | None = None) -> Tensor:
        """U of every image of a batch; see `uncertainty_map`.

        Raises:
            InputError: fewer than two snapshots were taken.
        """
        refuse_few(len(self.networks))
        outputs = torch.stack([self._run(network, inputs).float() for network in self.networks])
        return uncertainty_map(outputs, exclude, clip)


def refuse_few(count: int) -> None:
    """Refuse to call the outputs of fewer than two snapshots uncertain.

    Args:
        count: how many there are; the spread of one is 0 everywhere.

    Raises:
        InputError: fewer than two.
    """
    if count < 2:
        raise InputError(f"Uncertainty needs the weights of at least two epochs, not {count}.")


def uncertainty_map(outputs: Tensor, exclude: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Standard deviation over snapshots, each image scaled to 0..1 by its own minimum and maximum.

    Args:
        outputs: [snapshot, sample, channel, row, column].
        exclude: [sample, 1 or channel, row, column], 1 where pixels (metal) take no part: U is 0 there.
        clip: quantile 0..1 above which values count as the maximum, against single bright pixels; None: no clipping.

    Returns:
        float32 [sample, channel, row, column]; 0 everywhere where an image has no spread at all.

    Raises:
        InputError: fewer than two snapshots.
    """
    refuse_few(len(outputs))
    spread = outputs.float().std(dim=0, correction=0)
    counted = torch.ones_like(spread, dtype=torch.bool)
    if exclude is not None:
        counted = (exclude < 0.5).expand_as(spread)
    flat, inside = spread.flatten(1), counted.flatten(1)
    low = flat.masked_fill(~inside, torch.inf).amin(dim=1)
    high = flat.masked_fill(~inside, -torch.inf).amax(dim=1)
    if clip is not None:
        high = torch.stack(
            [
                torch.quantile(values[chosen], clip) if chosen.any() else top
                for values, chosen, top in zip(flat, inside, high, strict=True)
            ]
        )
    width = high - low
    even = ~(width > 0)
    scaled = (flat - low[:, None]) / torch.where(even, torch.ones_like(width), width)[:, None]
    scaled = scaled.clamp(0.0, 1.0).masked_fill(even[:, None] | ~inside, 0.0)
    return scaled.reshape(spread.shape)


def pixel_weights(
    uncertainty: Tensor,
    weighting: Weighting = "one_plus_u",
    strength: float = 1.0,
    normalized: bool = True,
    counted: Tensor | None = None,
) -> Tensor:
    """W of every pixel.

    Args:
        uncertainty: U [sample, channel, row, column] in 0..1.
        weighting: "u" takes U itself (flat tissue is then hardly supervised); "one_plus_u" 1 + strength U;
            "rmse_plus_u" as "u": `weighted_rmse` adds the plain loss, and there its lambda is given.
        strength: lambda of "one_plus_u".
        normalized: divide by the mean weight of each image, so that a gain is no hidden change of the learning rate.
        counted: [sample, 1 or channel, row, column], 1 where pixels count for that mean.

    Raises:
        InputError: a strength other than 1 where it is no part of the weights.
    """
    if weighting != "one_plus_u" and strength != 1.0:
        raise InputError(f"Only the weights one_plus_u have a strength, {weighting} has none: leave it at 1.")
    weights = strength * uncertainty + 1.0 if weighting == "one_plus_u" else uncertainty
    if not normalized:
        return weights
    means = counted_mean(weights, counted)
    return weights / torch.where(means > 0, means, torch.ones_like(means))[:, None, None, None]


def weighted_rmse(
    output: Tensor,
    target: Tensor,
    weights: Tensor,
    counted: Tensor | None = None,
    *,
    on: Literal["squared_error", "residual"] = "squared_error",
    beside_plain: float | None = None,
) -> Tensor:
    """The UC loss of every image.

    Args:
        output: [sample, channel, row, column].
        target: same shape.
        weights: W, same shape.
        counted: 1 where pixels count (outside metal), [sample, 1 or channel, row, column]; None: everywhere.
        on: whether W multiplies the squared error or the residual (then its square counts).
        beside_plain: lambda of "rmse_plus_u": the result is RMSE + lambda RMSE_W; None: RMSE_W alone.

    Returns:
        [sample], differentiable.
    """
    error = (output.float() - target.float()) ** 2
    loss = torch.sqrt(counted_mean(_factor(weights, on) * error, counted) + _TINY)
    if beside_plain is None:
        return loss
    return beside_plain * loss + torch.sqrt(counted_mean(error, counted) + _TINY)


def squared_error_factor(
    weights: Tensor, on: Literal["squared_error", "residual"] = "squared_error", beside_plain: float | None = None
) -> Tensor:
    """What multiplies each squared error in a loss without a root, as those of unrolled networks are.

    Args:
        weights: W, any shape.
        on: see `weighted_rmse`.
        beside_plain: lambda: MSE + lambda MSE_W is the mean of (1 + lambda W) times the squared error.
    """
    factor = _factor(weights, on)
    return factor if beside_plain is None else 1.0 + beside_plain * factor


def _factor(weights: Tensor, on: Literal["squared_error", "residual"]) -> Tensor:
    return weights if on == "squared_error" else weights**2


def shuffled(uncertainty: Tensor, seed: Sequence[int]) -> Tensor:
    """Control: the same values at random pixels of the same image; `seed` holds one number for each image."""
    rows = []
    for values, number in zip(uncertainty.flatten(1), seed, strict=True):
        generator = torch.Generator().manual_seed(int(number) % 2**63)
        rows.append(values[torch.randperm(len(values), generator=generator).to(values.device)])
    return torch.stack(rows).reshape(uncertainty.shape)


def gradient_map(image: Tensor, exclude: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Control: size of the image gradient, scaled as U is; no training is needed for it.

    Args:
        image: [sample, channel, row, column], as the network sees it: metal beyond the scanner's scale would else leave
            a gradient beside it that makes all others small.
        exclude: see `uncertainty_map`.
        clip: see `uncertainty_map`.
    """
    down, right = torch.zeros_like(image), torch.zeros_like(image)
    down[..., 1:-1, :] = (image[..., 2:, :] - image[..., :-2, :]) / 2
    right[..., 1:-1] = (image[..., 2:] - image[..., :-2]) / 2
    size = torch.sqrt(down**2 + right**2)
    return uncertainty_map(torch.stack([size, -size]), exclude, clip)


def error_map(output: Tensor, target: Tensor, exclude: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Control: the last snapshot's own error, scaled as U is; see `uncertainty_map`."""
    error = (output - target).abs()
    return uncertainty_map(torch.stack([error, -error]), exclude, clip)


def counted_mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean over the pixels of each sample that count (from 0.5 on) [sample]; 0 where none counts."""
    if counted is None:
        return values.flatten(1).mean(dim=1)
    mask = (counted >= 0.5).expand_as(values).to(values.dtype)
    return (values * mask).flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1.0)
