"""Layer norms as elementary operators in an ONNX graph, for the CPU.

ONNX Runtime's CPU kernel for LayerNormalization, and for its sum with a residual, is slow: in an int8 graph, where the
products are fast, it takes a large share of the time. The same formula in elementary operators takes a quarter of that
(``benchmarks/norms.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_NORM = "LayerNormalization"
_DEFAULT_EPSILON = 1e-5
_LAST_AXIS = "norm_last_axis"
_ONE_OUTPUT = 1


def expand_norms(graph: Any) -> None:
    """Replace every layer norm over the last axis, in place; its output keeps its name.

    (x - mean) / sqrt(variance + epsilon) * scale + bias, as the ONNX operator has it. Other norms stay as they are.

    Args:
        graph: an ``onnx.GraphProto`` of operator set 18 or later, in which ReduceMean takes its axes as an input.
    """
    from onnx import numpy_helper

    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}
    for node in graph.node:
        if node.op_type == _NORM and _axis(node) == -1 and sum(map(bool, node.output)) == _ONE_OUTPUT:
            epsilon = _attribute(node, "epsilon", _DEFAULT_EPSILON)
            constants[_LAST_AXIS] = np.array([-1], np.int64)
            constants[_epsilon_name(epsilon)] = np.array(epsilon, np.float32)
            nodes += _expanded(node, _epsilon_name(epsilon))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _expanded(node: Any, epsilon: str) -> list[Any]:
    from onnx import helper

    rows, scale, *bias = node.input
    output = node.output[0]
    # A square root's reciprocal and a product: ONNX Runtime would fuse the textbook's order into its own kernel again.
    steps = [
        ("ReduceMean", [rows, _LAST_AXIS], "mean"),
        ("Sub", [rows, "mean"], "centred"),
        ("Mul", ["centred", "centred"], "squares"),
        ("ReduceMean", ["squares", _LAST_AXIS], "variance"),
        ("Add", ["variance", epsilon], "above_zero"),
        ("Sqrt", ["above_zero"], "deviation"),
        ("Reciprocal", ["deviation"], "inverse"),
        ("Mul", ["centred", "inverse"], "normed"),
        ("Mul", ["normed", scale], "scaled"),
        *([("Add", ["scaled", bias[0]], "shifted")] if bias and bias[0] else []),
    ]
    own = {step: f"{output}_norm_{step}" for _, _, step in steps} | {steps[-1][2]: output}
    return [
        helper.make_node(operator, [own.get(name, name) for name in inputs], [own[step]], name=f"{output}_norm_{step}")
        for operator, inputs, step in steps
    ]


def _axis(node: Any) -> int:
    return int(_attribute(node, "axis", -1))


def _attribute(node: Any, name: str, default: float) -> float:
    from onnx import helper

    return next((float(helper.get_attribute_value(item)) for item in node.attribute if item.name == name), default)


def _epsilon_name(epsilon: float) -> str:
    return f"norm_epsilon_{epsilon:g}"
