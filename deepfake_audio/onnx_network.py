"""A network that was exported: the same windows in, the same logits out, and no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import MissingExtraError

Floats = npt.NDArray[np.floating[Any]]


class Outputs(NamedTuple):
    """What a network says about a batch of windows, as it says it.

    Attributes
    ----------
    logit : ndarray, shape (batch,)
        High means synthetic; uncalibrated.
    speech : ndarray, shape (batch,)
        Logit that the window holds speech.
    embedding : ndarray, shape (batch, dimensions)
        The layer below the heads.
    """

    logit: Floats
    speech: Floats
    embedding: Floats


INPUT, OUTPUTS = "waveform", Outputs._fields
"""Names of what goes into the graph, shaped (batch, samples), and of what comes out."""


class OnnxNetwork:
    """A graph in ONNX Runtime, on the CPU.

    Parameters
    ----------
    content : bytes
        Of the file.

    Attributes
    ----------
    metadata : dict of str to str
        What the file says of itself.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    """

    def __init__(self, content: bytes) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError(
                "exported models need ONNX Runtime", hint='pip install "deepfake-audio[onnx]"'
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, windows: Floats) -> Outputs:
        """Return what the graph says about float32 windows shaped (batch, samples)."""
        return Outputs(*self._session.run(list(OUTPUTS), {INPUT: windows}))
