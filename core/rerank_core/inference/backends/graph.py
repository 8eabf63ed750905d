"""What backends of ONNX files have in common: the inputs they take, and the check of the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, ModelLoadError
from rerank_core.inference.backends.base import relevance_logits
from rerank_core.inference.encoding import Block

_PROBE_LENGTHS = (8, 13)

Feeds = dict[str, NDArray[Any]]
"""Arrays of shape [batch, sequence], by the names of the graph's inputs."""

InputType = tuple[str, str, type[np.signedinteger[Any]] | None]
"""An input's name, its type in the runtime's words, and the same as numpy's; None for one that no encoder gives."""


class GraphBackend(ABC):
    """A sequence classifier as an ONNX graph. Subclasses bring the runtime.

    Args:
        path: the ``.onnx`` file.
        inputs: the inputs that it asks for.

    Raises:
        ModelLoadError: when the graph wants inputs that no encoder gives, or has no relevance head.
    """

    def __init__(self, path: Path, inputs: Iterable[InputType]) -> None:
        self._path = path
        self._input_types = _checked(inputs, path)
        self._check_head()

    def run(self, block: Block) -> NDArray[np.float32]:
        """The logits of a block, shape [batch].

        Raises:
            InferenceError: when the runtime fails.
        """
        return relevance_logits(self._logits(block))

    @abstractmethod
    def _run_graph(self, feeds: Feeds) -> NDArray[Any]:
        """The graph's first output; raises whatever the runtime raises."""

    def _logits(self, block: Block) -> NDArray[np.float32]:
        feeds = {name: getattr(block, name).astype(kind, copy=False) for name, kind in self._input_types.items()}
        try:
            logits = self._run_graph(feeds)
        except Exception as error:  # runtimes raise families of their own without a common public base
            raise InferenceError(f"{self._path.name} failed on a batch of shape {block.input_ids.shape}.") from error
        return np.asarray(logits, np.float32)

    def _check_head(self) -> None:
        """Try two lengths: a relevance head gives one or two numbers per row, whatever the length."""
        for length in _PROBE_LENGTHS:
            ones = np.ones((2, length), np.int64)
            logits = self._logits(Block(ones, ones, np.zeros_like(ones)))
            if logits.shape not in {(2,), (2, 1), (2, 2)}:
                raise ModelLoadError(
                    f"{self._path.name} has no relevance head: for 2 inputs of {length} tokens its first output has "
                    f"shape {logits.shape}, expected (2, 1) or (2, 2). It is probably the bare encoder; load the full "
                    "model with backend='torch' and export it with `rerank export MODEL DIR`.",
                    code="no_classification_head",
                )


def _checked(inputs: Iterable[InputType], path: Path) -> dict[str, type[np.signedinteger[Any]]]:
    known = Block.__dataclass_fields__
    types: dict[str, type[np.signedinteger[Any]]] = {}
    for name, shown, kind in inputs:
        if name not in known or kind is None:
            raise ModelLoadError(
                f"{path.name} asks for the input {name!r} of type {shown}; "
                f"a cross-encoder's inputs are {', '.join(known)}, as int64 or int32."
            )
        types[name] = kind
    return types
