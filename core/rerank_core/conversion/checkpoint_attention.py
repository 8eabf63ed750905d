"""Attention of users' checkpoints as one operator in an ONNX graph, for the CPU.

torch's exporter writes attention as some thirty operators, several of which read or write [batch, heads, length,
length]. ONNX Runtime's ``com.microsoft.MultiHeadAttention`` computes the same in blocks that stay in the cache, if no
mask is added to the logits. Padding becomes one more channel instead: 1 in every query, a large negative number in the
keys of padding, 0 in the others.

transformers asks a model's attention, and the mask it needs, from two registries
(https://huggingface.co/docs/transformers/en/attention_interface); while a graph is written, ours are in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rerank_core.inference.quiet import quiet_loggers

_NAME = "rerank_one_operator"
_MASKED = -10_000.0  # exp(-10000) is 0 in float32, and its product with a head's scale is no infinity


@contextmanager
def attention_as_one_operator(model: Any) -> Iterator[None]:
    """Let a transformers model express its attention as one operator, for as long as it is exported.

    A model that has an attention of its own (DeBERTa) is not changed.

    Args:
        model: a ``transformers.PreTrainedModel``.

    Raises:
        NotImplementedError: while it runs, when a token may not see all others (sliding windows, causal models).
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _padding)
    before = model.config._attn_implementation  # noqa: SLF001  (the only way to ask)
    with quiet_loggers("transformers"):  # a model that takes no other attention says so, and keeps its own
        model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        with quiet_loggers("transformers"):
            model.set_attn_implementation(before)


def _padding(*, attention_mask: Any, mask_function: Any, **_: Any) -> Any:
    """What padding adds to the logits of its keys, [batch, 1, 1, length]."""
    from transformers.masking_utils import bidirectional_mask_function

    if mask_function is not bidirectional_mask_function:
        raise NotImplementedError("only attention to all tokens is one operator")
    return (1.0 - attention_mask[:, None, None, :].float()) * _MASKED


def _attention(
    module: Any,  # noqa: ARG001  (transformers' signature)
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """Attention of queries, keys and values, each [batch, heads, length, size]; gives [batch, length, heads, size]."""
    import torch

    batch, heads, length, size = query.shape
    scale = size**-0.5 if scaling is None else scaling
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    ones = torch.ones_like(query[..., :1])
    masked = (attention_mask[:, 0, 0, :, None, None] / scale).expand_as(ones)
    output = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (
            torch.cat([query, ones], -1).reshape(batch, length, heads * (size + 1)),
            torch.cat([key, masked], -1).reshape(batch, length, heads * (size + 1)),
            value.reshape(batch, length, heads * size),
        ),
        {"num_heads": heads, "scale": float(scale)},
        dtype=query.dtype,
        shape=(batch, length, heads * size),
        version=1,
    )
    return output.reshape(batch, length, heads, size), None
