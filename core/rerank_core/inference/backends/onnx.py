"""ONNX Runtime: one shared session, one intra-op thread, several batches in flight."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, ModelLoadError
from rerank_core.inference.backends.base import relevance_logits
from rerank_core.inference.encoding import Block
from rerank_core.inference.quiet import quiet_onnxruntime
from rerank_core.inference.workers import Workers, shared_workers

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
_PROBE_LENGTHS = (8, 13)
_INPUT_TYPES: dict[str, type[np.signedinteger[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxBackend:
    """A sequence classifier as an ONNX graph.

    Args:
        path: the ``.onnx`` file.
        device: ``cpu`` or ``cuda``.

    Raises:
        ModelLoadError: when the graph cannot be read, wants inputs that no encoder gives, or has no
            classification head.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self._path = path
        self._session = _open_session(path, device)
        self._input_types = _input_types(self._session, path)
        self._check_head()
        self._own_workers = None if device == "cpu" else Workers(1, f"rerank-{device}")
        # Dynamic quantisation takes one scale for the whole batch: neighbours would change a score.
        self.batch_tokens = 0 if _mentions(path, b"DynamicQuantizeLinear") else _BATCH_TOKENS[device]

    @property
    def workers(self) -> Workers:
        """The process's CPU workers, or one thread of its own on a GPU."""
        return self._own_workers or shared_workers()

    def _check_head(self) -> None:
        """Try two lengths: a relevance head gives one or two numbers per row, whatever the length."""
        for length in _PROBE_LENGTHS:
            ones = np.ones((2, length), np.int64)
            logits = self._run_session(Block(ones, ones, np.zeros_like(ones)))
            if logits.shape not in {(2,), (2, 1), (2, 2)}:
                raise ModelLoadError(
                    f"{self._path.name} has no relevance head: for 2 inputs of {length} tokens its first output has "
                    f"shape {logits.shape}, expected (2, 1) or (2, 2). It is probably the bare encoder; load the full "
                    "model with backend='torch' and export it with `rerank export MODEL DIR`.",
                    code="no_classification_head",
                )

    def run(self, block: Block) -> NDArray[np.float32]:
        """The logits of a block, shape [batch]."""
        return relevance_logits(self._run_session(block))

    def _run_session(self, block: Block) -> NDArray[np.float32]:
        feeds = {name: getattr(block, name).astype(kind, copy=False) for name, kind in self._input_types.items()}
        try:
            (logits, *_) = self._session.run(None, feeds)
        except Exception as error:  # onnxruntime raises its own family without a common public base
            raise InferenceError(f"{self._path.name} failed on a batch of shape {block.input_ids.shape}.") from error
        return np.asarray(logits, np.float32)

    def close(self) -> None:
        """Free the session."""
        if self._own_workers is not None:
            self._own_workers.close()
        self._session = None


def _open_session(path: Path, device: str) -> Any:
    onnxruntime = quiet_onnxruntime()

    provider = _PROVIDERS.get(device)
    if provider is None or provider not in onnxruntime.get_available_providers():
        raise ModelLoadError(
            f"onnxruntime here cannot run on device {device!r}; it offers "
            f"{', '.join(onnxruntime.get_available_providers())}. Use device='cpu', or install onnxruntime-gpu."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Shapes change with every batch: a memory plan per shape would only use more memory.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:
        raise ModelLoadError(f"onnxruntime cannot load {path.name}: {error}") from error


def _input_types(session: Any, path: Path) -> dict[str, type[np.signedinteger[Any]]]:
    known = Block.__dataclass_fields__
    types: dict[str, type[np.signedinteger[Any]]] = {}
    for item in session.get_inputs():
        if item.name not in known or item.type not in _INPUT_TYPES:
            raise ModelLoadError(
                f"{path.name} asks for the input {item.name!r} of type {item.type}; "
                f"a cross-encoder's inputs are {', '.join(known)}, as int64 or int32."
            )
        types[item.name] = _INPUT_TYPES[item.type]
    return types


def _mentions(path: Path, operator: bytes) -> bool:
    """Whether the graph uses an operator; its name is in the file as plain bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(operator) >= 0
