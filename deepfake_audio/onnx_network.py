"""A network that was exported: the same windows in, the same logits out, and no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import MissingExtraError

Floats = npt.NDArray[np.floating[Any]]

INPUT, OUTPUTS = "waveform", ("logit", "speech", "embedding")
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

    def run(self, windows: Floats) -> tuple[Floats, Floats, Floats]:
        """Return what OUTPUTS names, of float32 windows shaped (batch, samples)."""
        logit, speech, embedding = self._session.run(list(OUTPUTS), {INPUT: windows})
        return logit, speech, embedding
