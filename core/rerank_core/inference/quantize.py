"""int8 quantisation of an ONNX graph whose scores do not depend on the rest of the batch.

ONNX Runtime's dynamic quantisation takes one activation scale for a whole tensor, so a document's score would
shift with its neighbours in the batch. Here every row (token) gets its own scale, which keeps scores
independent of batching at a few per cent of the speed:

- weights: symmetric, one scale per output column, 7 bits (-63..63). Seven, because AVX2 machines without VNNI
  sum pairs of products in 16 bits and would saturate with eight.
- activations: symmetric, one scale per row, unsigned with zero point 128.
- embedding tables: symmetric, one scale per row, 8 bits.

Source of the integer arithmetic: the ONNX operators ``QuantizeLinear`` and ONNX Runtime's contrib operator
``com.microsoft.MatMulIntegerToFloat``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import missing_dependency

_WEIGHT_LEVELS = 63.0
_TABLE_LEVELS = 127.0
_ACTIVATION_LEVELS = 127.0
_ZERO_POINT = 128
_MIN_TABLE_ROWS = 1024  # smaller tables (positions, segments) are not worth the extra operators
_CONSTANTS: dict[str, NDArray[Any]] = {
    "q8_one": np.array(1.0, np.float32),
    "q8_zero_point": np.array(_ZERO_POINT, np.uint8),
    "q8_inverse_levels": np.array(1.0 / _ACTIVATION_LEVELS, np.float32),
    "q8_tiny": np.array(1e-12, np.float32),
    "q8_last_axis": np.array([-1], np.int64),
}


def quantize_int8(source: Path, target: Path) -> None:
    """Write an int8 version of the ONNX graph at ``source`` to ``target``.

    Raises:
        MissingDependencyError: when the ``onnx`` package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_dependency("onnx", extra="torch", what="int8 quantisation") from error
    model = onnx.load(source)
    _GraphQuantizer(model.graph).run()
    if all(opset.domain != "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)


def _symmetric(values: NDArray[np.float32], levels: float, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round ``values`` to ``-levels..levels`` with one scale per slice; returns the integers and the scales."""
    scale = np.abs(values).max(axis=axis, keepdims=True) / levels
    scale[scale == 0] = 1.0
    return np.round(values / scale).astype(np.int8), scale.astype(np.float32)


class _GraphQuantizer:
    """Rewrites one graph in place: weight MatMuls, linear Gemms and large embedding Gathers."""

    def __init__(self, graph: Any) -> None:
        from onnx import helper, numpy_helper

        self._graph = graph
        self._node = helper.make_node
        self._tensor = numpy_helper.from_array
        self._weights = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.data_type == 1
        }
        self._nodes: list[Any] = []
        self._rows: dict[str, tuple[str, str]] = {}
        self._added: dict[str, NDArray[Any]] = dict(_CONSTANTS)

    def run(self) -> None:
        for node in self._graph.node:
            if node.op_type == "MatMul" and self._is_matrix(node.input[1]):
                self._matmul(node.name, node.input[0], node.input[1], node.output[0])
            elif node.op_type == "Gather" and self._is_table(node.input[0]):
                self._gather(node)
            else:
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._keep_used_initializers()

    def _is_matrix(self, name: str) -> bool:
        return name in self._weights and self._weights[name].ndim == 2  # noqa: PLR2004  (a matrix)

    def _is_table(self, name: str) -> bool:
        return (
            self._is_matrix(name)
            and min(self._weights[name].shape) > 1
            and (self._weights[name].shape[0] >= _MIN_TABLE_ROWS)
        )

    def _matmul(self, name: str, rows: str, weight: str, output: str) -> None:
        integers, scale = _symmetric(self._weights[weight], _WEIGHT_LEVELS, axis=0)
        self._added[f"{weight}_q8"] = integers
        self._added[f"{weight}_q8_scale"] = scale.reshape(-1)
        quantized, row_scale = self._quantized_rows(rows)
        product = f"{output}_q8_product"
        self._nodes += [
            self._node(
                "MatMulIntegerToFloat",
                [quantized, f"{weight}_q8", "q8_one", f"{weight}_q8_scale", "q8_zero_point"],
                [product],
                name=f"{name}_q8",
                domain="com.microsoft",
            ),
            self._node("Mul", [product, row_scale], [output], name=f"{name}_q8_rescale"),
        ]

    def _quantized_rows(self, rows: str) -> tuple[str, str]:
        """The names of ``rows`` as uint8 and of its scales; shared by all products that read the same rows."""
        if rows not in self._rows:
            base = f"{rows}_q8"
            self._nodes += [
                self._node("Abs", [rows], [f"{base}_abs"]),
                self._node("ReduceMax", [f"{base}_abs", "q8_last_axis"], [f"{base}_max"], keepdims=1),
                self._node("Max", [f"{base}_max", "q8_tiny"], [f"{base}_nonzero"]),
                self._node("Mul", [f"{base}_nonzero", "q8_inverse_levels"], [f"{base}_scale"]),
                self._node("Div", [rows, f"{base}_scale"], [f"{base}_scaled"]),
                self._node("QuantizeLinear", [f"{base}_scaled", "q8_one", "q8_zero_point"], [base]),
            ]
            self._rows[rows] = (base, f"{base}_scale")
        return self._rows[rows]

    def _gather(self, node: Any) -> None:
        table, ids, output = node.input[0], node.input[1], node.output[0]
        integers, scale = _symmetric(self._weights[table], _TABLE_LEVELS, axis=1)
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
