"""Gradient surgery by torchjd (MIT): weights of losses whose gradients do not agree."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ctrestoration.errors import MissingDependencyError

SurgeryMethod = Literal["upgrad", "mgda", "pcgrad"]
Weighting = Callable[[Tensor], Tensor]


def weighting(method: SurgeryMethod, losses: int) -> Weighting:
    """What gives each of several losses its weight, 0 or more, from the inner products [loss, loss] of their gradients.

    Args:
        method: "upgrad": each gradient projected until it hinders no other one, then their sum (Quinton and Rey, arXiv
            2406.16232); "mgda": the shortest of all weighted means (Sener and Koltun, NeurIPS 2018); "pcgrad": what
            points against another gradient is taken away, in random order (Yu et al., NeurIPS 2020), drawn from the
            global generator, which checkpoints hold.
        losses: how many there are.

    Raises:
        MissingDependencyError: torchjd is not installed.
    """
    if find_spec("torchjd") is None:
        raise MissingDependencyError("torchjd", "surgery", "Gradient surgery")
    from torchjd import aggregation

    by_gramian: Weighting
    if method == "upgrad":
        by_gramian = aggregation.UPGradWeighting(torch.ones(losses, dtype=torch.float64), _projector())
    else:
        by_gramian = aggregation.MGDAWeighting() if method == "mgda" else aggregation.PCGradWeighting()

    def weights(gramian: Tensor) -> Tensor:
        counted = gramian.diagonal() > 0
        answer = torch.zeros_like(gramian.diagonal())
        if bool(counted.all()):
            answer = by_gramian(gramian)
        elif bool(counted.any()):
            # A loss without gradient has no say: with it, the shortest mean would be no step at all.
            inside = gramian[counted][:, counted]
            answer[counted] = weighting(method, len(inside))(inside)
        return answer

    return weights


def gramian_of(gradients: list[list[Tensor]]) -> Tensor:
    """Inner products [loss, loss] of gradients by loss and parameter, in double precision on the CPU."""
    products = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for n, one in enumerate(gradients):
        for m, other in enumerate(gradients[: n + 1]):
            product = torch.stack([(a.double() * b.double()).sum() for a, b in zip(one, other, strict=True)]).sum()
            products[n, m] = products[m, n] = product.cpu()
    return products


def _projector() -> Any:
    """The solver that UPGrad needs. torchjd's own one takes quadprog, which is under the GPL."""
    from torchjd.linalg import DualConeProjector

    class NonNegativeLeastSquares(DualConeProjector):  # type: ignore[misc]
        """min v'Gv with v >= u, by v = u + s: non-negative least squares in s."""

        def __call__(self, U: Tensor, G: Tensor) -> Tensor:
            from scipy.optimize import nnls

            gramian = G.detach().cpu().double().numpy()
            # Two equal gradients make it singular.
            root = np.linalg.cholesky(gramian + 1e-9 * np.trace(gramian) * np.eye(len(gramian))).T
            found = [u + nnls(root, -root @ u)[0] for u in U.detach().cpu().double().numpy()]
            return torch.as_tensor(np.stack(found), device=G.device, dtype=G.dtype)

    return NonNegativeLeastSquares()
