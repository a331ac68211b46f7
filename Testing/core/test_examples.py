"""Every run file of the documentation can be read, and its method be made."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
pytest.importorskip("yaml", reason="training needs PyYAML")

from ctrestoration.training.runfile import load_config

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "docs" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_run_file(path: Path) -> None:
    config = load_config(path)
    assert config.method.create(config).stages
    assert path.read_text(encoding="utf-8").startswith("#"), "says what it is, and what to do first"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
