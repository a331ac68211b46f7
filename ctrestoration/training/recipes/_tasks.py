"""Task networks: what they are for, where they come from, and how a frozen one stays as it is.

A task network is trained in the recipe's first stage, or given: weights of ours, a network of MONAI, the weights of a
MONAI bundle (its configuration is read as data and never executed), or a TorchScript file, which is a program and is
opened only where the run file says that it is trusted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ctrestoration.errors import InputError
from ctrestoration.jobs.outcome import DataRefusedError
from ctrestoration.networks import settings_classes
from ctrestoration.networks._lowdose import task_input
from ctrestoration.training.config import DataPath, Strict, Window, one_of
from ctrestoration.training.method import Batch
from ctrestoration.training.recipes._heads import Classification, Detection, Head, Segmentation


class TorchScriptFile(Strict):
    """A network as a TorchScript file. Opening one runs the program in it: only from people you trust."""

    name: Literal["torchscript"]
    file: DataPath = Field(description="The .pt or .ts file.")
    i_trust_this_file: bool = Field(
        default=False, description="Say true only for a file whose origin you know: it can do anything you can."
    )

    def options(self, **decided: int) -> dict[str, Any]:
        """Facts for the card."""
        return {"file": self.file.name, "sha256": _sha256(self.file)}

    def build(self, **decided: int) -> nn.Module:
        """The network.

        Raises:
            InputError: no consent, or no such file.
            DataRefusedError: it is no TorchScript.
        """
        if not self.i_trust_this_file:
            raise InputError(
                f"{self.file} is a TorchScript file, which is a program: it is opened only where the run file says "
                "i_trust_this_file: true beside it."
            )
        if not self.file.is_file():
            raise InputError(f"There is no TorchScript file {self.file}.")
        try:
            network: nn.Module = torch.jit.load(str(self.file), map_location="cpu")
        except RuntimeError as error:
            raise DataRefusedError(
                f"{self.file} is no TorchScript file ({str(error).splitlines()[0][:80]})."
            ) from error
        return network


class BundleWeights(Strict):
    """The weights of a MONAI bundle; its configuration is read as data, nothing in it is executed."""

    name: Literal["monai_bundle"]
    folder: DataPath = Field(description="The bundle: configs/inference.json and models/model.pt.")
    kind: str | None = Field(default=None, description="Class in monai.networks.nets; none: as the bundle says.")
    arguments: dict[str, Any] | None = Field(
        default=None, description="Its arguments; none: those of the bundle, where they are plain values."
    )
    multiple: int = Field(default=32, ge=1, le=256, description="Image sizes are padded to multiples of this.")

    def options(self, **decided: int) -> dict[str, Any]:
        """Facts for the card."""
        return {"folder": self.folder.name, "sha256": _sha256(self.folder / "models" / "model.pt")}

    def build(self, **decided: int) -> nn.Module:
        """The network with the bundle's weights.

        Raises:
            InputError: no bundle, or its network is described by a program or is no 2D network of MONAI.
            DataRefusedError: the weights are not plain tensors.
        """
        from ctrestoration.networks.monai import MonaiNetwork

        kind, arguments = self.kind, self.arguments
        if kind is None or arguments is None:
            found = _bundle_network(self.folder)
            kind, arguments = kind or found[0], found[1] if arguments is None else arguments
        outputs = int(arguments.get("out_channels", decided.get("out_channels", 1)))
        network = MonaiNetwork(kind, arguments, self.multiple, decided.get("in_channels", 1), outputs)
        network.inside.load_state_dict(_plain_tensors(self.folder / "models" / "model.pt", network.inside))
        return network


TaskNetwork: Any = one_of((*settings_classes("image"), *settings_classes("classifier"), TorchScriptFile, BundleWeights))
_GIVEN = (TorchScriptFile, BundleWeights)


class TaskConfig(Strict):
    """One task: a network that looks at reconstructed images, and what it is judged by."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,30}$")] = Field(
        default="organs", description="A word for tables; unique among the tasks."
    )
    kind: Literal["segmentation", "classification", "detection"] = Field(
        default="segmentation", description="What the network answers."
    )
    network: TaskNetwork = Field(default={"name": "unet"}, description="The task network.")
    weights: DataPath | None = Field(
        default=None,
        description="A .safetensors file; none: trained in the first stage, unless the network brings any.",
    )
    labels: tuple[int | None, ...] = Field(
        default=(0, 1, 2),
        min_length=1,
        description="The class number of each output of the network; null: not labeled in these data, left out.",
    )
    loss: Literal["dice", "dice_ce"] = Field(
        default="dice", description="segmentation: the loss through the frozen network, with cross-entropy or without."
    )
    training_loss: Literal["dice", "dice_ce"] = Field(
        default="dice_ce", description="segmentation: the loss that the network itself is trained by."
    )
    background: bool = Field(default=False, description="segmentation: count background in the Dice loss.")
    smooth: float = Field(default=1e-5, gt=0, le=1, description="segmentation: smoothing term of the Dice loss.")
    empty: Literal["drop", "one"] = Field(
        default="drop", description="segmentation: score of a class that a slice does not have: left out, or 1 if "
        "nothing was found and else 0.",
    )  # fmt: skip
    window: Window | None = Field(
        default=None,
        description="HU that the network sees as 0 and 1, clipped between; none: HU / 1000, as ours are trained.",
    )
    weight: float = Field(default=1.0, gt=0, description="Weight among several tasks.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> TaskConfig:
        known = [label for label in self.labels if label is not None]
        if len(set(known)) < len(known):
            raise ValueError("labels names a class twice")
        if self.kind != "segmentation" and (0 in known or len(known) < len(self.labels)):
            raise ValueError(f"labels of a {self.kind} task are class numbers from 1 on, without background and null")
        if (self.kind == "classification") != (self.network.name == "classifier") and not self.brings_weights:
            raise ValueError(f"a {self.kind} task and the network {self.network.name} do not fit")
        if self.weights is not None and self.brings_weights:
            raise ValueError(f"network {self.network.name} brings its own weights: leave weights out")
        return self

    @property
    def brings_weights(self) -> bool:
        """Whether the network comes with weights in a format of its own."""
        return isinstance(self.network, _GIVEN)

    @property
    def given(self) -> bool:
        """Whether the network is given rather than trained here."""
        return self.weights is not None or self.brings_weights

    @property
    def organs(self) -> int:
        """How many classes a Dice loss is the mean of; 1 for other losses."""
        head = self.head(training=False)
        return len(head.counted) if isinstance(head, Segmentation) else 1

    def head(self, training: bool) -> Head:
        """What the network is trained for or judged by."""
        if self.kind == "segmentation":
            loss = self.training_loss if training else self.loss
            return Segmentation(self.labels, loss, self.background, self.smooth, self.empty)
        labels = tuple(label for label in self.labels if label is not None)
        return Classification(labels) if self.kind == "classification" else Detection(labels)

    def build(self) -> nn.Module:
        """The network, with its weights where they are given.

        Raises:
            InputError, DataRefusedError: the weights cannot be used.
        """
        network: nn.Module = self.network.build(in_channels=1, out_channels=len(self.labels))
        if self.weights is not None:
            from ctrestoration.models.weights import load_into

            seen = {"task": self.kind, "window": None if self.window is None else list(self.window)}
            load_into(network, self.weights, seen)
        return network

    def answer(self, network: nn.Module, image: Tensor) -> Tensor:
        """What a network says about images in HU; differentiable in the image.

        Raises:
            InputError: it answers with no tensor, with another number of channels than there are labels, or, where
                pixels are to be told apart, with an image of another size.
        """
        answer = network(task_input(image, self.window))
        if not isinstance(answer, Tensor):
            raise InputError(
                f"The network of task {self.name!r} answers with a {type(answer).__name__}: one tensor is needed."
            )
        found = tuple(answer.shape)
        if answer.ndim < 2 or answer.shape[1] != len(self.labels):
            raise InputError(
                f"The network of task {self.name!r} answers {found}: labels names {len(self.labels)} outputs."
            )
        if self.kind == "segmentation" and answer.shape[2:] != image.shape[2:]:
            raise InputError(
                f"The network of task {self.name!r} answers {found} to images of {tuple(image.shape)}: a segmentation "
                "has the image's rows and columns."
            )
        return answer

    def loss_of(self, network: nn.Module, image: Tensor, batch: Batch, training: bool = False) -> Tensor:
        """Loss of a network on images in HU."""
        return self.head(training).loss(self.answer(network, image), batch)

    def scores_of(self, network: nn.Module, image: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Scores [sample] of a network on images in HU."""
        return self.head(False).scores(self.answer(network, image), batch)

    def describe(self) -> dict[str, object]:
        """What a reader of the weights needs."""
        return {
            "network": {
                "name": self.network.name,
                "options": self.network.options(in_channels=1, out_channels=len(self.labels)),
            },
            "task": self.kind,
            "labels": list(self.labels),
            "window": None if self.window is None else list(self.window),
            "input": "image in HU / 1000, one slice" if self.window is None else f"image, {self.window} HU to 0..1",
            "output": f"{self.kind}, before the activation; one channel for each label",
        }


class Frozen(nn.Module):
    """A network that stays as it is, whatever is asked: weights without gradients, evaluation mode.

    Gradients flow through it to its input.
    """

    network: nn.Module

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for parameter in network.parameters():  # a TorchScript module has no requires_grad_
            parameter.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Evaluation mode, always: statistics of a normalization do not move."""
        super().train(False)
        return self

    def forward(self, image: Tensor) -> Tensor:
        """The network's answer."""
        answer: Tensor = self.network(image)
        return answer


def state_digest(network: nn.Module) -> str:
    """SHA-256 of all weights and running statistics."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode("utf-8"))
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _bundle_network(folder: Path) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of a bundle's network, read as plain JSON."""
    path = folder / "configs" / "inference.json"
    try:
        network = json.loads(path.read_text(encoding="utf-8"))["network_def"]
        target, arguments = str(network["_target_"]), {k: v for k, v in network.items() if not k.startswith("_")}
    except OSError as error:
        raise InputError(
            f"{folder} is no MONAI bundle with configs/inference.json: give kind and arguments."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} describes no network_def: give kind and arguments.") from error
    texts = [target, *_texts(arguments)]
    programs = [text for text in texts if text.startswith(("$", "@", "%"))]
    if programs:
        raise InputError(
            f"{path} describes its network by an expression ({programs[0][:40]}), which is not executed: give kind and "
            "arguments."
        )
    return target.rsplit(".", 1)[-1], arguments


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    inside = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    return [text for value in inside for text in _texts(value)]


def _plain_tensors(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The state of a network from a file of tensors.

    Raises:
        InputError: no such file, or of another network.
        DataRefusedError: the file holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataRefusedError(f"{path} holds more than plain tensors, or is damaged: it is not opened.") from error
    state = state.get("model", state) if isinstance(state, dict) else state
    wanted = network.state_dict()
    if not isinstance(state, dict) or {k: tuple(getattr(v, "shape", ())) for k, v in state.items()} != {
        k: tuple(v.shape) for k, v in wanted.items()
    }:
        raise InputError(f"{path} does not fit the network: give kind and arguments of its own network.")
    return state


def _sha256(path: Path) -> str | None:
    from ctrestoration.jobs.durable import sha256_of

    return sha256_of(path) if path.is_file() else None
