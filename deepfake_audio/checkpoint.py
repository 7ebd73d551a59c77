"""One self-describing file per model: weights, and how to use them, in its header.

The file is ``.safetensors``, or ``.onnx`` after an export. Nothing is unpickled, so a model file
from a stranger can be opened safely. torch is imported for the former only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._files import written_whole
from .calibration import Calibration
from .config import BranchConfig, FrontendConfig, Policy, WindowConfig
from .errors import CheckpointError, MissingExtraError
from .novelty import KnownSpeech
from .onnx_network import OnnxNetwork

if TYPE_CHECKING:
    from .model import Network

FORMAT = "deepfake_audio.checkpoint/1"
WEIGHTS_NAME = "model.safetensors"
HEADER_KEY = "deepfake_audio"
"""Where in the metadata of a file the header is."""

CODE_SUFFIXES = (".pt", ".pth", ".ckpt", ".pkl")
"""Pickles, and archives for TorchScript as `export` makes them for other programs."""

REPLAY_PREFIX = "replay."
REPLAY_NAMES = ("embedding", "synthetic", "held_out")


@dataclass(frozen=True)
class CheckpointHeader:
    """Everything about a model but its weights.

    Attributes
    ----------
    name, version : str
        What reports call the model.
    branches : tuple of BranchConfig
        Front end and shape of each branch of the network.
    windows, calibration
        The other settings that rebuild the pipeline as it was calibrated.
    policies : dict of str to Policy
        Operating points by name.
    training : dict
        The training configuration and what it ran on.
    metrics : dict
        Figures measured at release, dev and test apart.
    known_speech : KnownSpeech, optional
        What novelty is measured from; models that were released without it report none.

    Raises
    ------
    CheckpointError
        If ``known_speech`` is of embeddings of another length than the network's.
    """

    name: str
    version: str
    branches: tuple[BranchConfig, ...]
    windows: WindowConfig = field(default_factory=WindowConfig)
    calibration: Calibration = field(default_factory=Calibration)
    policies: dict[str, Policy] = field(default_factory=lambda: {"balanced": Policy()})
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    known_speech: KnownSpeech | None = None

    def __post_init__(self) -> None:
        expected = sum(branch.model.embedding_dim for branch in self.branches)
        if self.known_speech and self.known_speech.mean.size != expected:
            raise CheckpointError(
                f"known speech of {self.known_speech.mean.size} dimensions "
                f"for embeddings of {expected}",
                name=self.name,
                hint="fit it with this network",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the header as plain JSON types."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "branches": [branch.to_dict() for branch in self.branches],
            "windows": self.windows.to_dict(),
            "calibration": self.calibration.to_dict(),
            "policies": {name: policy.to_dict() for name, policy in self.policies.items()},
            "training": self.training,
            "metrics": self.metrics,
            "known_speech": self.known_speech.to_dict() if self.known_speech else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointHeader:
        """Build from plain JSON types; the reverse of :meth:`to_dict`."""
        if values.get("format") != FORMAT:
            raise CheckpointError(
                f"unknown checkpoint format {values.get('format')!r}",
                hint=f"this version reads {FORMAT}; install a newer deepfake-audio",
            )
        known = values.get("known_speech")
        return cls(
            name=str(values["name"]),
            version=str(values["version"]),
            branches=tuple(BranchConfig.from_dict(branch) for branch in values["branches"]),
            windows=WindowConfig.from_dict(values["windows"]),
            calibration=Calibration.from_dict(values["calibration"]),
            policies={k: Policy.from_dict(v) for k, v in values["policies"].items()},
            training=dict(values["training"]),
            metrics=dict(values["metrics"]),
            known_speech=KnownSpeech.from_dict(known) if known else None,
        )


@dataclass(frozen=True, eq=False)
class Replay:
    """Embeddings of speech that a network was made with, so that it can be adapted.

    Attributes
    ----------
    embedding : ndarray of float16, shape (windows, embedding_dim)
        Before rectification.
    synthetic, held_out : ndarray of bool, shape (windows,)
        Which are synthetic, and which the network did not learn from.
    """

    embedding: NDArray[np.float16]
    synthetic: NDArray[np.bool_]
    held_out: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shape = self.embedding.shape[:1]
        fits = self.embedding.ndim == 2 and shape == self.synthetic.shape == self.held_out.shape
        if not (fits and np.isfinite(self.embedding).all()):
            raise CheckpointError("the remembered embeddings are damaged", hint="copy it again")


@dataclass(frozen=True)
class Checkpoint:
    """A network ready for inference, with its header.

    Attributes
    ----------
    network : Network or OnnxNetwork
        On the CPU, in evaluation mode.
    header : CheckpointHeader
        How it was made and how to read its scores.
    sha256 : str
        Hash of the file, which reports quote.
    replay : Replay, optional
        What it remembers of its training; for :mod:`deepfake_audio.training.finetuning`.
    """

    network: Network | OnnxNetwork
    header: CheckpointHeader
    sha256: str
    replay: Replay | None = None

    @property
    def torch_network(self) -> Network:
        """The network as a torch module.

        Raises
        ------
        CheckpointError
            If it is an exported one.
        """
        if isinstance(self.network, OnnxNetwork):
            raise CheckpointError(
                "is an exported model", name=self.header.name, hint="give the .safetensors it is of"
            )
        return self.network


def save_checkpoint(
    path: str | Path, network: Network, header: CheckpointHeader, replay: Replay | None = None
) -> None:
    """Write weights, header and memory to one file, whole or not at all."""
    import safetensors.torch
    import torch

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if replay is not None:
        for name in REPLAY_NAMES:
            values = np.ascontiguousarray(getattr(replay, name))
            weights[REPLAY_PREFIX + name] = torch.from_numpy(values)
    metadata = {HEADER_KEY: json.dumps(header.to_dict(), sort_keys=True)}
    with written_whole(path) as partial:
        safetensors.torch.save_file(weights, partial, metadata=metadata)


def models_folder() -> Path:
    """Return the folder of the released models, inside the installed package or the checkout."""
    packaged = Path(__file__).parent / "models"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "models"


def released_models() -> dict[str, Path]:
    """Return the released models by name."""
    return {p.parent.name: p for p in sorted(models_folder().glob(f"*/{WEIGHTS_NAME}"))}


def load_checkpoint(model: str | Path = "default") -> Checkpoint:
    """Load a released model by name, or any checkpoint by path.

    Parameters
    ----------
    model : str or Path
        Name of a released model, ``"unittest"`` for a tiny one with random weights, or a path to
        a ``.safetensors`` or ``.onnx`` file or to a folder that holds ``model.safetensors``.

    Raises
    ------
    CheckpointError
        If there is no such model or the file is damaged.
    MissingExtraError
        If it is an exported model and ONNX Runtime is not installed.
    """
    if model == "unittest":
        return _unittest_checkpoint()
    path = _resolve(model)
    if path.suffix in CODE_SUFFIXES:
        raise CheckpointError(
            "is a file that can run code, and is not opened",
            name=str(path),
            hint="give the .safetensors or .onnx of the model",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"cannot be read ({error.strerror})", name=str(path), hint="check its permissions"
        ) from error
    load = _load_onnx if path.suffix == ".onnx" else _load_safetensors
    try:
        network, header, replay = load(content)
    except MissingExtraError:
        raise
    except CheckpointError as error:
        raise CheckpointError(error.message, name=str(path), hint=error.hint) from error
    except Exception as error:  # libraries raise all sorts of things about damaged files
        raise CheckpointError(
            f"is not an intact deepfake_audio checkpoint ({type(error).__name__})",
            name=str(path),
            hint="copy it again or reinstall the package",
        ) from error
    return Checkpoint(network, header, hashlib.sha256(content).hexdigest(), replay)


def _load_safetensors(content: bytes) -> tuple[Network, CheckpointHeader, Replay | None]:
    import safetensors.torch

    header = _parse_header(content)
    network = _build(header)
    tensors = safetensors.torch.load(content)
    kept = {name: tensors.pop(REPLAY_PREFIX + name, None) for name in REPLAY_NAMES}
    network.load_state_dict(tensors)
    memory = {name: tensor.numpy() for name, tensor in kept.items() if tensor is not None}
    return network.eval(), header, Replay(**memory) if memory else None


def _load_onnx(content: bytes) -> tuple[OnnxNetwork, CheckpointHeader, None]:
    network = OnnxNetwork(content)
    if HEADER_KEY not in network.metadata:
        raise CheckpointError(
            "holds a graph but no deepfake_audio header", hint="give one made by `export`"
        )
    return network, CheckpointHeader.from_dict(json.loads(network.metadata[HEADER_KEY])), None


def _resolve(model: str | Path) -> Path:
    known = released_models()
    # Names first: a folder called "default" among the evidence must not bring its own model.
    if isinstance(model, str) and model in known:
        return known[model]
    path = Path(model)
    if path.is_dir() and (path / WEIGHTS_NAME).is_file():
        return path / WEIGHTS_NAME
    if path.is_file():
        return path
    raise CheckpointError(
        "no such model",
        name=str(model),
        hint=f"released models are {', '.join(known) or 'none'}; or give the path of a checkpoint",
    )


def _parse_header(content: bytes) -> CheckpointHeader:
    """Read the JSON header of a safetensors file: 8 bytes of length, then the header itself."""
    length = int.from_bytes(content[:8], "little")
    if content[8:9] != b"{":
        raise CheckpointError("is no model", hint="give a checkpoint made by `train`")
    if length > len(content) - 8:
        raise CheckpointError("is cut short", hint="copy it again")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if HEADER_KEY not in metadata:
        raise CheckpointError(
            "holds weights but no deepfake_audio header", hint="give a checkpoint made by `train`"
        )
    return CheckpointHeader.from_dict(json.loads(metadata[HEADER_KEY]))


def _build(header: CheckpointHeader, seed: int | None = None) -> Network:
    from .model import build_network, join

    return join([build_network(b.frontend, b.model, seed=seed) for b in header.branches])


def _unittest_checkpoint() -> Checkpoint:
    from .model import UNITTEST_MODEL

    header = CheckpointHeader(
        name="unittest",
        version="0",
        branches=(BranchConfig(FrontendConfig(n_bands=24, n_coefficients=12), UNITTEST_MODEL),),
        policies={
            "recall": Policy("recall", 0.4, 0.3),
            "balanced": Policy("balanced", 0.6, 0.4),
            "precision": Policy("precision", 0.8, 0.6),
        },
        # Random weights cannot tell speech: let the energy gate decide alone.
        calibration=Calibration(speech_threshold=0.0),
    )
    network = _build(header, seed=0).eval()
    digest = hashlib.sha256()
    for _, tensor in sorted(network.state_dict().items()):
        digest.update(tensor.numpy().tobytes())
    return Checkpoint(network, header, digest.hexdigest())
