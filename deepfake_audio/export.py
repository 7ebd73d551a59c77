"""A trained network as one ONNX graph, from the waveform to the logit."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoint import HEADER_KEY, Checkpoint
from .config import SAMPLE_RATE_HZ
from .errors import CheckpointError, MissingExtraError
from .model import Network, fused
from .onnx_network import INPUT, OUTPUTS, OnnxNetwork

MAX_DIFFERENCE = 1e-4
"""Of any output; an export that differs more is not written."""

_CHECKED = ((1, 0.5), (3, 2.0), (2, 6.0))  # windows, seconds


class _Heads(nn.Module):
    """The outputs that are of use outside training, by name."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.network(waveform)
        return output.logit, output.speech, output.embedding


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
    path = Path(path)
    if path.suffix != ".onnx":
        raise CheckpointError("must end in .onnx", name=str(path), hint="name the file so")
    heads = _Heads(fused(checkpoint.torch_network)).eval()
    content = _with_header(_graph(heads), checkpoint)
    difference = _difference(OnnxNetwork(content), heads)
    if not difference <= MAX_DIFFERENCE:
        raise CheckpointError(
            f"the exported graph differs by {difference:.1e}", name=str(path), hint="report it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return difference


def _graph(heads: _Heads) -> Any:
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
    example = torch.randn(2, 4 * SAMPLE_RATE_HZ) * 0.05
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


def _with_header(model: Any, checkpoint: Checkpoint) -> bytes:
    entry = model.metadata_props.add()
    entry.key = HEADER_KEY
    entry.value = json.dumps(checkpoint.header.to_dict(), sort_keys=True)
    content: bytes = model.SerializeToString()
    return content


@torch.inference_mode()
def _difference(exported: OnnxNetwork, heads: _Heads) -> float:
    """Return the largest difference of an output between the graph and the network."""
    rng = np.random.default_rng(0)
    largest = 0.0
    for count, seconds in _CHECKED:
        time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        voice = np.sin(2 * np.pi * 180 * time_s) * np.sin(2 * np.pi * 3 * time_s)
        windows = 0.1 * voice + rng.normal(0, 0.02, (count, time_s.size))
        batch = windows.astype(np.float32)
        for ours, theirs in zip(exported.run(batch), heads(torch.from_numpy(batch)), strict=False):
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()))
    return largest
