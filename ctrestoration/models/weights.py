"""Reading and writing weights. Only safetensors: a file of it holds numbers and text, nothing that could run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrestoration.errors import InputError, MissingDependencyError
from ctrestoration.jobs.durable import replace_file, replace_text, sha256_of
from ctrestoration.jobs.outcome import DataRefusedError

if TYPE_CHECKING:
    from torch import Tensor, nn

_HEADER = "ctrestoration"


def save_weights(module: nn.Module, path: Path, about: dict[str, Any], card: str) -> None:
    """Write weights, their card and their digest side by side: x.safetensors, x.md, x.safetensors.sha256.

    Args:
        module: whose parameters and buffers are written.
        path: ends in .safetensors.
        about: JSON-serializable facts, kept in the header of the file; "network" says how to build the module again.
        card: for people.

    Raises:
        OSError: the files cannot be written; older ones are untouched.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    payload = save(tensors, metadata={_HEADER: json.dumps(about, sort_keys=True)})
    replace_file(path, lambda part: _write(part, payload))
    replace_text(path.with_suffix(".md"), card)
    replace_text(_sidecar(path), f"{sha256_of(path)} {len(payload)} {path.name}\n")


def verify(path: Path) -> str:
    """The SHA-256 of a weights file that matches its sidecar.

    Raises:
        InputError: there is no such file, or it is not safetensors.
        DataRefusedError: no sidecar, or the content differs from what it says.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is not a .safetensors file: other formats of weights can run code when they are opened and are "
            "not read."
        )
    if not path.is_file():
        raise InputError(f"There is no weights file {path}.")
    try:
        expected = _sidecar(path).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise DataRefusedError(
            f"{path} has no digest beside it ({_sidecar(path).name}): it cannot be trusted."
        ) from error
    found = sha256_of(path)
    if found != expected:
        raise DataRefusedError(
            f"{path} is damaged or was changed: its SHA-256 is {found[:12]}..., not {expected[:12]}..."
        )
    return found


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the facts in the header, of a verified file.

    Raises:
        InputError, DataRefusedError: see `verify`; also a header that is not ours.
        MissingDependencyError: safetensors or torch is not installed.
    """
    verify(path)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingDependencyError("safetensors", "torch", "Reading network weights") from error
    try:
        with safe_open(path, framework="pt") as stream:
            about = json.loads((stream.metadata() or {}).get(_HEADER, "null"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, ValueError) as error:
        raise DataRefusedError(f"{path} is not a safetensors file: {error}.") from error
    if not isinstance(about, dict):
        raise DataRefusedError(f"{path} was not written by ctrestoration: its header does not say which network it is.")
    return tensors, about


def load_into(module: nn.Module, path: Path, expected: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Load verified weights into a network that has the same shape; returns the facts in the header.

    Args:
        module: the network.
        path: the file.
        expected: facts that have to be the header's, where it has them: networks of one shape may be fed differently,
            or answer in another unit.

    Raises:
        InputError: the weights belong to another network, or were trained for something else.
    """
    tensors, about = read_weights(path)
    for key, value in (expected or {}).items():
        if key in about and about[key] != value:
            raise InputError(
                f"{path} was trained with {key} {about[key]}, here it is {value}: it would answer nonsense."
            )
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        said = str(error).splitlines()
        raise InputError(f"{path} does not fit the network: {said[1].strip() if len(said) > 1 else said[0]}") from error
    return about


def load_network(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that a weights file describes and load it, in evaluation mode."""
    from ctrestoration.networks import build_network

    _, about = read_weights(path)
    description = about["network"]
    network = build_network(description["name"], description["options"])
    load_into(network, path)
    return network.eval(), about


def load_copies(paths: Sequence[Path], module: nn.Module) -> list[nn.Module]:
    """Frozen copies of a network, in evaluation mode, with the verified weights of each file; on its own device.

    Raises:
        InputError: a file is missing, or its weights belong to another network.
        DataRefusedError: a file is damaged.
    """
    from safetensors.torch import load_file

    copies = []
    for path in paths:
        verify(path)
        frozen = copy.deepcopy(module)
        try:
            frozen.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise InputError(f"{path} does not fit the network: {str(error).splitlines()[-1].strip()}") from error
        copies.append(frozen.eval().requires_grad_(False))
    return copies


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)
