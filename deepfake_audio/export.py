"""A trained network as one graph, from the waveform to the logit: ONNX, or TorchScript."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ._files import written_whole
from .checkpoint import HEADER_KEY, Checkpoint
from .config import SAMPLE_RATE_HZ
from .errors import CheckpointError, ConfigError, MissingExtraError
from .model import fused
from .onnx_network import INPUT, OUTPUTS, OnnxNetwork
from .quantization import quantized
from .tracing import Heads, example_windows, traced
from .windows import FloatArray

MAX_DIFFERENCE = 1e-4
"""Of any output; a float export that differs more is not written."""

_CHECKED = ((1, 0.5), (3, 2.0), (2, 6.0))  # windows, seconds


@dataclass(frozen=True)
class Int8Difference:
    """How far a model in eight bits lies from itself in fp32, over some windows.

    Attributes
    ----------
    logit_rms : float
        Root mean square of the differences of the logit.
    logit_spread : float
        Standard deviation of the logit itself; what the other is to be measured by.
    """

    logit_rms: float
    logit_spread: float


def export_onnx(checkpoint: Checkpoint, path: str | Path) -> float:
    """Write a model as ONNX, with its header; numbers of windows and samples stay free.

    :meth:`deepfake_audio.Detector.load` takes the file like any model, and imports no torch.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to export.
    path : path
        Ends in ``.onnx``.

    Returns
    -------
    float
        Largest difference of an output between the graph and torch in fp32, over a few lengths of
        noise and of a modulated tone.

    Raises
    ------
    CheckpointError
        If the path does not end in ``.onnx``, or the graph computes something else.
    MissingExtraError
        If onnx and onnxscript are not installed.
    """
    path = _named(path, ".onnx")
    heads = _heads(checkpoint)
    content = _with_header(_onnx_graph(heads), checkpoint)
    difference = _difference(OnnxNetwork(content).run, heads, path)
    _write(path, content)
    return difference


def export_onnx_int8(
    checkpoint: Checkpoint, path: str | Path, windows: Sequence[FloatArray]
) -> Int8Difference:
    """Write a model as ONNX with its convolutions in eight bits, see :mod:`.quantization`.

    The file is loaded like that of :func:`export_onnx`. What eight bits cost depends on the model:
    evaluate it before use.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to export.
    path : path
        Ends in ``.onnx``.
    windows : sequence of ndarray of float32, shape (samples,)
        Speech and other sound that the model will meet, at 16 kHz; ranges are set by it.

    Returns
    -------
    Int8Difference
        Over the same windows.

    Raises
    ------
    CheckpointError
        If the path does not end in ``.onnx``, or the graph gives no finite number.
    ConfigError
        If there are no windows.
    MissingExtraError
        If onnx, onnxscript and onnxruntime are not installed.
    """
    path = _named(path, ".onnx")
    if not windows:
        raise ConfigError(
            "eight bits need sound to set their ranges by",
            name="--data",
            hint="give some hundred clips of speech as the model will meet it",
        )
    graph = _onnx_graph(_heads(checkpoint))
    content = _with_header(quantized(graph, windows), checkpoint)
    exact, coarse = OnnxNetwork(graph.SerializeToString()), OnnxNetwork(content)
    logits = np.array([[float(net.run(w[None])[0][0]) for w in windows] for net in (exact, coarse)])
    if not np.isfinite(logits).all():
        raise CheckpointError(
            "the graph in eight bits gives no finite number", name=str(path), hint="report it"
        )
    _write(path, content)
    return Int8Difference(
        float(np.sqrt(np.mean((logits[1] - logits[0]) ** 2))), float(logits[0].std())
    )


def export_torchscript(checkpoint: Checkpoint, path: str | Path) -> float:
    """Write a model as a TorchScript archive, for programs without Python.

    ``torch.jit.load`` (``torch::jit::load`` in C++) gives a module that takes windows shaped
    (batch, samples) and returns logits, logits of speech, and embeddings. The header is the extra
    file ``deepfake_audio`` of the archive, as JSON. This package itself does not load it: such an
    archive holds code.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to export.
    path : path
        Ends in ``.pt``.

    Returns
    -------
    float
        As of :func:`export_onnx`.

    Raises
    ------
    CheckpointError
        If the path does not end in ``.pt``, or the graph computes something else.
    """
    path = _named(path, ".pt")
    heads = _heads(checkpoint)
    script = traced(heads)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(script, file, _extra_files={HEADER_KEY: _header(checkpoint)})
        file.seek(0)
        loaded = torch.jit.load(file)

    def run(windows: FloatArray) -> list[FloatArray]:
        return [output.numpy() for output in loaded(torch.from_numpy(windows))]

    difference = _difference(run, heads, path)
    _write(path, file.getvalue())
    return difference


def _named(path: str | Path, suffix: str) -> Path:
    path = Path(path)
    if path.suffix != suffix:
        raise CheckpointError(f"must end in {suffix}", name=str(path), hint="name the file so")
    return path


def _heads(checkpoint: Checkpoint) -> Heads:
    return Heads(fused(checkpoint.torch_network)).eval()


def _onnx_graph(heads: Heads) -> Any:
    """Return the ONNX model of a network."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "exporting needs onnx and onnxscript", hint='pip install "deepfake-audio[export]"'
        ) from None
    batch = torch.export.Dim("batch", min=1, max=4096)
    samples = torch.export.Dim("samples", min=1600, max=60 * SAMPLE_RATE_HZ)
    example = example_windows()
    with torch.no_grad():
        heads(example)  # windows and the like are cached: let them be real tensors, not traced ones
    # The exporter comments on torchvision, and at length on itself.
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                heads,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes={"waveform": {0: batch, 1: samples}},
                opset_version=18,
            )
    finally:
        exporter.setLevel(level)
    assert program is not None
    return program.model_proto


def _header(checkpoint: Checkpoint) -> str:
    return json.dumps(checkpoint.header.to_dict(), sort_keys=True)


def _with_header(model: Any, checkpoint: Checkpoint) -> bytes:
    model = copy.deepcopy(model)
    entry = model.metadata_props.add()
    entry.key = HEADER_KEY
    entry.value = _header(checkpoint)
    content: bytes = model.SerializeToString()
    return content


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        partial.write_bytes(content)


@torch.inference_mode()
def _difference(
    run: Callable[[FloatArray], Sequence[FloatArray]], heads: Heads, path: Path
) -> float:
    """Return the largest difference of an output; refuse one above MAX_DIFFERENCE."""
    rng = np.random.default_rng(0)
    largest = 0.0
    for count, seconds in _CHECKED:
        time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        voice = np.sin(2 * np.pi * 180 * time_s) * np.sin(2 * np.pi * 3 * time_s)
        windows = 0.1 * voice + rng.normal(0, 0.02, (count, time_s.size))
        batch = windows.astype(np.float32)
        for ours, theirs in zip(run(batch), heads(torch.from_numpy(batch)), strict=True):
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()))
    if not largest <= MAX_DIFFERENCE:
        raise CheckpointError(
            f"the exported graph differs by {largest:.1e}", name=str(path), hint="report it"
        )
    return largest
