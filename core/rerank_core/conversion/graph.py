"""From a torch module to an ONNX graph, for users' checkpoints and for the bundled models alike.

The operator set and the differences that are allowed are declared here and nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import ModelLoadError
from rerank_core.inference.encoding import Block
from rerank_core.inference.quiet import quiet_loggers
from rerank_core.ranking import sigmoid

OPSET = 20
"""The ONNX operator set: the first with Gelu as one operator, which ONNX Runtime fuses."""

FLOAT32_TOLERANCE = 1e-4
"""The most that a logit of a float32 graph may differ from torch's: rounding stays below it."""

INT8_TOLERANCE = 0.1
"""The most that a probability from an int8 graph may differ from torch's."""


def write_graph(
    network: Any, example: Block, path: Path, *, inputs: Sequence[str], lengths: tuple[int, int | None] = (2, None)
) -> None:
    """Write a torch module in float32 to ``path``, without traces of the machine it was written on.

    Args:
        network: takes the arrays of a block, [batch, sequence], and returns logits, [batch] or [batch, labels].
        example: a block it can run on.
        path: the file to write.
        inputs: the names of the arrays it takes, in order.
        lengths: the shortest and the longest sequence it takes; None where it knows no longest.

    Raises:
        ModelLoadError: when torch cannot express the module as a graph.
    """
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arrays: torch.Tensor) -> Any:
            return self.network(*arrays)

    batch = torch.export.Dim("batch", min=1)
    sequence = torch.export.Dim("sequence", min=lengths[0], max=lengths[1])
    try:
        with warnings.catch_warnings(), quiet_loggers("torch.onnx", "onnxscript"):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                Graph().eval(),
                tuple(torch.from_numpy(getattr(example, name)) for name in inputs),
                dynamo=True,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes=(tuple({0: batch, 1: sequence} for _ in inputs),),  # one *arrays argument
                opset_version=OPSET,
                verbose=False,
            )
            _drop_traces(program.model)
            program.save(str(path))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(f"torch cannot express this model as an ONNX graph: {reason}") from error


def check_float32(logits: NDArray[np.float32], torchs: NDArray[np.float32]) -> float:
    """The largest difference of a logit between a float32 graph and torch, on the same inputs.

    Raises:
        ModelLoadError: when it is above :data:`FLOAT32_TOLERANCE`, or not a number.
    """
    difference = float(np.abs(logits - torchs).max())
    if not difference <= FLOAT32_TOLERANCE:
        raise ModelLoadError(
            f"the exported graph does not score like torch: a logit differs by {difference:.2g}, at most "
            f"{FLOAT32_TOLERANCE:.0e} is allowed. Do not use this export; keep using backend='torch'.",
            code="export_mismatch",
        )
    return difference


def check_int8(logits: NDArray[np.float32], torchs: NDArray[np.float32]) -> float:
    """The largest difference of a probability between an int8 graph and torch, on the same inputs.

    Raises:
        ModelLoadError: when it is above :data:`INT8_TOLERANCE`, or not a number.
    """
    pairs = zip(logits.tolist(), torchs.tolist(), strict=True)
    difference = max(abs(sigmoid(logit) - sigmoid(torchs_logit)) for logit, torchs_logit in pairs)
    if not difference <= INT8_TOLERANCE:
        raise ModelLoadError(
            f"int8 changes this model's scores too much: a probability differs by {difference:.2f}, at most "
            f"{INT8_TOLERANCE} is allowed. Export it without int8 (--no-int8).",
            code="export_mismatch",
        )
    return difference


def _drop_traces(model: Any) -> None:
    """Drop the exporter's stack traces: they hold paths of this machine, and a quarter of a megabyte."""
    graph = model.graph
    nodes = tuple(graph.all_nodes())
    values = chain(graph.inputs, graph.initializers.values(), *(node.outputs for node in nodes))
    for part in chain((model, graph), nodes, values):
        part.metadata_props.clear()
    for node in nodes:
        node.doc_string = None
