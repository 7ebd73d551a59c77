"""Lyra V2: a neural codec whose decoder is a vocoder driven by sixteen thousand bits a second less.

Runs the published graphs (Zeghidour et al., 2107.03312) with LiteRT, which the extra
``vocoders`` brings; the graphs themselves come from whoever trains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, MissingExtraError

FRAME = 320
"""Samples in a frame at 16 kHz."""

QUANTIZERS = (16, 30, 46)
"""Known depths of the residual quantiser: 3.2, 6 and 9.2 kb/s."""

_FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")


class Lyra:
    """Encoder, quantiser and decoder of Lyra V2.

    Parameters
    ----------
    folder : path
        Holds ``soundstream_encoder.tflite``, ``quantizer.tflite`` and ``lyragan.tflite``.

    Raises
    ------
    CheckpointError
        If a graph is missing or cannot be read.
    MissingExtraError
        If LiteRT is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise MissingExtraError(
                "Lyra needs LiteRT", hint='pip install "deepfake-audio[vocoders]"'
            ) from None
        self._interpreter = Interpreter
        try:
            self._graphs = [(Path(folder) / name).read_bytes() for name in _FILES]
            self._build()
        except (ValueError, RuntimeError, OSError) as error:
            raise CheckpointError(
                "holds no Lyra V2 graphs", name=str(folder), hint=f"expected {', '.join(_FILES)}"
            ) from error

    def _build(self) -> list[Any]:
        """Make the graphs anew: resetting their variables leaves the state of the last clip."""
        return [self._interpreter(model_content=graph) for graph in self._graphs]

    def copy(self, samples: np.ndarray, quantizers: int = 46) -> np.ndarray:
        """Code and decode a recording.

        Parameters
        ----------
        samples : ndarray of float32, shape (samples,)
            At 16 kHz, full scale 1.
        quantizers : {16, 30, 46}
            Depth of the residual quantiser, and so the bit rate.

        Returns
        -------
        ndarray of float32, shape (samples // 320 * 320,)
        """
        encoder, quantizer, decoder = self._build()
        for graph in (encoder, decoder):
            graph.allocate_tensors()
        encode = quantizer.get_signature_runner("encode")
        decode = quantizer.get_signature_runner("decode")
        depth = np.array(quantizers, dtype=np.int32)
        spoken = [np.zeros(0, np.float32)]
        for frame in samples[: len(samples) // FRAME * FRAME].reshape(-1, 1, FRAME):
            features = _run(encoder, frame.astype(np.float32))
            indices = encode(input_frames=features, num_quantizers=depth)["output_0"]
            coded = decode(encoding_indices=indices)["output_0"]
            spoken.append(_run(decoder, coded).reshape(-1))
        return np.concatenate(spoken)


def _run(graph: Any, values: np.ndarray) -> np.ndarray:
    graph.set_tensor(graph.get_input_details()[0]["index"], values)
    graph.invoke()
    result: np.ndarray = graph.get_tensor(graph.get_output_details()[0]["index"])
    return result
