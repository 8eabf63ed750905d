"""Loading a list-wise model, once per process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rerank_core.errors import ModelLoadError
from rerank_core.events import Hook, ModelLoaded, emit
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.inference.listwise.base import ListModel, LoadedList, SharedList
from rerank_core.inference.loading import LoadOptions, share, token_limits
from rerank_core.inference.quiet import quiet_loggers
from rerank_core.models.source import ModelFiles, locate
from rerank_core.models.spec import ListWise, ModelSpec
from rerank_core.optional import optional

_FILES = ("*.safetensors", "*.py")
_DTYPES = ("float32", "float16", "bfloat16")


def load_list_model(options: LoadOptions, spec: ModelSpec, hooks: Sequence[Hook] = ()) -> LoadedList:
    """Load the list-wise model of a record, or share the one that is loaded already.

    Args:
        options: which weights, and where.
        spec: the record; it says how the model reads lists.
        hooks: called with each event.

    Raises:
        ModelLoadError: when it cannot, or must not, be loaded: a model with code of its own wants consent to that code
            and to the licence.
        MissingDependencyError: when torch or transformers is not installed.
    """
    with optional("list-wise models", extra="torch"):
        import torch
    from rerank_core.inference.backends.checkpoint import check_remote_code, default_device

    if options.backend not in ("auto", "torch"):
        raise ModelLoadError(f"{spec.name!r} is list-wise and runs on torch only, got backend={options.backend!r}.")
    dtype = options.dtype or "float32"
    if dtype not in _DTYPES:
        raise ModelLoadError(f"{spec.name!r} is list-wise and runs in {', '.join(_DTYPES)}, got dtype={dtype!r}.")
    files = locate(options.model, revision=options.revision, local_files_only=options.local_files_only)
    _check_consent(options, spec)
    check_remote_code(files.folder, trust_remote_code=options.trust_remote_code, revision=options.revision)
    folder, device = files.fetch(_FILES), options.device or default_device()
    kwargs: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if options.device_map is not None:
        kwargs["device_map"] = options.device_map
    fingerprint, lists = files.fingerprint(), _lists(spec)

    def load() -> SharedList:
        from rerank_core.inference.listwise.embedding import load_embedder
        from rerank_core.inference.listwise.writing import load_writer

        model: ListModel
        try:
            with quiet_loggers("transformers"):
                if lists.own_code:
                    model = load_embedder(folder, spec.name, device, kwargs)
                else:
                    model = load_writer(folder, lists, spec.name, device, kwargs)
        except ModelLoadError:
            raise
        except Exception as error:  # transformers raises many kinds
            raise ModelLoadError(f"transformers cannot load {spec.name!r}: {type(error).__name__}: {error}") from error
        return SharedList(model, fingerprint)

    key = ("list-wise", folder.resolve(), fingerprint, device, dtype, options.device_map, lists)
    shared, seconds = share(key, load)
    loaded = LoadedList(_info(files, spec, shared, dtype), shared, seconds)
    if seconds is not None:
        emit(hooks, ModelLoaded(spec.name, "torch", dtype, loaded.info.device, seconds))
    return loaded


def _check_consent(options: LoadOptions, spec: ModelSpec) -> None:
    if _lists(spec).own_code and not options.trust_remote_code:
        raise ModelLoadError(
            f"{spec.name!r} runs code that comes with it, and its weights are under {spec.licence}"
            f"{f' ({spec.licence_note})' if spec.licence_note else ''}. If you have read both and agree, pass "
            "trust_remote_code=True and revision='<the 40-digit commit you read>'.",
            code="remote_code_refused",
        )


def _lists(spec: ModelSpec) -> ListWise:
    if spec.listwise is None:
        raise ValueError(f"{spec.name} is not list-wise")
    return spec.listwise


def _info(files: ModelFiles, spec: ModelSpec, shared: SharedList, dtype: str) -> LoadedModelInfo:
    return LoadedModelInfo(
        model=files.name,
        repository=files.repository,
        revision=files.revision,
        file=None,
        backend="torch",
        dtype=dtype,
        device=shared.backend.device,
        max_tokens=spec.max_tokens,
        token_limit=token_limits(files)[1],
        reason="list-wise models run on torch",
        folder=files.folder,
        fingerprint=shared.fingerprint,
        probability=spec.probability,
        takes_instruction=False,
        language_codes=spec.language_codes,
    )
