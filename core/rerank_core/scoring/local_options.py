"""How a model is loaded and run in this process: what may be chosen, and what each choice may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rerank_core.errors import InvalidRequestError

LongDocuments = Literal["truncate", "windows"]
BackendChoice = Literal["auto", "onnx", "torch"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a model is loaded and run in this process. See :class:`~rerank_core.Reranker` for each option.

    Raises:
        InvalidRequestError: when a value is not one of those allowed.
    """

    long_documents: LongDocuments = "truncate"
    max_tokens: int | None = None
    batch_tokens: int | None = None
    threads: int | None = None
    backend: BackendChoice = "auto"
    device: str | None = None
    dtype: Precision | None = None
    device_map: str | None = None
    prompt: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False

    def __post_init__(self) -> None:
        _check_choice("long_documents", self.long_documents, get_args(LongDocuments))
        _check_choice("backend", self.backend, get_args(BackendChoice))
        if self.dtype is not None:
            _check_choice("dtype", self.dtype, get_args(Precision))
        for name in ("max_tokens", "batch_tokens", "threads"):
            _check_positive(name, getattr(self, name))
        for name in ("device", "device_map", "prompt", "revision"):
            check_type(name, getattr(self, name), str | None, "a string or None")
        for name in ("trust_remote_code", "local_files_only"):
            check_type(name, getattr(self, name), bool, "True or False")


def check_type(name: str, value: object, kinds: Any, expected: str) -> None:
    """Whether a value is of the type it must have.

    Raises:
        InvalidRequestError: when it is of another; the message says what was ``expected``.
    """
    if not isinstance(value, kinds):
        raise InvalidRequestError(f"{name} must be {expected}; got {type(value).__name__}.", param=name)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidRequestError(f"{name} must be one of {', '.join(choices)}; got {value!r}.", param=name)


def _check_positive(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidRequestError(f"{name} must be a whole number of at least 1, or None; got {value!r}.", param=name)
