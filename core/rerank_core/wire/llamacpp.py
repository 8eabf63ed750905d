"""llama.cpp's server: ``POST /v1/rerank`` (https://github.com/ggml-org/llama.cpp, tools/server/README.md)."""

from __future__ import annotations

from rerank_core.wire.dialect import Dialect


class LlamaCpp(Dialect):
    """llama.cpp's ``llama-server --rerank``: scores are logits.

    It cannot cut long documents: a pair longer than its physical batch fails the whole request, so the server must be
    started with ``--ubatch-size`` as large as the longest pair.
    """

    name = "llamacpp"
    path = "/v1/rerank"
    key_variable = "LLAMA_API_KEY"
    scores = "logit"
    model_required = False
