"""Choosing a backend, loading a model, and keeping one of each per process."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rerank_core import forks
from rerank_core.errors import MissingDependencyError, ModelLoadError
from rerank_core.events import Hook, ModelLoaded, emit
from rerank_core.inference import autotune
from rerank_core.inference.backends.base import Backend, LoadedModel, LoadedModelInfo, SharedModel
from rerank_core.inference.backends.onnx import OnnxBackend
from rerank_core.inference.backends.openvino import OpenVinoBackend, precisions
from rerank_core.inference.encoding import PairEncoder
from rerank_core.inference.prompts import default_prompt
from rerank_core.models.source import ModelFiles, locate

_ONNX_FILES = {
    "float32": ("onnx/model.onnx", "model.onnx"),
    "float16": ("onnx/model_fp16.onnx", "model_fp16.onnx"),
    "int8": ("model_int8.onnx", "onnx/model_int8.onnx", "onnx/model_quantized.onnx", "model_quantized.onnx"),
}
_INT8_PATTERNS = ("*qint8*.onnx", "*quint8*.onnx")
# The model's own weights and those of numbered modules (1_Pooling, 2_Dense), not every file of a repository.
_WEIGHTS = ("model*.safetensors", "[0-9]*_*/*.safetensors")
_PICKLES = ("pytorch_model*.bin", "[0-9]*_*/pytorch_model*.bin")
_READERS: dict[str | None, tuple[str, ...]] = {"onnx": ("onnx", "openvino"), "torch": ("torch",)}
_ONLY = "the only one for this model"
_NO_LIMIT = 1_000_000  # tokenizers without a limit of their own say 1e30
# Position ids of the RoBERTa family start behind the padding id, so two positions hold no token.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"})


class _Lock:
    """A lock that can be referenced weakly: it is dropped when nothing is being loaded under its key."""

    def __init__(self) -> None:
        self.held = forks.SlowLock()


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Everything that decides which weights are loaded, and where."""

    model: str | Path
    backend: str = "auto"
    device: str | None = None
    dtype: str | None = None
    device_map: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False

    @classmethod
    def of(cls, model: str | Path, options: Any) -> LoadOptions:
        """What the options of a scorer say about loading ``model``."""
        return cls(model, **{field.name: getattr(options, field.name) for field in fields(cls)[1:]})


class _Closable(Protocol):
    def close(self) -> None: ...


class _Shared(Protocol):
    @property
    def backend(self) -> _Closable: ...


S = TypeVar("S", bound=_Shared)

_models: weakref.WeakValueDictionary[Hashable, Any] = weakref.WeakValueDictionary()
_locks: weakref.WeakValueDictionary[Hashable, _Lock] = weakref.WeakValueDictionary()
_guard = forks.Lock()


def load_model(options: LoadOptions, hooks: Sequence[Hook] = ()) -> LoadedModel:
    """Find the files, choose a backend, and load the model, or share the one that is loaded already.

    It stays in memory for as long as it is referenced.

    Raises:
        ModelNotFoundError: when no model has this name.
        ModelLoadError: when it cannot, or must not, be loaded.
        MissingDependencyError: when the only possible backend is not installed.
    """
    files = locate(options.model, revision=options.revision, local_files_only=options.local_files_only)
    only = _check_backend(options, files)
    if options.backend == "torch" or only == "torch":
        loaded = _load_torch(options, files, "asked for" if options.backend == "torch" else _ONLY)
    elif options.backend != "auto":
        loaded = _load_graph(options, files, "asked for", options.backend)
    elif only == "onnx":
        loaded = _load_fastest_graph(options, files, _ONLY)
    else:
        loaded = _load_fastest(options, files)
    if loaded.seconds is not None:
        info = loaded.info
        emit(hooks, ModelLoaded(info.model, info.backend, info.dtype, info.device, loaded.seconds))
    return loaded


def share(key: Hashable, load: Callable[[], S]) -> tuple[S, float | None]:
    """The model under ``key``, loaded by the first caller while the others wait; and the seconds it took to load."""
    with _guard:
        lock = _locks.get(key) or _locks.setdefault(key, _Lock())
    with lock.held:
        model: S | None = _models.get(key)
        if model is not None:
            return model, None
        started = time.perf_counter()
        with forks.OuterLock():  # the libraries that load a model have locks of their own
            model = _models[key] = load()
        weakref.finalize(model, model.backend.close)
        return model, time.perf_counter() - started


def _check_backend(options: LoadOptions, files: ModelFiles) -> str | None:
    """The kind of file that the model comes in, if there is only one: ``onnx`` or ``torch``.

    Raises:
        ModelLoadError: when the backend that is asked for does not read it.
    """
    only = "onnx" if files.onnx_file is not None else files.spec.backend if files.spec else None
    readers = _READERS.get(only)
    if readers is not None and options.backend not in ("auto", *readers):
        raise ModelLoadError(
            f"model {files.name!r} loads with backend={' or '.join(map(repr, readers))} only, "
            f"got backend={options.backend!r}."
        )
    return only


def _load_fastest(options: LoadOptions, files: ModelFiles) -> LoadedModel:
    """The fastest backend that keeps the scores: ONNX in float32 on the CPU, torch on an accelerator."""
    if options.device_map is not None or options.device not in (None, "cpu"):
        return _load_torch(options, files, f"device {options.device or options.device_map!r} was asked for")
    weights = files.match(*_WEIGHTS, *_PICKLES)
    if options.device is None and options.dtype != "int8" and weights and (accelerator := _accelerator()):
        return _load_torch(options, files, f"{accelerator} is available")
    if options.dtype == "bfloat16" and "bfloat16" not in precisions():
        return _load_torch(options, files, "ONNX files do not come in bfloat16")
    if _onnx_name(files, options.dtype) is None:
        return _load_torch(options, files, f"there is no ONNX file for {options.dtype or 'float32'}")
    try:
        return _load_fastest_graph(options, files, "an ONNX file with the same scores is faster on a CPU")
    except ModelLoadError as error:
        try:
            return _load_torch(options, files, f"the ONNX file was refused: {error.message}")
        except MissingDependencyError:
            raise error from None


def _accelerator() -> str | None:
    """``cuda`` or ``mps`` when torch is installed and has one."""
    if find_spec("torch") is None:
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def _load_fastest_graph(options: LoadOptions, files: ModelFiles, reason: str) -> LoadedModel:
    """ONNX Runtime or OpenVINO: where the latter is installed, whichever was found to be faster on this machine."""
    if options.dtype == "bfloat16":
        return _load_graph(options, files, "OpenVINO multiplies bfloat16 on this CPU", "openvino")
    name = _onnx_name(files, options.dtype)
    tuned = name is not None and _onnx_dtype(files, name) == "float32" and options.device in (None, "cpu")
    if not (tuned and autotune.enabled()):
        return _load_graph(options, files, reason)

    def load(backend: str, dtype: str) -> LoadedModel:
        return _load_graph(replace(options, dtype=dtype), files, reason, backend)

    choice = autotune.choose(files.fingerprint(name), options.dtype, load)
    return _load_graph(replace(options, dtype=choice.dtype), files, choice.reason(reason), choice.backend)


def _load_graph(options: LoadOptions, files: ModelFiles, reason: str, runtime: str = "onnx") -> LoadedModel:
    """An ONNX file, on the runtime called ``onnx`` or ``openvino``."""
    if options.device_map is not None:
        raise ModelLoadError("device_map= is for torch; an ONNX model takes device='cpu' or device='cuda'.")
    if runtime == "openvino" and options.device not in (None, "cpu"):
        raise ModelLoadError(f"backend='openvino' runs on device='cpu', got device={options.device!r}.")
    name = _onnx_name(files, options.dtype) if runtime == "openvino" or options.dtype != "bfloat16" else None
    if name is None:
        raise _no_onnx_file(options, files)
    folder = files.fetch([name, f"{name}_data", f"{name}.data"])
    if not (folder / "tokenizer.json").is_file():
        raise ModelLoadError(f"model {files.name!r} has no tokenizer.json beside its ONNX file.")
    device, fingerprint, stored = options.device or "cpu", files.fingerprint(name), _onnx_dtype(files, name)
    dtype = "bfloat16" if options.dtype == "bfloat16" else stored

    def load() -> SharedModel:
        files.verify()
        encoder = PairEncoder.from_file(folder / "tokenizer.json")
        backend: Backend
        if runtime == "openvino":
            precision = "bfloat16" if dtype == "bfloat16" else "float32"
            backend = OpenVinoBackend(folder / name, precision=precision, quantised=stored == "int8")
        else:
            backend = OnnxBackend(folder / name, device=device)
        return SharedModel(encoder, backend, dtype, device, fingerprint)

    shared, seconds = share((runtime, folder.resolve(), fingerprint, name, device, dtype), load)
    return LoadedModel(_info(files, shared, backend=runtime, file=name, reason=reason), shared, seconds)


def _no_onnx_file(options: LoadOptions, files: ModelFiles) -> ModelLoadError:
    wanted = options.dtype or "float32"
    if options.backend == "openvino":
        wanted = _file_dtype(wanted) or wanted
    has = ", ".join(files.match("*.onnx")) or "none"
    fixed = files.onnx_file is not None or (files.spec is not None and files.spec.dtype is not None)
    way_out = f"Leave dtype= out{'.' if fixed else f', or make one with: rerank export {files.name} DIR'}"
    return ModelLoadError(
        f"model {files.name!r} has no ONNX file in {wanted} (it has: {has}). {way_out}", code="no_onnx_file"
    )


def _load_torch(options: LoadOptions, files: ModelFiles, reason: str) -> LoadedModel:
    from rerank_core.inference.backends.checkpoint import check_remote_code, default_device, load_checkpoint

    if options.dtype == "int8":
        raise ModelLoadError(
            f"model {files.name!r} has no int8 ONNX file, and torch does not run int8 here. "
            f"Make one with: rerank export {files.name} DIR",
            code="no_onnx_file",
        )
    if files.repository is None and not files.match("config.json", "modules.json", *_WEIGHTS, *_PICKLES):
        raise ModelLoadError(
            f"{files.name!r} is a folder without a model: it has neither config.json nor weights nor an ONNX file that "
            "was asked for. Name the folder that holds them.",
        )
    # Before the download: a refusal should not come after gigabytes.
    check_remote_code(files.folder, trust_remote_code=options.trust_remote_code, revision=options.revision)
    safetensors = bool(files.match(*_WEIGHTS))
    code = ("*.py",) if options.trust_remote_code else ()
    device = options.device
    if options.device_map is None and device in (None, (default := default_device()).partition(":")[0]):
        device = default  # cuda is cuda:0: one model under both names
    folder = files.fetch([*(_WEIGHTS if safetensors else _PICKLES), *code])
    dtype, fingerprint = options.dtype or "float32", files.fingerprint()

    def load() -> SharedModel:
        backend = load_checkpoint(
            folder,
            device=device,
            dtype=dtype,
            device_map=options.device_map,
            trust_remote_code=options.trust_remote_code,
            revision=options.revision,
            prefer_safetensors=safetensors,
            spec=files.spec,
        )
        return SharedModel(backend.encoder(), backend, dtype, backend.device, fingerprint, log_odds=backend.log_odds)

    answers = files.spec.answers if files.spec else ()
    placement = (device, dtype, options.device_map, options.trust_remote_code, answers)
    shared, seconds = share(("torch", folder.resolve(), fingerprint, *placement), load)
    return LoadedModel(_info(files, shared, backend="torch", file=None, reason=reason), shared, seconds)


def _info(files: ModelFiles, shared: SharedModel, *, backend: str, file: str | None, reason: str) -> LoadedModelInfo:
    default, limit = token_limits(files)
    return LoadedModelInfo(
        model=files.name,
        repository=files.repository,
        revision=files.revision,
        file=file,
        backend=backend,
        dtype=shared.dtype,
        device=shared.device,
        max_tokens=default,
        token_limit=limit,
        reason=reason,
        folder=files.folder,
        fingerprint=shared.fingerprint,
        default_prompt=default_prompt(files),
        batch_tokens=shared.backend.batch_tokens,
        workers=shared.backend.workers.size,
        temperature=files.spec.temperature if files.spec else 1.0,
        probability=_probability(files, shared),
        takes_instruction=shared.encoder.takes_instruction and (files.spec is None or files.spec.takes_instruction),
        language_codes=files.spec.language_codes if files.spec else (),
    )


def _probability(files: ModelFiles, shared: SharedModel) -> str:
    """What the sigmoid of a logit is: as recorded; an unknown model's one answer has no probability."""
    if files.spec is not None:
        return files.spec.probability
    return "sigmoid" if shared.log_odds else "uncalibrated"


def _file_dtype(dtype: str | None) -> str | None:
    """The precision of the file for a precision to work in: bfloat16 is made of float32 by the runtime."""
    return "float32" if dtype == "bfloat16" else dtype


def _onnx_name(files: ModelFiles, dtype: str | None) -> str | None:
    """The ONNX file for a precision; None where there is no such file."""
    dtype = _file_dtype(dtype)
    if files.onnx_file is not None:
        return files.onnx_file if {dtype, _stated_dtype(files.onnx_file)} <= {None, dtype} else None
    own = files.spec.dtype if files.spec else None
    if own is not None:
        return "model.onnx" if dtype in (None, own) else None
    for name in _ONNX_FILES.get(dtype or "float32", ()):
        if name in files.names:
            return name
    return next(iter(files.match(*_INT8_PATTERNS)), None) if dtype == "int8" else None


def _onnx_dtype(files: ModelFiles, name: str) -> str:
    if files.spec is not None and files.spec.dtype is not None:
        return files.spec.dtype
    return _stated_dtype(name) or "float32"


def _stated_dtype(name: str) -> str | None:
    """The precision that a file's name states."""
    if "fp16" in name:
        return "float16"
    return "int8" if any(mark in name for mark in ("int8", "quantized")) else None


def token_limits(files: ModelFiles) -> tuple[int, int | None]:
    """The default number of tokens a pair may have, and the most the architecture takes, if known."""
    config = files.read_json("config.json")
    positions = config.get("max_position_embeddings")
    limit = positions if isinstance(positions, int) and positions > 0 else None
    if limit is not None and config.get("model_type") in _OFFSET_POSITIONS:
        limit -= 2
    if files.spec is not None:
        return files.spec.max_tokens, limit
    stated = (
        files.read_json("sentence_bert_config.json").get("max_seq_length"),
        files.read_json("tokenizer_config.json").get("model_max_length"),
        limit,
    )
    known = [int(value) for value in stated if isinstance(value, int | float) and 0 < value < _NO_LIMIT]
    return min(known, default=512), limit
