"""The first version's weights in float, read back from the int8 graph that is in the package.

The graph is all that is kept of a bundled model. Most parameters have kept their names in it; the others are found by
what the graph does with them (``rerank_core/conversion/quantize.py`` wrote it):

- a weight matrix is the int8 input of a ``MatMulIntegerToFloat``, whose product is rescaled and then added to the bias
  that names the layer; the head alone has none;
- where channels of an activation were divided by scales, these stand beside it and multiply the matrix's rows;
- the bias between query and document of each layer multiplies the flags of cross-side pairs;
- k1 and b of BM25 have become constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from rerank_core.conversion.gated_attention import gates_of
from training.model import EncoderShape, RerankMini

Arrays = Mapping[str, npt.NDArray[Any]]
HEAD = "head"
WRAPPER = "network."
TABLE = "words.weight"


def read_bundled(path: Path, shape: EncoderShape | None = None) -> RerankMini:
    """A model whose graph was rounded to int8, with the rounded weights in float32.

    Args:
        path: the graph.
        shape: the model's; its attention must not leave out tokens.

    Raises:
        ValueError: when the graph is another model's.
    """
    shape = shape or EncoderShape()
    graph = own_names(onnx.load(path).graph)
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    if f"{TABLE}_q8" not in arrays:
        raise ValueError(f"{path} is no int8 graph of {RerankMini.__name__}: it has no {TABLE}_q8")
    size = shape.vocab_size
    model = RerankMini(np.zeros(size, np.float32), np.zeros(size, np.uint8), gate=0.0, shape=shape)
    names = model.state_dict().keys()
    state = {name: tensor(values) for name, values in arrays.items() if name in names}
    state[TABLE] = tensor(arrays[f"{TABLE}_q8"].astype(np.float32) * arrays[f"{TABLE}_q8_scale"])
    state |= matrices(graph, arrays)
    state |= {f"layers.{number}.gate": values for number, values in enumerate(map(tensor, gates_of(graph)))}
    state |= lexical(arrays, size)
    if state.keys() != names:
        raise ValueError(f"{path} is another model's graph: {', '.join(sorted(state.keys() ^ names))} do not agree")
    model.load_state_dict(state)
    return model.eval()


def own_names(graph: Any) -> Any:
    """``graph`` in place, without what the exporter put before the names of a wrapped model's parameters."""
    for item in graph.initializer:
        item.name = item.name.removeprefix(WRAPPER)
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = name.removeprefix(WRAPPER)
    return graph


def tensor(values: npt.NDArray[Any]) -> Tensor:
    """A float32 copy."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


def matrices(graph: Any, arrays: Arrays) -> dict[str, Tensor]:
    """The weights [outputs, inputs] of the rounded linear layers, by name."""
    read_by = {name: node for node in graph.node for name in node.input}
    found = {}
    for node in graph.node:
        if node.op_type != "MatMulIntegerToFloat":
            continue
        rows, integers, _, scale = node.input[:4]
        rescaled = read_by[node.output[0]].output[0]
        added = [name for name in read_by[rescaled].input if name.endswith(".bias") and name in arrays]
        layer = added[0].removesuffix(".bias") if added else HEAD
        weight = arrays[integers].astype(np.float32) * arrays[scale]
        channels = arrays.get(f"{rows}_channels")
        found[f"{layer}.weight"] = tensor((weight if channels is None else weight * channels[:, None]).T)
    return found


def lexical(arrays: Arrays, size: int) -> dict[str, Tensor]:
    """What exact matching has learned: k1, b, and which pieces continue a word."""
    (flags,) = (values for values in arrays.values() if values.dtype == np.uint8 and values.shape == (size,))
    return {
        "lexical.log_k1": tensor(arrays["exp"]).log(),
        "lexical.b_logit": torch.logit(tensor(arrays["sigmoid"])),
        "lexical.continuation": torch.from_numpy(flags.copy()),
    }
