"""Convolutions in eight bits: an ONNX graph with the ranges of what goes through it in it.

Weights are rounded to int8 channel by channel, feature maps to uint8 over the range that they have
on given windows (static quantisation; Jacob et al., 1712.05877). Everything else, from the waveform
to the feature maps and from pooling to the heads, stays in float, and so do the convolutions that
hear the feature maps themselves: they cost little, and to round them made about a third of
the error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import MissingExtraError
from .onnx_network import INPUT
from .windows import FloatArray


def quantized(model: Any, windows: Sequence[FloatArray]) -> Any:
    """Return an ONNX model with its convolutions in eight bits.

    Parameters
    ----------
    model : onnx.ModelProto
        In float32.
    windows : sequence of ndarray of float32, shape (samples,)
        What ranges are measured on; at least one.

    Raises
    ------
    MissingExtraError
        If onnx or onnxruntime is not installed.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference
    except ImportError:
        raise MissingExtraError(
            "quantising needs onnx and onnxruntime", hint='pip install "deepfake-audio[export]"'
        ) from None

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _batches(windows)

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, target = (Path(folder, name) for name in ("plain", "prepared", "int8"))
        onnx.save(model, plain)
        # Shapes are inferred by onnx alone: symbols in them want sympy, and decide nothing here.
        shape_inference.quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_first_convolutions(onnx.load(prepared)),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(target)


def _first_convolutions(model: Any) -> list[str]:
    """Return the names of the convolutions that no other one comes before."""
    first = []
    behind: set[str] = set()  # what depends on a convolution
    for node in model.graph.node:  # in the order of computation
        if behind.isdisjoint(node.input):
            if node.op_type != "Conv":
                continue
            first.append(node.name)
        behind.update(node.output)
    return first


def _batches(windows: Sequence[FloatArray]) -> Iterator[dict[str, FloatArray]]:
    for window in windows:
        yield {INPUT: np.ascontiguousarray(window[None])}
