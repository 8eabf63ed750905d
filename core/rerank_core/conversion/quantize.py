"""int8 quantisation of an ONNX graph whose scores do not depend on the rest of the batch.

ONNX Runtime's dynamic quantisation takes one activation scale for a whole tensor, so a document's score would
shift with its neighbours in the batch. Here every row (token) gets its own scale, which keeps scores
independent of batching at a few per cent of the speed:

- weights: symmetric, one scale per output column, 7 bits (-63..63). Seven, because AVX2 machines without VNNI
  sum pairs of products in 16 bits and would overflow with eight.
- activations: symmetric, one scale per row, unsigned with zero point 128.
- embedding tables: symmetric, one scale per row, 8 bits.

Sample inputs (``calibration``) make it more exact, at the same speed:

- a few channels of a layer norm's output are far larger than the rest and would leave it few levels: channels are
  divided by a scale each, by which the weights' rows are multiplied (SmoothQuant, Xiao et al. 2023, arXiv 2211.10438).
- activations with hardly any negative values (GELU, ReLU) get a zero point near 0, hence twice the levels.
- weights are rounded so that the errors cancel on the sample's activations (``rounding.round_compensated``).

At the end layer norms are written as elementary operators (``norms.py``), and the bundled models' attention as one
(``gated_attention.py``): both are faster on a CPU.

Source of the integer arithmetic: the ONNX operators ``QuantizeLinear`` and ONNX Runtime's contrib operator
``com.microsoft.MatMulIntegerToFloat``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.conversion.gated_attention import fuse_attention
from rerank_core.conversion.norms import expand_norms
from rerank_core.conversion.observing import Feeds, Observed, observe
from rerank_core.conversion.rounding import round_compensated, round_symmetric
from rerank_core.optional import optional

_WEIGHT_LEVELS = 63.0
_TABLE_LEVELS = 127.0
_ACTIVATION_LEVELS = 127.0
_ZERO_POINT = 128
_BYTE_LEVELS = 255
_ONE_SIDED = 64  # the highest zero point worth having: at least half as many levels again above it
_SMOOTHING = 0.5  # whether channel scales follow the activations (1) or the weights (0)
_NORMS = ("LayerNormalization", "SkipLayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
_MIN_TABLE_ROWS = 1024  # smaller tables (positions, segments) are not worth the extra operators
_CONSTANTS: dict[str, NDArray[Any]] = {
    "q8_one": np.array(1.0, np.float32),
    "q8_zero_point": np.array(_ZERO_POINT, np.uint8),
    "q8_inverse_levels": np.array(1.0 / _ACTIVATION_LEVELS, np.float32),
    "q8_tiny": np.array(1e-12, np.float32),
    "q8_last_axis": np.array([-1], np.int64),
}


def quantize_int8(source: Path, target: Path, calibration: Iterable[Feeds] | None = None) -> None:
    """Write an int8 version of the ONNX graph at ``source`` to ``target``.

    Args:
        source: the float32 graph.
        target: the file to write.
        calibration: typical inputs, unpadded; a few hundred make the graph more exact. None, or an empty one, rounds
            without data.

    Raises:
        MissingDependencyError: when the ``onnx`` package is not installed.
    """
    with optional("int8 quantisation", extra="torch"):
        import onnx
    model = onnx.load(source)
    quantizer = _GraphQuantizer(model.graph)
    if calibration is not None:
        quantizer.observed = observe(model, calibration, quantizer.activations())
    quantizer.run()
    expand_norms(model.graph)
    fuse_attention(model.graph)
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)


def channel_scales(peaks: NDArray[np.float32], weights: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """SmoothQuant's divisors of the channels of an activation that ``weights`` [channels, outputs] multiply.

    Args:
        peaks: each channel's largest absolute value.
        weights: all matrices that multiply the activation; they share the scales.
    """
    weight_peaks = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    floor = 1e-4  # channels that are always 0, and rows of weights that are
    scales = np.maximum(peaks, floor) ** _SMOOTHING / np.maximum(weight_peaks, floor) ** (1 - _SMOOTHING)
    return np.asarray(scales / np.exp(np.log(scales).mean()), np.float32)


def zero_point(seen: Observed) -> int:
    """The byte that represents 0: ``_ZERO_POINT``, or a lower one where values hardly go below 0."""
    reach = -seen.lowest
    one_sided = np.ceil(_BYTE_LEVELS * reach / max(seen.typical_peak + reach, 1e-12))
    return int(one_sided) if one_sided <= _ONE_SIDED else _ZERO_POINT


@dataclass(frozen=True)
class _Rows:
    """The names of a quantised activation, its row scales and its zero point; the channel scales divided out."""

    integers: str
    scale: str
    zero_point: str
    channel_scales: NDArray[np.float32] | None


class _GraphQuantizer:
    """Rewrites one graph in place: MatMuls by weights, and Gathers of rows of large embedding tables.

    Everything else stays float32, Gemms as well: exporters write them for the small layers of a head.
    """

    def __init__(self, graph: Any) -> None:
        from onnx import helper, numpy_helper

        self._graph = graph
        self._node = helper.make_node
        self._tensor = numpy_helper.from_array
        self._weights = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == 1
        }
        self._products = [node for node in graph.node if self._is_product(node)]
        self._nodes: list[Any] = []
        self._producers = {output: node.op_type for node in graph.node for output in node.output}
        self._rows: dict[str, _Rows] = {}
        self._added: dict[str, NDArray[Any]] = dict(_CONSTANTS)
        self.observed: dict[str, Observed] = {}

    def activations(self) -> set[str]:
        """The names of the tensors that quantised weights multiply."""
        return {node.input[0] for node in self._products}

    def run(self) -> None:
        for node in self._graph.node:
            if self._is_product(node):
                self._matmul(node.name, node.input[0], node.input[1], node.output[0])
            elif self._is_lookup(node):
                self._gather(node)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._keep_used_initializers()

    def _is_product(self, node: Any) -> bool:
        return node.op_type == "MatMul" and self._is_matrix(node.input[1])

    def _is_matrix(self, name: str) -> bool:
        return name in self._weights and self._weights[name].ndim == 2  # noqa: PLR2004  (a matrix)

    def _is_lookup(self, node: Any) -> bool:
        """Whether the node looks up rows of a large table: scales are per row, so columns would get wrong ones."""
        if node.op_type != "Gather" or not self._is_matrix(node.input[0]):
            return False
        rows, columns = self._weights[node.input[0]].shape
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        return axis in {0, -2} and rows >= _MIN_TABLE_ROWS and columns > 1

    def _matmul(self, name: str, rows: str, weight: str, output: str) -> None:
        quantized = self._quantized_rows(rows)
        integers, scale = self._rounded(self._weights[weight], rows, quantized.channel_scales)
        # A matrix that several activations share is rounded for each that was observed.
        base = f"{weight}_q8_{rows}" if rows in self.observed else f"{weight}_q8"
        self._added[base] = integers
        self._added[f"{base}_scale"] = scale.reshape(-1)
        product = f"{output}_q8_product"
        inputs = [quantized.integers, base, "q8_one", f"{base}_scale", quantized.zero_point]
        self._nodes += [
            self._node("MatMulIntegerToFloat", inputs, [product], name=f"{name}_q8", domain="com.microsoft"),
            self._node("Mul", [product, quantized.scale], [output], name=f"{name}_q8_rescale"),
        ]

    def _rounded(
        self, weight: NDArray[np.float32], rows: str, divisors: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        if rows not in self.observed:
            return round_symmetric(weight, _WEIGHT_LEVELS, axis=0)
        moment = self.observed[rows].moment
        if divisors is not None:
            weight, moment = weight * divisors[:, None], moment / np.outer(divisors, divisors)
        return round_compensated(weight, moment, _WEIGHT_LEVELS)

    def _quantized_rows(self, rows: str) -> _Rows:
        """``rows`` as uint8 with one scale per row; shared by all products that read the same rows."""
        if rows not in self._rows:
            smooth, divisors = self._smoothed(rows)
            zero = _ZERO_POINT
            if rows in self.observed and divisors is None:
                zero = zero_point(self.observed[rows])
            base = f"{rows}_q8"
            if zero == _ZERO_POINT:
                self._symmetric_scale(smooth, base)
            else:
                self._one_sided_scale(smooth, base, zero)
            zero_name = "q8_zero_point" if zero == _ZERO_POINT else f"{base}_zero_point"
            self._nodes += [
                self._node("Div", [smooth, f"{base}_scale"], [f"{base}_scaled"]),
                self._node("QuantizeLinear", [f"{base}_scaled", "q8_one", zero_name], [base]),
            ]
            self._rows[rows] = _Rows(base, f"{base}_scale", zero_name, divisors)
        return self._rows[rows]

    def _smoothed(self, rows: str) -> tuple[str, NDArray[np.float32] | None]:
        """``rows`` divided by channel scales, and these; only for norms, elsewhere it costs more than it gains."""
        if rows not in self.observed or self._producers.get(rows) not in _NORMS:
            return rows, None
        weights = [self._weights[node.input[1]] for node in self._products if node.input[0] == rows]
        divisors = channel_scales(self.observed[rows].peaks, weights)
        self._added[f"{rows}_q8_channels"] = 1 / divisors
        self._nodes.append(self._node("Mul", [rows, f"{rows}_q8_channels"], [f"{rows}_q8_smooth"]))
        return f"{rows}_q8_smooth", divisors

    def _symmetric_scale(self, rows: str, base: str) -> None:
        self._nodes += [
            self._node("Abs", [rows], [f"{base}_abs"]),
            self._node("ReduceMax", [f"{base}_abs", "q8_last_axis"], [f"{base}_max"], keepdims=1),
            self._node("Max", [f"{base}_max", "q8_tiny"], [f"{base}_nonzero"]),
            self._node("Mul", [f"{base}_nonzero", "q8_inverse_levels"], [f"{base}_scale"]),
        ]

    def _one_sided_scale(self, rows: str, base: str, zero: int) -> None:
        """The levels above ``zero`` reach the row's largest value, those below at least the lowest one seen."""
        above = _BYTE_LEVELS - zero
        least = -self.observed[rows].lowest * above / zero if zero else 0.0
        self._added[f"{base}_zero_point"] = np.array(zero, np.uint8)
        self._added[f"{base}_inverse_levels"] = np.array(1.0 / above, np.float32)
        self._added[f"{base}_least"] = np.array(max(least, float(_CONSTANTS["q8_tiny"])), np.float32)
        self._nodes += [
            self._node("ReduceMax", [rows, "q8_last_axis"], [f"{base}_max"], keepdims=1),
            self._node("Max", [f"{base}_max", f"{base}_least"], [f"{base}_nonzero"]),
            self._node("Mul", [f"{base}_nonzero", f"{base}_inverse_levels"], [f"{base}_scale"]),
        ]

    def _gather(self, node: Any) -> None:
        table, ids, output = node.input[0], node.input[1], node.output[0]
        integers, scale = round_symmetric(self._weights[table], _TABLE_LEVELS, axis=1)
        self._added[f"{table}_q8"] = integers
        self._added[f"{table}_q8_scale"] = scale
        self._nodes += [
            self._node("Gather", [f"{table}_q8", ids], [f"{output}_q8_row"], axis=0),
            self._node("Cast", [f"{output}_q8_row"], [f"{output}_q8_row_float"], to=1),
            self._node("Gather", [f"{table}_q8_scale", ids], [f"{output}_q8_row_scale"], axis=0),
            self._node("Mul", [f"{output}_q8_row_float", f"{output}_q8_row_scale"], [output]),
        ]

    def _keep_used_initializers(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        used |= {output.name for output in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        kept += [self._tensor(value, name) for name, value in self._added.items() if name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
