"""Weights in the formats of other programs: a MONAI bundle, ONNX. Exports only; neither is ever read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctrestoration.errors import MissingDependencyError
from ctrestoration.files import atomic, atomic_folder, refuse_overwrite, write_json
from ctrestoration.models.weights import load_network


def export_bundle(path: Path, out: Path) -> dict[str, Any]:
    """Write a MONAI bundle: configs/metadata.json, configs/inference.json, models/model.pt, docs/README.md.

    The configuration names the network class of this package, so ctrestoration has to be installed where it is used.
    The weights are a plain state dictionary, readable with `weights_only=True`.

    Args:
        path: verified weights.
        out: folder of the bundle.

    Returns:
        The content of metadata.json.

    Raises:
        InputError, DataRefusedError: see `weights.read_weights`.
        OutputError: the folder cannot be written.
    """
    import torch

    network, about = load_network(path)
    metadata = _metadata(about)
    with atomic_folder(out) as folder:
        for name in ("configs", "models", "docs"):
            (folder / name).mkdir()
        write_json(folder / "configs" / "metadata.json", metadata)
        write_json(folder / "configs" / "inference.json", _inference(network, about))
        torch.save(network.state_dict(), folder / "models" / "model.pt")
        card = path.with_suffix(".md")
        text = card.read_text(encoding="utf-8") if card.is_file() else f"# {about.get('name')}\n"
        (folder / "docs" / "README.md").write_text(text, encoding="utf-8")
    return metadata


def export_onnx(path: Path, out: Path, size: int = 256) -> None:
    """Write an ONNX graph with any batch size, rows and columns.

    Args:
        path: verified weights.
        out: the .onnx file.
        size: rows and columns of the example that is traced.

    Raises:
        MissingDependencyError: the packages onnx and onnxscript are not installed.
        InputError, DataRefusedError: see `weights.read_weights`.
        OutputError: the file cannot be written.
    """
    from importlib.util import find_spec

    import torch

    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingDependencyError(package, "onnx", "Exporting to ONNX")
    refuse_overwrite(out, path)
    network, about = load_network(path)
    channels = int(about["network"]["options"].get("in_channels", 1))
    batch, rows, columns = (torch.export.Dim(name, min=2) for name in ("batch", "rows", "columns"))
    step = 2 ** (len(about["network"]["options"].get("widths", (1,))) - 1)
    with atomic(out) as part:
        program = torch.onnx.export(
            network,
            (torch.zeros(2, channels, size, size),),
            dynamo=True,
            input_names=["image"],
            output_names=["result"],
            # Sizes that the depth divides need no padding, which a traced graph could not decide about.
            dynamic_shapes=({0: batch, 2: step * rows, 3: step * columns},),
            verbose=False,
        )
        assert program is not None  # noqa: S101 - the new exporter always returns one
        program.save(str(part))


def _metadata(about: dict[str, Any]) -> dict[str, Any]:
    options = about["network"]["options"]
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported by ctrestoration"},
        "monai_version": "1.3.0",
        "pytorch_version": "2.2.0",
        "numpy_version": "1.26.0",
        "required_packages_version": {"ctrestoration": "0.1.0"},
        "task": str(about.get("task")),
        "description": "Research use only; not a medical device. See docs/README.md.",
        "authors": "CTRestoration contributors",
        "copyright": "Apache-2.0",
        "network_data_format": {
            "inputs": {"image": _format("image", int(options.get("in_channels", 1)), str(about.get("input")))},
            "outputs": {"pred": _format("image", int(options.get("out_channels", 1)), str(about.get("output")))},
        },
    }


def _format(kind: str, channels: int, description: str) -> dict[str, Any]:
    return {
        "type": kind,
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": channels,
        "spatial_shape": ["*", "*"],
        "dtype": "float32",
        "value_range": [-1.1, 35.0],
        "is_patch_data": False,
        "channel_def": {str(channel): description for channel in range(channels)},
    }


def _inference(network: Any, about: dict[str, Any]) -> dict[str, Any]:
    kind = type(network)
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{kind.__module__}.{kind.__qualname__}", **about["network"]["options"]},
        "weights": "$torch.load(@bundle_root + '/models/model.pt', map_location='cpu', weights_only=True)",
        "network": "$@network_def.to(@device).eval()",
        "load": "$@network_def.load_state_dict(@weights)",
    }
