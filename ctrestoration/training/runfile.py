"""From a YAML file to a checked `RunConfig`, with errors that name file, line, key, value and what is allowed."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from ctrestoration.errors import InputError
from ctrestoration.training import config as parts
from ctrestoration.training import recipes, sources
from ctrestoration.training.config import PositiveInt
from ctrestoration.training.data.patients import refuse_shared
from ctrestoration.training.yaml_file import Document, Location, read_yaml

if TYPE_CHECKING:
    MethodConfig = Any  # the unions are made of what lies in the folders
    SourceConfig = Any
else:
    MethodConfig = parts.one_of(recipes.config_classes())
    SourceConfig = parts.one_of(sources.config_classes())


class DataConfig(parts.Strict):
    """What is trained on."""

    train: SourceConfig = Field(description="Training data.")
    validation: SourceConfig | None = Field(default=None, description="Validation data: never used for updates.")
    batch_size: PositiveInt = Field(default=4, description="Samples in one step, over all processes.")
    micro_batches: PositiveInt = Field(default=1, description="Parts into which a step's batch is cut to save memory.")
    workers: int = Field(default=0, ge=0, le=64, description="Loader processes; the result does not depend on it.")
    damaged_limit: int = Field(
        default=0, ge=0, description="So many damaged samples are skipped and counted before stopping."
    )

    def create(self) -> tuple[sources.Source, sources.Source | None]:
        """The sources of training and validation.

        Raises:
            InputError: see their `create`; or patients who are in both.
        """
        training = self.train.create()
        if self.validation is None:
            return training, None
        validation = self.validation.create()
        refuse_shared(training, validation)
        return training, validation


class RunConfig(parts.Strict):
    """One training, as its run file describes it."""

    schema_version: Literal[1] = Field(description="Version of this file's format.")
    name: str = Field(default="run", min_length=1, max_length=60, description="A word for tables and cards.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Everything random follows from it.")
    method: MethodConfig = Field(description="The recipe and its settings.")
    data: DataConfig = Field(description="What is trained on.")
    optim: parts.OptimConfig = Field(default=parts.OptimConfig(), description="Optimizers and learning rates.")
    ema: parts.EmaConfig | None = Field(default=None, description="Running average of the weights; none: off.")
    validation: parts.ValidationConfig = Field(
        default=parts.ValidationConfig(), description="Validation and early stopping."
    )
    checkpoint: parts.CheckpointConfig = Field(default=parts.CheckpointConfig(), description="Saving.")
    recovery: parts.RecoveryConfig = Field(default=parts.RecoveryConfig(), description="NaN and out of memory.")
    hardware: parts.HardwareConfig = Field(default=parts.HardwareConfig(), description="Where and how to compute.")
    preview: parts.PreviewConfig = Field(default=parts.PreviewConfig(), description="Pictures while training.")
    log: parts.LogConfig = Field(default=parts.LogConfig(), description="Records.")
    # Left out of what a run keeps and of its digest: by then a scale was chosen.
    scales: dict[str, dict[str, Any]] = Field(
        default={},
        exclude=True,
        description="Variants of this file for `train --scale NAME`: by name, what each replaces, as key.path: value.",
    )

    @model_validator(mode="after")
    def _batches_fit(self) -> RunConfig:
        data = self.data
        if data.batch_size % data.micro_batches:
            raise ValueError(
                f"data.batch_size {data.batch_size} is not a multiple of micro_batches {data.micro_batches}"
            )
        if self.validation.patience is not None and data.validation is None:
            raise ValueError("validation.patience needs validation data: add data.validation")
        return self

    def to_yaml(self) -> str:
        """Every setting, defaults included, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def digest(self) -> str:
        """SHA-256 of everything that decides the result: what a checkpoint belongs to."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a run file.

    Args:
        path: the YAML file. Relative paths in it are relative to its folder.
        overrides: "key.path=value" words that replace entries.

    Raises:
        InputError: one line for each thing that is wrong: place, key, value, what is allowed.
    """
    document = read_yaml(path)
    for assignment in overrides:
        document.override(assignment)
    try:
        return RunConfig.model_validate(document.content, context={"folder": path.resolve().parent})
    except ValidationError as error:
        complaints = [_complaint(document, problem) for problem in error.errors()]
        raise InputError("\n".join(complaints)) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the run file, for forms and documents."""
    return RunConfig.model_json_schema()


def _complaint(document: Document, problem: Any) -> str:
    location, node = _walk(document.content, tuple(problem["loc"]))
    dotted = ".".join(str(part) for part in location)
    place = document.place(location)
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key {dotted}; {_nearest(str(location[-1]), node)}."
    if kind == "missing":
        return f"{place}: {dotted} is missing; it has to be given."
    if kind == "value_error":
        return f"{place}: {message.removeprefix('Value error, ')}."
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = problem["input"].get("name") if isinstance(problem["input"], dict) else problem["input"]
        allowed = problem.get("ctx", {}).get("expected_tags") or ", ".join(repr(tag) for tag in _tags(node))
        what = f"{dotted}.name = {given!r}" if given is not None else f"{dotted}.name is missing"
        known = [tag.strip(" '") for tag in allowed.split(",")]
        return f"{document.place((*location, 'name'))}: {what}; allowed are {allowed}{_hint(str(given), known)}."
    message = message[:1].lower() + message[1:]
    return f"{place}: {dotted} = {_shorten(problem['input'])}: {message.replace('input should', 'should')}."


def _walk(content: Any, location: Location) -> tuple[Location, dict[str, Any]]:
    """The path of a complaint as the file has it, and the part of the schema around its last key.

    pydantic puts the tag of a union ("supervised") into the path; in the file there is no such level.
    """
    schema = json_schema()
    definitions = schema["$defs"]
    node: dict[str, Any] = schema
    path: list[str | int] = []
    around = schema
    for part in location:
        node = _resolve(node, definitions)
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            node = _resolve({"$ref": mapping[part]}, definitions)
            continue
        around = node
        path.append(part)
        node = node.get("properties", {}).get(part) or node.get("items") or {}
    resolved = _resolve(node, definitions)
    return tuple(path), resolved if "discriminator" in resolved else around


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and of "this or null" the first."""
    while True:
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in node and "discriminator" not in node:
            node = node["anyOf"][0]
        else:
            return node


def _nearest(key: str, node: dict[str, Any]) -> str:
    known = sorted(node.get("properties", {}))
    return f"known keys here are {', '.join(known)}{_hint(key, known)}"


def _hint(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _tags(node: dict[str, Any]) -> list[str]:
    return sorted(node.get("discriminator", {}).get("mapping", {}))


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
