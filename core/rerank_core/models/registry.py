"""The models that are known by name, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_MODEL = "rerank-mini-en-v1"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known about a model before it is loaded.

    Attributes:
        name: the name users write.
        repository: its Hugging Face Hub repository, or None for a model inside this package, in the folder of its name.
        licence: SPDX identifier of the weights' licence.
        languages: what it was trained for.
        max_tokens: the default limit of query and document together, special tokens included.
        parameters: millions of parameters.
        size_mb: download size of the weights in MB.
        description: one line for people.
        backend: the only backend that may load it, or None for any.
        dtype: the precision of its ONNX file, where that is not float32.
    """

    name: str
    repository: str | None
    licence: str
    languages: str
    max_tokens: int
    parameters: float
    size_mb: int
    description: str
    backend: str | None = None
    dtype: str | None = None


_SPECS = (
    ModelSpec(
        DEFAULT_MODEL,
        None,
        "Apache-2.0",
        "English",
        512,
        22.7,
        24,
        "bundled: works offline, int8 on the CPU",
        backend="onnx",
        dtype="int8",
    ),
    ModelSpec(
        "rerank-tiny-en-v1",
        None,
        "Apache-2.0",
        "English",
        512,
        22.8,
        24,
        "bundled: reads selectively, twice as fast",
        backend="onnx",
        dtype="int8",
    ),
    ModelSpec(
        "rerank-small-en-v2",
        None,
        "Apache-2.0",
        "English",
        512,
        31.1,
        32,
        "bundled: twelve layers, more exact, half as fast",
        backend="onnx",
        dtype="int8",
    ),
    ModelSpec(
        "rerank-mini-en-v2",
        None,
        "Apache-2.0",
        "English",
        512,
        22.7,
        24,
        "bundled: as exact as rerank-mini-en-v1, harder to trick",
        backend="onnx",
        dtype="int8",
    ),
    ModelSpec(
        "bge-reranker-v2",
        "BAAI/bge-reranker-v2-m3",
        "Apache-2.0",
        "100+ languages",
        512,
        568,
        2271,
        "strong and multilingual; wants a GPU",
    ),
    ModelSpec(
        "jina-reranker",
        "jinaai/jina-reranker-v1-turbo-en",
        "Apache-2.0",
        "English",
        8192,
        37.8,
        151,
        "long documents in one piece, through its ONNX file (its torch code is remote)",
        backend="onnx",
    ),
    ModelSpec(
        "ms-marco-MiniLM-L6-v2",
        "cross-encoder/ms-marco-MiniLM-L6-v2",
        "Apache-2.0",
        "English",
        512,
        22.7,
        91,
        "the field's baseline",
    ),
    ModelSpec(
        "ms-marco-TinyBERT-L2-v2",
        "cross-encoder/ms-marco-TinyBERT-L2-v2",
        "Apache-2.0",
        "English",
        512,
        4.4,
        18,
        "the fastest; first stage of a cascade",
    ),
    ModelSpec(
        "ettin-reranker-17m-v1",
        "cross-encoder/ettin-reranker-17m-v1",
        "Apache-2.0",
        "English",
        7999,
        16.8,
        67,
        "ModernBERT; small, fast, long documents",
        backend="torch",
    ),
    ModelSpec(
        "ettin-reranker-32m-v1",
        "cross-encoder/ettin-reranker-32m-v1",
        "Apache-2.0",
        "English",
        7999,
        31.9,
        128,
        "ModernBERT; a good default on a CPU",
        backend="torch",
    ),
    ModelSpec(
        "ettin-reranker-68m-v1",
        "cross-encoder/ettin-reranker-68m-v1",
        "Apache-2.0",
        "English",
        7999,
        68.1,
        273,
        "ModernBERT; quality for a small GPU",
        backend="torch",
    ),
    ModelSpec(
        "ettin-reranker-150m-v1",
        "cross-encoder/ettin-reranker-150m-v1",
        "Apache-2.0",
        "English",
        7999,
        150,
        600,
        "ModernBERT; the best of its size",
        backend="torch",
    ),
    ModelSpec(
        "bge-reranker-base",
        "BAAI/bge-reranker-base",
        "MIT",
        "English, Chinese",
        512,
        278,
        1112,
        "XLM-R; superseded by v2 for English",
    ),
    ModelSpec(
        "bge-reranker-large",
        "BAAI/bge-reranker-large",
        "MIT",
        "English, Chinese",
        512,
        560,
        2240,
        "XLM-R; large",
    ),
    ModelSpec(
        "mxbai-rerank-xsmall-v1",
        "mixedbread-ai/mxbai-rerank-xsmall-v1",
        "Apache-2.0",
        "English",
        512,
        70.8,
        142,
        "DeBERTa-v2; small",
    ),
    ModelSpec(
        "mxbai-rerank-base-v1",
        "mixedbread-ai/mxbai-rerank-base-v1",
        "Apache-2.0",
        "English",
        512,
        184,
        369,
        "DeBERTa-v2",
    ),
    ModelSpec(
        "mxbai-rerank-large-v1",
        "mixedbread-ai/mxbai-rerank-large-v1",
        "Apache-2.0",
        "English",
        512,
        435,
        870,
        "DeBERTa-v2; large",
    ),
    ModelSpec(
        "Qwen3-Reranker-0.6B",
        "Qwen/Qwen3-Reranker-0.6B",
        "Apache-2.0",
        "100+ languages",
        8192,
        596,
        1192,
        "generative, follows instructions; wants a GPU",
        backend="torch",
    ),
)

REGISTRY: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}
_BY_REPOSITORY = {spec.repository: spec for spec in REGISTRY.values() if spec.repository}


def known(name: str) -> ModelSpec | None:
    """The model with this name or Hub id; None where there is none."""
    return REGISTRY.get(name) or _BY_REPOSITORY.get(name)


def same_model(one: str, other: str) -> bool:
    """Whether two names mean the same model: a name here and its Hub id, or two spellings of a path."""
    return one == other or _resolved(one) == _resolved(other)


def _resolved(name: str) -> str:
    spec = known(name)
    if spec is not None:
        return spec.name
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if name and path.exists() else name
    except (OSError, RuntimeError, ValueError):  # not a path
        return name
