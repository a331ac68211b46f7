"""Every run file of the documentation can be read, and its method be made."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")

from ctrestoration.cli.main import main
from ctrestoration.training.runfile import load_config
from ctrestoration.training.yaml_file import read_yaml, scale_overrides

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "docs" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_run_file(path: Path) -> None:
    config = load_config(path)
    assert config.method.create(config).stages
    assert path.read_text(encoding="utf-8").startswith("#"), "says what it is, and what to do first"


MAR = {
    "unet-uc", "monai-uc", "dicdnet", "oscnet", "oscnet-plus", "indudonet", "indudonet-plus", "mepnet", "inpainting",
}  # fmt: skip
SCALES = ("tiny", "small", "paper")


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} > MAR


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", sorted(MAR))
def test_every_network_has_a_recipe_at_every_scale(name: str, scale: str) -> None:
    path = next(path for path in EXAMPLES if path.stem == name)
    assert tuple(read_yaml(path).content["scales"]) == SCALES
    config = load_config(path, scale_overrides(path, scale))
    assert config.data.train.size == config.data.validation.size == {"tiny": 64, "small": 128, "paper": 416}[scale]
    seeds = [
        range(part.first_seed, part.first_seed + part.phantoms) for part in (config.data.train, config.data.validation)
    ]
    assert not set(seeds[0]) & set(seeds[1]), "validated on other phantoms"
    if name == "monai-uc":
        pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")
    method = config.method.create(config)
    if scale == "tiny":
        network = method.build(config).modules["g"]
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert sum(parameter.numel() for parameter in network.parameters()) > 100
    if scale == "paper":
        assert config == load_config(path), "the file as it stands"
        if config.method.name == "unrolled":
            assert (config.optim.lr, config.optim.betas, config.optim.schedule.factor) == (2e-4, (0.5, 0.999), 0.5)


def test_published_sizes_are_those_of_the_papers() -> None:
    counts = {"dicdnet": 1_277_332, "indudonet": 5_094_977, "indudonet-plus": 1_752_929}
    for name, count in counts.items():
        config = load_config(next(path for path in EXAMPLES if path.stem == name))
        network = config.method.network.build()
        assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_a_scale_is_chosen_on_the_command_line_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    text = "schema_version: 1\nmethod: {name: supervised}\ndata: {train: {name: discs}}\n"
    path.write_text(text + "scales:\n  tiny: {optim.lr: 0.00002, method.network: {name: unet, widths: [2, 4]}}\n")
    whole, tiny = load_config(path), load_config(path, scale_overrides(path, "tiny"))
    assert (whole.optim.lr, tiny.optim.lr) == (2e-4, 2e-5)
    assert tiny.method.network.widths == (2, 4)
    assert "scales" not in tiny.to_yaml()
    plain = tmp_path / "plain.yaml"
    plain.write_text(text)
    assert load_config(plain).digest() == whole.digest()
    words = ["train", str(path), "--run-dir", str(tmp_path / "r"), "--check"]
    assert main([*words, "--scale", "tiny"]) == 0
    assert main([*words, "--scale", "tiny", "--set", "optim.lr=-1"]) == 2
    assert "optim.lr" in capsys.readouterr().err
    assert main([*words, "--scale", "huge"]) == 2
    assert "no scale 'huge': its scales are tiny" in capsys.readouterr().err
    assert main(["train", str(plain), *words[2:], "--scale", "tiny"]) == 2
    assert "it has none" in capsys.readouterr().err
