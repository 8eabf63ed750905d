"""A language model whose answer is the score, put together from its record: its own files do not say how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rerank_core.errors import ModelLoadError
from rerank_core.models.spec import ModelSpec


def answering_model(
    folder: Path, spec: ModelSpec, device: str | None, model_kwargs: dict[str, Any], *, trust_remote_code: bool
) -> Any:
    """A ``CrossEncoder`` with the record's template and answer tokens.

    Raises:
        ModelLoadError: when an answer is not one token of the model.
    """
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    safe = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    template = {} if spec.template is None else {"chat_template": spec.template}
    transformer = Transformer(
        str(folder),
        transformer_task="text-generation",
        model_kwargs=safe | model_kwargs,
        processor_kwargs=safe | template,
        config_kwargs=dict(safe),
    )
    relevant, *other = (_answer_id(transformer.tokenizer, answer, folder.name) for answer in spec.answers)
    score = LogitScore(true_token_id=relevant, false_token_id=other[0] if other else None)
    return CrossEncoder(modules=[transformer, score], device=device)


def _answer_id(tokenizer: Any, answer: str, model: str) -> int:
    ids: list[int] = tokenizer.encode(answer, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise ModelLoadError(
            f"{model!r} has no token {answer!r}, which its record names as an answer: the tokenizer is another one.",
            code="no_answer_tokens",
        )
    return ids[0]
