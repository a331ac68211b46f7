"""The global random states of a process, as tensors that a checkpoint can hold without pickling."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctrestoration.training.keys import derive

State = dict[str, Tensor]


def seed_everything(*words: int | str) -> None:
    """Set every global generator from words; only dropout and layers of foreign networks use these."""
    number = derive(*words)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - foreign code may use it, so it has to be set and saved
    torch.manual_seed(number % 2**63)


def capture() -> State:
    """The state of Python's, NumPy's and PyTorch's global generators, CUDA devices included."""
    version, words, gauss = random.getstate()
    _name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, gauss is not None, *words], dtype=torch.int64),
        "numpy": torch.tensor([int(position), int(has_gauss), *(int(key) for key in keys)], dtype=torch.int64),
        "gauss": torch.tensor([gauss or 0.0, float(cached)], dtype=torch.float64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for index, device in enumerate(torch.cuda.get_rng_state_all()):
            state[f"cuda{index}"] = device
    return state


def restore(state: State) -> None:
    """Put the generators back where `capture` found them."""
    torch.set_rng_state(state["torch"].cpu())
    python = [int(word) for word in state["python"]]
    gauss, cached = (float(value) for value in state["gauss"])
    random.setstate((python[0], tuple(python[2:]), gauss if python[1] else None))
    numpy: list[Any] = [int(word) for word in state["numpy"]]
    keys = np.array(numpy[2:], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, numpy[0], numpy[1], cached))  # noqa: NPY002
    if torch.cuda.is_available():
        count = sum(name.startswith("cuda") for name in state)
        devices = [state[f"cuda{index}"].cpu() for index in range(count)]  # sorted by name, 10 would come before 2
        if devices:
            torch.cuda.set_rng_state_all(devices[: torch.cuda.device_count()])
