"""OpenVINO: ONNX files on a CPU, in float32 or, where the CPU multiplies it, bfloat16."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core import forks
from rerank_core.errors import MissingDependencyError, ModelLoadError
from rerank_core.inference.backends.graph import Feeds, GraphBackend
from rerank_core.inference.workers import Workers, shared_workers
from rerank_core.optional import optional

_BATCH_TOKENS = 512
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_INPUT_TYPES: dict[str, type[np.signedinteger[Any]]] = {"i64": np.int64, "i32": np.int32}


class OpenVinoBackend(GraphBackend):
    """A sequence classifier as an ONNX graph, on OpenVINO.

    Args:
        path: the ``.onnx`` file.
        precision: ``float32`` or ``bfloat16``: what weights and activations are multiplied in.
        quantised: whether the file is an int8 one. What differs in the last bit may then round to another integer, and
            OpenVINO's kernels differ by the shape of the batch, so its inputs run one at a time.

    Raises:
        MissingDependencyError: when OpenVINO is not installed.
        ModelLoadError: when the CPU has no bfloat16 and it is asked for, or the graph cannot be read, wants inputs that
            no encoder gives, or has no classification head.
    """

    def __init__(self, path: Path, *, precision: str = "float32", quantised: bool = False) -> None:
        self._compiled = _Compiled(path, _PRECISIONS[precision])
        if precision not in precisions():
            raise ModelLoadError("this CPU does not multiply bfloat16; use dtype='float32', or backend='torch'.")
        self.batch_tokens = 0 if quantised else _BATCH_TOKENS
        super().__init__(path, self._compiled.inputs())

    @property
    def workers(self) -> Workers:
        """The process's CPU workers: each of them waits for one stream of OpenVINO's."""
        return shared_workers()

    def close(self) -> None:
        """Free the model."""
        self._compiled.close()

    def _run_graph(self, feeds: Feeds) -> NDArray[Any]:
        logits: NDArray[Any] = self._compiled.request().infer(feeds)[0]
        return logits.copy()  # the next inference writes into the same memory


class _Compiled:
    """A compiled model and each thread's request. A forked child compiles its own: it has none of the threads."""

    def __init__(self, path: Path, precision: str) -> None:
        self._path = path
        self._precision = precision
        self._lock = forks.OuterLock()
        self._model = _compile(path, precision)
        self._requests: dict[int, Any] = {}
        forks.in_child(self._renew)

    def inputs(self) -> list[tuple[str, str, type[np.signedinteger[Any]] | None]]:
        """Name and type of each input."""
        kinds = [(item.get_any_name(), item.get_element_type().get_type_name()) for item in self._model.inputs]
        return [(name, kind, _INPUT_TYPES.get(kind)) for name, kind in kinds]

    def request(self) -> Any:
        """The calling thread's own."""
        thread = threading.get_ident()
        if thread not in self._requests:
            with self._lock:
                if self._model is None:
                    self._model = _compile(self._path, self._precision)
                self._requests[thread] = self._model.create_infer_request()
        return self._requests[thread]

    def close(self) -> None:
        self._model, self._requests = None, {}

    def _renew(self) -> None:
        for left in (self._model, *self._requests.values()):
            _keep_for_ever(left)
        self.close()


def _keep_for_ever(item: Any) -> None:
    """Never free an object of a parent process: OpenVINO would wait for its threads, or end the process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))


def precisions() -> tuple[str, ...]:
    """What OpenVINO multiplies in on this CPU; empty where it is not installed.

    bfloat16 takes AVX-512 BF16, AMX or the like: elsewhere it would be emulated.
    """
    try:
        capabilities: list[str] = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except MissingDependencyError:
        return ()
    return tuple(_PRECISIONS) if "BF16" in capabilities else ("float32",)


def _core() -> Any:
    with optional("the OpenVINO backend", extra="openvino"):
        import openvino
    return openvino.Core()


def _compile(path: Path, precision: str) -> Any:
    core, size = _core(), str(shared_workers().size)
    # As many streams as workers, each a single thread: a batch never waits for another one's.
    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": size,
        "INFERENCE_NUM_THREADS": size,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": "NO",
    }
    try:
        return core.compile_model(core.read_model(path), "CPU", settings)
    except Exception as error:
        raise ModelLoadError(f"OpenVINO cannot load {path.name}: {error}") from error
