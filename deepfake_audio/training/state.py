"""The whole state of a run in one file without pickle, so that it goes on where it stopped."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .._files import written_whole
from ..errors import CheckpointError, ConfigError
from .recipe import Recipe

_KEY = "deepfake_audio.training_state"


@dataclass
class TrainingState:
    """Network, averaged network, loss, optimiser and step of one run.

    Batches are functions of the step and torch's generator is seeded from it, so no generator
    state needs keeping.
    """

    network: nn.Module
    average: nn.Module
    objective: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield "network", self.network
        yield "average", self.average
        yield "objective", self.objective  # has weights of its own with some losses only

    def update_average(self, decay: float, average_from: int = 0) -> None:
        """Move the averaged weights and statistics towards the present ones."""
        # A young average follows closely, otherwise it would remember its random start.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        if average_from and self.step > average_from:
            seen = self.step - average_from
            decay = max(decay, seen / (seen + 1))  # from here on the plain mean
        with torch.no_grad():
            for kept, present in zip(_tensors(self.average), _tensors(self.network), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(present, 1 - decay)
                else:
                    kept.copy_(present)  # the counters of the norms

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write everything to ``path``, whole or not at all."""
        tensors: dict[str, Tensor] = {}
        for prefix, module in self._modules():
            tensors |= {f"{prefix}.{k}": v for k, v in module.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        metadata = {_KEY: json.dumps({"step": self.step, "identity": identity}, sort_keys=True)}
        with written_whole(path) as partial:
            safetensors.torch.save_file(tensors, partial, metadata=metadata)

    def restore(self, path: Path, identity: dict[str, Any]) -> None:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            If the file is damaged or belongs to a run with another identity.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                saved = json.loads(file.metadata()[_KEY])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                "is no training state", name=str(path), hint="delete it to start anew"
            ) from error
        ours = json.loads(json.dumps(identity))
        theirs = _completed(saved.get("identity", {}))
        different = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
        if different:
            raise CheckpointError(
                f"belongs to a run with another {' and '.join(different)}",
                name=str(path),
                hint="give what it began with, or another --out",
            )
        for prefix, module in self._modules():
            module.load_state_dict(_below(tensors, prefix))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer").items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step = int(saved["step"])


def _completed(identity: dict[str, Any]) -> dict[str, Any]:
    """Give settings that a run knew nothing of yet the defaults that they had for it."""
    try:
        recipe = Recipe.from_dict(identity["recipe"])
    except (KeyError, TypeError, ConfigError):
        return identity  # of no recipe of ours: different, then
    completed: dict[str, Any] = json.loads(json.dumps({**identity, "recipe": recipe.to_dict()}))
    return completed


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = len(prefix) + 1
    return {k[start:]: v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return itertools.chain[Tensor](module.parameters(), module.buffers())
