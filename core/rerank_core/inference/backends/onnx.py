"""ONNX Runtime: one shared session, one intra-op thread, several batches in flight."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import ModelLoadError
from rerank_core.inference.backends.graph import Feeds, GraphBackend
from rerank_core.inference.quiet import quiet_onnxruntime
from rerank_core.inference.workers import Workers, shared_workers

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}
_INPUT_TYPES: dict[str, type[np.signedinteger[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxBackend(GraphBackend):
    """A sequence classifier as an ONNX graph, on ONNX Runtime.

    Args:
        path: the ``.onnx`` file.
        device: ``cpu`` or ``cuda``.

    Raises:
        ModelLoadError: when the graph cannot be read, wants inputs that no encoder gives, or has no
            classification head.
    """

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        self._session = _open_session(path, device)
        super().__init__(
            path, ((item.name, item.type, _INPUT_TYPES.get(item.type)) for item in self._session.get_inputs())
        )
        self._own_workers = None if device == "cpu" else Workers(1, f"rerank-{device}")
        # Dynamic quantisation takes one scale for the whole batch: neighbours would change a score.
        self.batch_tokens = 0 if _mentions(path, b"DynamicQuantizeLinear") else _BATCH_TOKENS[device]

    @property
    def workers(self) -> Workers:
        """The process's CPU workers, or one thread of its own on a GPU."""
        return self._own_workers or shared_workers()

    def close(self) -> None:
        """Free the session."""
        if self._own_workers is not None:
            self._own_workers.close()
        self._session = None

    def _run_graph(self, feeds: Feeds) -> NDArray[Any]:
        logits: NDArray[Any] = self._session.run(None, feeds)[0]
        return logits


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


def _mentions(path: Path, operator: bytes) -> bool:
    """Whether the graph uses an operator; its name is in the file as plain bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(operator) >= 0
