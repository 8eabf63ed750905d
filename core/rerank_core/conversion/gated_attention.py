"""Attention as one operator in the graphs of the bundled models, for the CPU.

The exporter writes it as a dozen operators, most of which read or write [batch, heads, length, length]. ONNX Runtime's
``com.microsoft.MultiHeadAttention`` computes the same in blocks that stay in the cache, if nothing is added to the
logits. What these models add is the product of a few numbers per token, so it fits into more channels of queries and
keys. With t = 0 for a token of the query and 1 for one of the document, g the gate of a head, and p -10000 for padding:

    g (t_i (1 - t_j) + (1 - t_i) t_j) + p_j = [t_i, 1 - t_i, 1] . [g (1 - t_j), g t_j, p_j]

Logits are the same up to float32's rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PREFIX = "attention_"
_MORE = 3  # channels
_DOMAIN = "com.microsoft"


def fuse_attention(graph: Any) -> int:
    """Replace every attention between two sides by one operator, in place; its output keeps its name.

    Args:
        graph: an ``onnx.GraphProto`` of operator set 18 or later. Attention of another form stays as it is.

    Returns:
        How many were replaced. The model must import the operators of ``com.microsoft`` if there were any.
    """
    from onnx import numpy_helper

    known = _Graph(graph)
    found = {each.output: each for each in known.attentions()}
    nodes: list[Any] = []
    constants = _constants() if found else {}
    shared: set[_Mask] = set()
    for node in graph.node:
        attention = found.get(node.output[0])
        if attention is None:
            nodes.append(node)
            continue
        if attention.mask not in shared:
            shared.add(attention.mask)
            nodes += _mask_nodes(attention)
        nodes += _attention_nodes(attention)
        constants |= _own_constants(attention)
    del graph.node[:]
    graph.node.extend(_reachable(nodes, {output.name for output in graph.output}))
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    _drop_unused(graph)
    return len(found)


def gates_of(graph: Any) -> Iterator[NDArray[np.float32]]:
    """What is added between the sides in every fused attention, [heads], in the order of the graph."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MultiHeadAttention":
            scale = next(helper.get_attribute_value(item) for item in node.attribute if item.name == "scale")
            gate = numpy_helper.to_array(constants[_own(node.output[0], "gate")])
            yield np.asarray(gate.reshape(-1) * scale, np.float32)


def _own(output: str, part: str) -> str:
    """The name of something that belongs to the attention with this output."""
    return f"{output}_{_PREFIX}{part}"


@dataclass(frozen=True)
class _Mask:
    """What the layers that read the same tokens share: types [batch, length] and padding [batch, 1, length]."""

    types: str
    padding: str

    def name(self, part: str) -> str:
        return f"{_PREFIX}{self.types}_{part}"


@dataclass(frozen=True)
class _Attention:
    """One attention.

    Attributes:
        packed: queries, keys and values, [batch, length, 3 heads size].
        size: channels of a head.
        gate: what is added between the sides; [heads].
        mask: where the sides are.
        output: the name of its result, [batch, length, heads size].
    """

    packed: str
    size: int
    gate: NDArray[np.float32]
    mask: _Mask
    output: str

    @property
    def heads(self) -> int:
        return self.gate.size

    def name(self, part: str) -> str:
        return _own(self.output, part)


class _Graph:
    """Who makes and who reads what."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._nodes = list(graph.node)
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._readers[name].append(node)
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def attentions(self) -> Iterator[_Attention]:
        """Every attention of the form that the bundled models have."""
        for node in self._nodes:
            if node.op_type == "Softmax":
                found = self._attention(node)
                if found is not None:
                    yield found

    def _attention(self, softmax: Any) -> _Attention | None:
        logits = self._made(softmax.input[0], "Add")
        gated = logits and self._made(logits.input[0], "Add")
        product = gated and self._made(gated.input[0], "MatMul")
        crossing = gated and self._made(gated.input[1], "Mul")
        if not (product and crossing):
            return None
        flags, gate = crossing.input
        reshape = self._back(product.input[0], "Mul", "Squeeze", "Slice", "Transpose", "Reshape")
        equal = self._back(flags, "Cast", "Not", "Equal")
        types = equal and self._made(equal.input[1], "Unsqueeze")
        padding = self._back(logits.input[1], "Mul")
        shape = reshape and self._made(reshape.input[1], "Concat")
        output = self._forward(softmax, "MatMul", "Transpose", "Reshape")
        if not (reshape and types and padding and shape and output) or gate not in self._constants:
            return None
        size = int(self._constants[shape.input[-1]].item())
        mask = _Mask(types.input[0], logits.input[1])
        return _Attention(reshape.input[0], size, self._constants[gate].reshape(-1), mask, output.output[0])

    def _made(self, name: str, operator: str) -> Any:
        """The node that makes ``name``, if it is such an operator."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def _back(self, name: str, *operators: str) -> Any:
        """The last of a chain of nodes that make each other's first input, the first of them ``name``."""
        node = None
        for operator in operators:
            node = self._made(name, operator)
            if node is None:
                return None
            name = node.input[0]
        return node

    def _forward(self, node: Any, *operators: str) -> Any:
        """The last of a chain of nodes, each the only reader of the one before."""
        for operator in operators:
            readers = self._readers[node.output[0]]
            if len(readers) != 1 or readers[0].op_type != operator:
                return None
            node = readers[0]
        return node


def _constants() -> dict[str, NDArray[Any]]:
    return {
        f"{_PREFIX}one": np.array(1, np.float32),
        f"{_PREFIX}axis": np.array([2], np.int64),
        f"{_PREFIX}axes": np.array([2, 3], np.int64),
        f"{_PREFIX}padding_axis": np.array([1], np.int64),
    }


def _own_constants(attention: _Attention) -> dict[str, NDArray[Any]]:
    """What one attention needs. The operator divides by the root of a head's size; the gate must survive that."""
    heads, size, root = attention.heads, attention.size, np.float32(np.sqrt(attention.size))
    return {
        attention.mask.name("ones"): np.ones((1, 1, heads, 1), np.float32),
        attention.mask.name("root"): np.full((1, 1, heads, 1), root, np.float32),
        attention.name("gate"): (attention.gate * root).astype(np.float32).reshape(1, 1, heads, 1),
        attention.name("thirds"): np.array([heads * size] * 3, np.int64),
        attention.name("by_head"): np.array([0, 0, heads, size], np.int64),
        attention.name("together"): np.array([0, 0, heads * (size + _MORE)], np.int64),
    }


def _mask_nodes(attention: _Attention) -> list[Any]:
    """The channels that do not depend on the layer: all of the query's, and the padding's of the key."""
    from onnx import TensorProto, helper

    own, axes, one = attention.mask.name, f"{_PREFIX}axes", f"{_PREFIX}one"
    node = helper.make_node
    return [
        node("Cast", [attention.mask.types], [own("types")], to=TensorProto.FLOAT),
        node("Unsqueeze", [own("types"), axes], [own("document")]),
        node("Sub", [one, own("document")], [own("query")]),
        node("Add", [own("document"), own("query")], [own("any")]),
        node("Concat", [own("document"), own("query"), own("any")], [own("side")], axis=3),
        node("Mul", [own("side"), own("ones")], [own("channels")]),
        node("Squeeze", [attention.mask.padding, f"{_PREFIX}padding_axis"], [own("padding_row")]),
        node("Transpose", [own("padding_row")], [own("padding_column")], perm=[0, 2, 1]),
        node("Unsqueeze", [own("padding_column"), f"{_PREFIX}axis"], [own("padding")]),
        node("Mul", [own("padding"), own("root")], [own("padding_channel")]),
    ]


def _attention_nodes(attention: _Attention) -> list[Any]:
    from onnx import helper

    own, mask, node = attention.name, attention.mask.name, helper.make_node
    return [
        node("Split", [attention.packed, own("thirds")], [own("q"), own("k"), own("v")], axis=-1),
        node("Reshape", [own("q"), own("by_head")], [own("q_heads")]),
        node("Reshape", [own("k"), own("by_head")], [own("k_heads")]),
        node("Concat", [own("q_heads"), mask("channels")], [own("q_more")], axis=3),
        node("Mul", [mask("query"), own("gate")], [own("gate_to_query")]),
        node("Mul", [mask("document"), own("gate")], [own("gate_to_document")]),
        node(
            "Concat",
            [own("k_heads"), own("gate_to_query"), own("gate_to_document"), mask("padding_channel")],
            [own("k_more")],
            axis=3,
        ),
        node("Reshape", [own("q_more"), own("together")], [own("queries")]),
        node("Reshape", [own("k_more"), own("together")], [own("keys")]),
        node(
            "MultiHeadAttention",
            [own("queries"), own("keys"), own("v")],
            [attention.output],
            domain=_DOMAIN,
            num_heads=attention.heads,
            scale=float(attention.size**-0.5),
        ),
    ]


def _reachable(nodes: list[Any], wanted: set[str]) -> list[Any]:
    """The nodes that something in ``wanted`` depends on, in order."""
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
