"""Weights of epochs that a later stage looks at again: safetensors in the run's folder `snapshots`, with digests.

For recipes: `save` in `Method.epoch_end`, `load` in `Method.enter`. Repeated after a kill, the same bytes are written.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ctrestoration.jobs.durable import replace_file, replace_text, sha256_of
from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.jobs.rundir import RunDirectory
from ctrestoration.models.weights import load_copies


def save(run: RunDirectory, stage: str, epoch: int, module: nn.Module) -> Path:
    """Write the present weights of a module.

    Raises:
        OSError: it cannot be written; an older file is untouched.
    """
    from safetensors.torch import save as serialize

    path = run.snapshots / f"{stage}-{epoch:04d}.safetensors"
    payload = serialize({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()})
    replace_file(path, lambda part: _write(part, payload))
    replace_text(path.with_name(path.name + ".sha256"), f"{sha256_of(path)} {len(payload)} {path.name}\n")
    return path


def load(run: RunDirectory, stage: str, module: nn.Module) -> list[nn.Module]:
    """Frozen copies of a module with the weights of a stage's epochs, oldest first, on the module's device.

    Raises:
        DataRefusedError: there are none, or one is damaged.
    """
    copies = load_copies(sorted(run.snapshots.glob(f"{stage}-*.safetensors")), module)
    if not copies:
        raise DataRefusedError(f"{run.snapshots} holds no snapshots of stage {stage!r}.")
    return copies


def _write(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)
