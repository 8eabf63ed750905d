"""How much of a model's time its products by weights take, if ONNX Runtime computed nothing else.

    python benchmarks/roof.py

Every product of the graph is measured alone, at its shape, as the kernel that the graph uses: int8
(``MatMulIntegerToFloat``) or float32 (``MatMul``). The sum is the roof: no graph with these weights can be faster on
this kernel. One thread, batches of about 512 tokens without padding; model and products take turns.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from measure import Result, arguments, medians, turns
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from throughput import build_checkpoint

from rerank_core.conversion.export import export_onnx
from rerank_core.models.source import BUNDLED

LENGTHS = {60: 8, 128: 4, 256: 2, 512: 1}
"""Tokens of a pair, and pairs of a batch."""

MODELS = ("rerank-mini-en-v1", "rerank-small-en-v2")  # tiny reads a part of the tokens in most layers
SHAPE = tuple[int, int]
_QUANTISED = "MatMulIntegerToFloat"


def main() -> None:
    """Measure the bundled models and the checkpoint of ``throughput.py``."""
    given = arguments(__doc__, rounds=15)
    with tempfile.TemporaryDirectory() as name:
        exported = export_onnx(build_checkpoint(Path(name) / "torch"), Path(name) / "onnx").folder
        files = {model: BUNDLED[model] / "model.onnx" for model in MODELS}
        files |= {"MiniLM, int8": exported / "model_int8.onnx", "MiniLM, float32": exported / "model.onnx"}
        rows, data = [], {}
        for model, file in files.items():
            for length, batch in LENGTHS.items():
                whole, products, operations = measured(file, batch, length, given.rounds)
                rate = operations / products / 1e9
                cells = [f"{batch * length / whole:.0f}", f"{rate:.0f}", f"{products / whole:.2f}"]
                rows.append([f"{model}, {batch} x {length} tokens", *cells])
                data[f"{model} {length}"] = {"seconds": whole, "products": products, "operations": operations}
    Result(
        "roof",
        "The products by weights, against the whole model, on one core",
        ["", "tokens/s", "products alone, GOP/s", "share of the time"],
        rows,
        [f"Medians of {given.rounds} rounds. A multiplication and an addition are two operations."],
        data,
    ).keep(given.out)


def measured(file: Path, batch: int, length: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of the model and of its products, and the products' operations."""
    model = onnx.load(file)
    quantised = any(node.op_type == _QUANTISED for node in model.graph.node)
    shapes = products_of(model.graph)
    competitors: dict[str, Callable[[], object]] = {"whole": runner(session(file), batch, length)}
    rows = batch * length
    for shape in shapes:
        competitors[str(shape)] = product(shape, rows, quantised=quantised)
    seconds = medians(turns(competitors, rounds))
    alone = sum(count * seconds[str(shape)] for shape, count in shapes.items())
    return seconds["whole"], alone, sum(2.0 * rows * k * n * count for (k, n), count in shapes.items())


def products_of(graph: Any) -> Mapping[SHAPE, int]:
    """How many products there are of each shape [inputs, outputs]; those of the head, of one row, are left out."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    kinds = {_QUANTISED} if any(node.op_type == _QUANTISED for node in graph.node) else {"MatMul"}
    shapes = [weights[node.input[1]] for node in graph.node if node.op_type in kinds and node.input[1] in weights]
    width = Counter(shape[0] for shape in shapes).most_common(1)[0][0]
    return Counter(shape for shape in shapes if min(shape) >= width)


def product(shape: SHAPE, rows: int, *, quantised: bool) -> Callable[[], object]:
    """One product by a constant matrix."""
    random = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {}
    weight: NDArray[Any]
    if quantised:
        kind, domain, weight = _QUANTISED, "com.microsoft", random.integers(-63, 64, shape).astype(np.int8)
        constants = {
            "one": np.array(1, np.float32), "scale": np.ones(shape[1], np.float32), "zero": np.array(128, np.uint8),
        }  # fmt: skip
        inputs, value = ["x", "w", "one", "scale", "zero"], random.integers(0, 256, (rows, shape[0])).astype(np.uint8)
    else:
        kind, domain, weight = "MatMul", "", random.normal(size=shape).astype(np.float32)
        inputs, value = ["x", "w"], random.normal(size=(rows, shape[0])).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], domain=domain)],
        "product",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (rows, shape[1]))],
        [numpy_helper.from_array(array, name) for name, array in ({"w": weight} | constants).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    made = session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return lambda: made.run(None, {"x": value})


def runner(model: Any, batch: int, length: int) -> Callable[[], object]:
    """The whole model on random tokens."""
    random = np.random.default_rng(0)
    ids = random.integers(1000, 20000, (batch, length))
    ids[:, 0], ids[:, 10], ids[:, -1] = 101, 102, 102
    types = np.zeros((batch, length), np.int64)
    types[:, 11:] = 1
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
    feeds = {item.name: arrays[item.name] for item in model.get_inputs()}
    return lambda: model.run(None, feeds)


def session(model: Path | bytes) -> Any:
    """As the engine makes it: one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options)


if __name__ == "__main__":
    main()
