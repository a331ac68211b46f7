"""What a task network is trained for and judged by: segmentation, classification, detection behind one protocol.

Every head takes its truth from the class numbers of a slice, "labels" [sample, 1, row, column].
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ctrestoration.evaluate.task_scores import Empty, class_dice
from ctrestoration.training.method import Batch


class Head(Protocol):
    """A task on images.

    Attributes:
        channels: outputs that the task network needs.
        metric: which of the scores decides; higher is better.
    """

    channels: int
    metric: str

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """Scalar, differentiable: what the network answered (before any activation) against the truth."""
        ...

    def scores(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Scores [sample]; never a loss."""
        ...


class Segmentation:
    """Multi-class segmentation: Dice loss on softmax probabilities, alone or with cross-entropy.

    Dice as in arXiv 2511.07094, Eq. 7 and 8: plain sums in the denominator, each image by itself, mean over classes;
    MONAI's DiceLoss with `squared_pred=False, batch=False`.

    Args:
        labels: for each output of the network the class number it stands for; 0 is background. None: a class that the
            data do not label: it stays out of every loss and score.
        loss: "dice" or "dice_ce".
        background: whether background counts in the Dice loss (never in the score).
        smooth: added to numerator and denominator.
        empty: rule of the score for classes that a slice does not have, see `evaluate.task_scores`.
    """

    metric = "dice"

    def __init__(
        self,
        labels: tuple[int | None, ...],
        loss: str = "dice_ce",
        background: bool = False,
        smooth: float = 1e-5,
        empty: Empty = "drop",
    ) -> None:
        self.labels, self.kind, self.background, self.smooth, self.empty = labels, loss, background, smooth, empty
        self.channels = len(labels)
        self.counted = [n for n, label in enumerate(labels) if label is not None and (background or label)]

    @cached_property
    def _dice(self) -> Any:
        from monai.losses import DiceLoss

        # Activation and background are dealt with here: MONAI's softmax and background options act on all channels.
        return DiceLoss(include_background=True, squared_pred=False, smooth_nr=self.smooth, smooth_dr=self.smooth)

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """See `Head.loss`."""
        answer = answer.float()
        truth = self._one_hot(batch["labels"])
        probabilities = torch.softmax(answer, dim=1)
        dice: Tensor = self._dice(probabilities[:, self.counted], truth[:, self.counted])
        return dice if self.kind == "dice" else dice + self._cross_entropy(answer, truth)

    def scores(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Mean hard Dice without background; a slice without any class counts by the rule, else as 0."""
        found = np.array([-1 if label is None else label for label in self.labels])[answer.argmax(dim=1).cpu().numpy()]
        truth = batch["labels"][:, 0].round().long().cpu().numpy()
        classes = [label for label in self.labels if label]
        values = []
        for one, other in zip(found, truth, strict=True):
            each = class_dice(one, other, classes, self.empty)
            values.append(float(np.nanmean(each)) if np.isfinite(each).any() else 0.0)
        return {"dice": answer.new_tensor(values, dtype=torch.float32)}

    def _one_hot(self, labels: Tensor) -> Tensor:
        numbers = torch.tensor([-1 if label is None else label for label in self.labels], device=labels.device)
        return (labels.round() == numbers.view(1, -1, 1, 1)).to(torch.float32)

    def _cross_entropy(self, answer: Tensor, truth: Tensor) -> Tensor:
        """Over the pixels whose class is one of the outputs."""
        known = truth.sum(1)
        entropy = -(truth * torch.log_softmax(answer, dim=1)).sum(1)
        return entropy.sum() / known.sum().clamp(min=1)


class Classification:
    """Which classes a slice shows: one binary cross-entropy each.

    Args:
        labels: the class number of each output.
        least_pixels: a class is there from so many pixels on.
    """

    metric = "accuracy"

    def __init__(self, labels: tuple[int, ...], least_pixels: int = 1) -> None:
        self.labels, self.least_pixels = labels, least_pixels
        self.channels = len(labels)

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """See `Head.loss`."""
        return functional.binary_cross_entropy_with_logits(answer.float(), self._truth(batch))

    def scores(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Share of the classes that are right."""
        right = (answer > 0) == (self._truth(batch) > 0.5)
        return {"accuracy": right.float().mean(dim=1)}

    def _truth(self, batch: Batch) -> Tensor:
        labels = batch["labels"].round()
        counts = torch.stack([(labels == number).flatten(1).sum(1) for number in self.labels], dim=1)
        return (counts >= self.least_pixels).float()


class Detection:
    """Where objects are: a map that peaks at the center of each connected object of a class.

    Zhou, Wang, Kraehenbuehl, "Objects as points", arXiv 1904.07850, Eq. 1: penalty-reduced focal loss on Gaussian
    peaks (alpha 2, beta 4), centers only.

    Args:
        labels: the class number of each output.
        sigma: of the peaks, in pixels.
        reach: a peak within so many pixels of a center has found it.
        threshold: probability above which a local maximum counts.
    """

    metric = "f1"

    def __init__(self, labels: tuple[int, ...], sigma: float = 2.0, reach: float = 4.0, threshold: float = 0.3) -> None:
        self.labels, self.sigma, self.reach, self.threshold = labels, sigma, reach, threshold
        self.channels = len(labels)

    def loss(self, answer: Tensor, batch: Batch) -> Tensor:
        """See `Head.loss`."""
        # Begins where every pixel says "probably nothing", as the source initializes its bias.
        answer = answer.float() + math.log(0.1 / 0.9)
        truth = self._heat(batch).to(answer)
        found, log_found = torch.sigmoid(answer), functional.logsigmoid(answer)
        peak = (truth == 1).to(answer)
        positive = peak * (1 - found) ** 2 * log_found
        negative = (1 - peak) * (1 - truth) ** 4 * found**2 * functional.logsigmoid(-answer)
        return -(positive + negative).sum() / peak.sum().clamp(min=1)

    def scores(self, answer: Tensor, batch: Batch) -> dict[str, Tensor]:
        """F1 of peaks against centers, 1 where there is nothing and nothing was found."""
        found = torch.sigmoid(answer.float() + math.log(0.1 / 0.9))
        peaks = (found == functional.max_pool2d(found, 3, 1, 1)) & (found > self.threshold)
        values = []
        for n in range(len(found)):
            right = all_found = all_true = 0
            for channel, number in enumerate(self.labels):
                centers = _centers(batch["labels"][n, 0], number)
                places = peaks[n, channel].nonzero().cpu().numpy().astype(float)
                right += _matches(places, centers, self.reach)
                all_found, all_true = all_found + len(places), all_true + len(centers)
            values.append(2 * right / (all_found + all_true) if all_found + all_true else 1.0)
        return {"f1": answer.new_tensor(values, dtype=torch.float32)}

    def _heat(self, batch: Batch) -> Tensor:
        samples, _, rows, columns = batch["labels"].shape
        y, x = np.mgrid[:rows, :columns]
        heat = np.zeros((samples, self.channels, rows, columns), dtype=np.float32)
        for n in range(samples):
            for channel, number in enumerate(self.labels):
                for row, column in np.rint(_centers(batch["labels"][n, 0], number)):
                    peak = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * self.sigma**2))
                    np.maximum(heat[n, channel], peak, out=heat[n, channel])
        return torch.from_numpy(heat)


def _centers(labels: Tensor, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(row, column) of the centers of the connected parts of a class."""
    from scipy.ndimage import center_of_mass, label

    parts, count = label((labels.round() == number).cpu().numpy(), np.ones((3, 3)))
    centers = center_of_mass(np.ones(parts.shape), parts, range(1, count + 1)) if count else []
    return np.array(centers, dtype=np.float64).reshape(-1, 2)


def _matches(places: Any, centers: Any, reach: float) -> int:
    """How many centers have a peak of their own within reach, nearest pairs first."""
    if not len(places) or not len(centers):
        return 0
    distance = np.linalg.norm(places[:, None] - centers[None], axis=-1)
    count = 0
    while distance.min() <= reach:
        a, b = np.unravel_index(distance.argmin(), distance.shape)
        distance[a, :] = distance[:, b] = np.inf
        count += 1
    return count
