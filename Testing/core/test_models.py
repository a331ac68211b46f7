"""Weights: bitwise round trip, damage and foreign formats refused, exports that compute the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="weights need PyTorch")
pytest.importorskip("safetensors", reason="weights are safetensors files")

from ctrestoration.cli.main import main  # noqa: E402
from ctrestoration.errors import InputError  # noqa: E402
from ctrestoration.jobs.outcome import DataRefusedError  # noqa: E402
from ctrestoration.models.card import card_text  # noqa: E402
from ctrestoration.models.weights import load_into, load_network, save_weights, verify  # noqa: E402
from ctrestoration.networks import build_network  # noqa: E402

OPTIONS = {"widths": [4, 8, 8], "in_channels": 1, "out_channels": 1, "norm": "batch", "dropout": 0.0}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_network("unet", OPTIONS)
    network(torch.randn(4, 1, 16, 16))  # running statistics other than at the start
    about = {
        "name": "small",
        "task": "mar",
        "network": {"name": "unet", "options": OPTIONS},
        "input": "CT",
        "output": "CT",
    }
    path = tmp_path / "small.safetensors"
    save_weights(network, path, about, card_text(about))
    expected = network.eval()(torch.ones(1, 1, 16, 16))
    loaded, said = load_network(path)
    assert torch.equal(loaded(torch.ones(1, 1, 16, 16)), expected)
    assert said == about
    return path


def test_unet_has_the_published_size() -> None:
    network = build_network("unet", {"in_channels": 2})
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_351_969


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (16, 16), (33, 20)])
def test_unet_keeps_any_size(shape: tuple[int, int]) -> None:
    network = build_network("unet", OPTIONS).eval()
    assert network(torch.zeros(1, 1, *shape)).shape == (1, 1, *shape)


def test_list_and_verify(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--runs", str(weights.parent), "--json"]) == 0
    (model,) = [entry for entry in json.loads(capsys.readouterr().out)["models"] if entry["name"] == "small"]
    assert set(model) == {"name", "task", "file", "sha256", "size_mb", "card"}
    assert Path(model["card"]).read_text().startswith("# small")
    assert main(["models", "verify", str(weights)]) == 0
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(["models", "verify", str(weights)]) == 3
    with pytest.raises(DataRefusedError, match="SHA-256"):
        load_network(weights)


def test_other_formats_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"anything")
    with pytest.raises(InputError, match="can run code"):
        verify(path)


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(InputError, match="does not fit"):
        load_into(build_network("unet", {**OPTIONS, "widths": [4, 4]}), weights)


def test_bundle_computes_the_same(weights: Path, tmp_path: Path) -> None:
    """Only our own, just exported configuration is ever evaluated."""
    bundle = pytest.importorskip("monai.bundle", reason="MONAI reads bundles")
    assert main(["models", "export", str(weights), str(tmp_path / "bundle"), "--format", "monai"]) == 0
    parser = bundle.ConfigParser()
    parser.read_config(str(tmp_path / "bundle" / "configs" / "inference.json"))
    parser.read_meta(str(tmp_path / "bundle" / "configs" / "metadata.json"))
    parser["bundle_root"] = str(tmp_path / "bundle")
    parser["device"] = "cpu"
    parser.get_parsed_content("load")
    network = parser.get_parsed_content("network")
    image = torch.randn(1, 1, 20, 24)
    original, _ = load_network(weights)
    assert torch.equal(network(image), original(image))


def test_onnx_computes_the_same(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting to ONNX needs onnx and onnxscript")
    reference = pytest.importorskip("onnx.reference", reason="exporting to ONNX needs onnx and onnxscript")
    target = tmp_path / "small.onnx"
    assert main(["models", "export", str(weights), str(target), "--format", "onnx"]) == 0
    image = torch.randn(3, 1, 24, 32)
    original, _ = load_network(weights)
    original.requires_grad_(False)
    (result,) = reference.ReferenceEvaluator(str(target)).run(None, {"image": image.numpy()})
    assert float((torch.from_numpy(result) - original(image)).abs().max()) < 1e-4


def test_nothing_in_the_package_can_run_foreign_code() -> None:
    """Checkpoints, weights and arrays are data: the ways of loading that execute what they find are not used."""
    banned = re.compile(
        r"weights_only\s*=\s*False|allow_pickle\s*=\s*True|\bpickle\.loads?\b|\byaml\.(unsafe_|full_)?load\("
        r"|\bimport pickle\b|\beval\(|\bexec\(|shell\s*=\s*True"
    )
    loads = re.compile(r"\btorch\.load\((?![^)]*weights_only=True)")
    for path in sorted((ROOT / "ctrestoration").rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.split("#")[0].replace(".eval(", "")
            assert not banned.search(code), f"{path}:{number}: {line.strip()}"
            assert not loads.search(code) or "weights_only=True" in code, f"{path}:{number}: {line.strip()}"
